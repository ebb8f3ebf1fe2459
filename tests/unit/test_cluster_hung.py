"""A dask worker that neither answers nor goes: whoever drives the load comes back all the same, and says what it knows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

import pytest

from resilience.load import cluster, cluster_host
from resilience.load.cluster import ClusterEngine
from resilience.load.engine import EngineError
from resilience.load.model import HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.metrics.fold import LoadTable
from resilience.metrics.validity import judge_validity

S = 10**9
ADDRESS = "tcp://worker:1"
STREAM = Stream(
    name="quotes",
    shape=(RateSegment(0, S, 10.0, 10.0),),
    arrival="uniform",
    request=HttpRequest(url="http://127.0.0.1:1/"),
    deadline_ns=S,
    timeout_ns=S,
)


class HungCluster:
    """One dask worker as the runner sees it, which does not answer one of the functions that it is asked to run."""

    def __init__(self, hung: Callable[..., Any]) -> None:
        self.hung = hung
        self.closed: list[str] = []
        self._ready_told = False
        self._never = asyncio.Event()

    async def run(self, function: Callable[..., Any], *args: Any, **_: Any) -> dict[str, Any]:
        """As `distributed.Client.run`: the answers by address."""
        if function is self.hung:
            await self._never.wait()
        return {ADDRESS: await self._answer(function, *args)}

    async def close(self) -> None:
        """Nothing is left."""

    async def _answer(self, function: Callable[..., Any], *args: Any) -> Any:
        if function is cluster_host.describe:
            return await cluster_host.describe(dask_worker=self)
        if function is cluster_host.take:
            if self._ready_told:
                await self._never.wait()
            self._ready_told = True
            line = json.dumps({"ready": True, "opened": {"quotes": 1}}).encode() + b"\n"
            return monotonic_ns(), line, False, None, monotonic_ns()
        if function is cluster_host.ask_clock:
            return await cluster_host.ask_clock()
        if function is cluster_host.close_stripe:
            self.closed.append(args[0])
        return monotonic_ns()

    name = "hung"


def engine_on(
    hung: HungCluster, monkeypatch: pytest.MonkeyPatch, heard: list[dict[str, Any]]
) -> ClusterEngine:
    """An engine whose cluster is this one, and whose patience is short."""

    async def connected(_: str) -> HungCluster:
        return hung

    monkeypatch.setattr(cluster, "_connected", connected)
    for name in ("_READY_S", "_GRACE_S", "_CLOSE_S"):
        monkeypatch.setattr(cluster, name, 0.2)
    monkeypatch.setattr(cluster, "LEAD_NS", S // 10)
    return ClusterEngine(
        [STREAM], [PhaseWindow("all", 0, S)], address="tcp://scheduler:1", run_id="r", on_message=heard.append
    )


async def test_cluster_aborts_although_a_worker_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that nobody hears is not waited for without end: what can be ended is ended, and the stripe counts as lost."""
    hung, heard = HungCluster(cluster_host.tell), list[dict[str, Any]]()
    engine = engine_on(hung, monkeypatch, heard)
    async with asyncio.timeout(20):
        await engine.prepare()
        await engine.start(monotonic_ns())
        await engine.abort()
    assert hung.closed == ["r-0"]
    assert [message["kind"] for message in heard].count("lost") == 1


async def test_cluster_prepares_no_longer_than_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking who is there ends, too, where somebody does not say."""
    engine = engine_on(HungCluster(cluster_host.describe), monkeypatch, [])
    with pytest.raises(EngineError, match="not ready within"):
        async with asyncio.timeout(20):
            await engine.prepare()


async def test_cluster_says_that_a_start_may_have_been_heard_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knows when a worker began that did not answer before the epoch: the run is invalid, and says which worker it was."""
    heard = list[dict[str, Any]]()
    engine = engine_on(HungCluster(cluster_host.tell), monkeypatch, heard)
    async with asyncio.timeout(20):
        await engine.prepare()
        await engine.start(monotonic_ns())
        late = [message for message in heard if message["kind"] == "late"]
        await engine.close()
    assert [message["worker"] for message in late] == [0]
    reasons = judge_validity(LoadTable(), {}, late, ()).reasons
    assert any("worker 0" in reason and "late" in reason for reason in reasons)
