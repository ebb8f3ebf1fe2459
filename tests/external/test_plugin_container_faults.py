"""`chaos.container`: each verb on a container of the test's own, put in, seen by the engine, and taken out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound

from resilience.pytest_plugin.achaos import AsyncChaos
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.session import ChaosOptions, ChaosSession

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.timeout(120)]

IMAGE = os.environ.get("CHAOS_SPIKE_IMAGE_REDIS", "redis:7.4.1-bookworm")


@pytest.fixture
def container(require: Callable[[str], str]) -> Iterator[Any]:
    """A container that serves nobody, gone afterwards."""
    require("docker")
    engine = docker.from_env(timeout=30)
    try:
        name = f"chaos-spike-plugin-{secrets.token_hex(4)}"
        try:
            made = engine.containers.run(IMAGE, ["sleep", "600"], name=name, detach=True, init=True)
        except ImageNotFound:
            pytest.skip(f"the image {IMAGE} is not here (.ci/images makes it)")
        try:
            yield made
        finally:
            made.remove(force=True, v=True)
    finally:
        engine.close()


@pytest.fixture
def chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    """The chaos of one test."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "state"))
    session = ChaosSession(ChaosOptions(seed=1))
    made = Chaos(session)
    try:
        yield made
        assert made.close() == []
    finally:
        assert session.close() == []


def facts(container: Any) -> dict[str, Any]:
    """What the engine says now."""
    container.reload()
    return dict(container.attrs)


def test_each_verb_is_in_inside_its_block_and_out_after_it(chaos: Chaos, container: Any) -> None:
    """Seen by the engine, not by us."""
    on = chaos.container(container)
    with on.pause():
        assert facts(container)["State"]["Status"] == "paused"
    with on.kill():
        assert facts(container)["State"]["Status"] == "exited"
    with on.stop(grace_s=2):
        assert facts(container)["State"]["Status"] == "exited"
    with on.disconnect():
        assert facts(container)["NetworkSettings"]["Networks"] == {}
    with on.cpu(0.2):
        assert facts(container)["HostConfig"]["CpuQuota"] == 20_000
    before = facts(container)["State"]["StartedAt"]
    with on.restart():
        assert facts(container)["State"]["StartedAt"] != before
    after = facts(container)
    assert after["State"]["Status"] == "running"
    assert list(after["NetworkSettings"]["Networks"]) == ["bridge"]
    assert after["HostConfig"]["CpuQuota"] <= 0


async def test_verbs_are_awaited(chaos: Chaos, container: Any) -> None:
    """`achaos.container`: `async with`, and `inject` and `heal` for those who need them apart; seen by the engine."""
    on = AsyncChaos(chaos).container(container)
    async with on.pause() as fault:
        assert fault.active
        assert facts(container)["State"]["Paused"]
    assert not facts(container)["State"]["Paused"]
    cut_off = on.disconnect(name="cut-off")
    await cut_off.inject()
    assert facts(container)["NetworkSettings"]["Networks"] == {}
    await cut_off.heal()
    assert list(facts(container)["NetworkSettings"]["Networks"]) == ["bridge"]


def test_container_by_a_name_that_is_not_there_is_said(chaos: Chaos, container: Any) -> None:
    """Nothing goes in; by its name it does."""
    with pytest.raises(ChaosSetupError, match="there is no container 'no-such-container'"):
        chaos.container("no-such-container").pause().inject()
    with chaos.container(container.name).pause():
        assert facts(container)["State"]["Paused"]
