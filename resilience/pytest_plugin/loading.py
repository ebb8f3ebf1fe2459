"""Load inside a test: worker processes that offer requests at a rate until the `with` block ends."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from resilience.load.engine import EngineError, LoadEngine
from resilience.load.model import PhaseWindow, RateSegment, Shape, Stream
from resilience.load.requests import HttpRequest, Request
from resilience.load.schedule import count, end_ns
from resilience.metrics.fold import LoadTable
from resilience.metrics.gathered import Gathered
from resilience.metrics.spike_metrics import SpikeLoadMetrics
from resilience.metrics.validity import LAG_MS, judge_validity
from resilience.pytest_plugin.errors import ChaosSetupError, InvalidRun
from resilience.pytest_plugin.portal import Portal

PHASE = "load"
_LEAD_NS = 200_000_000
_STEADY_SECONDS = 3
_STEADY_SHARE = 0.99
# What was due in the last moments before the stop may not have been taken up any more.
_TAIL_NS = 100_000_000


@dataclass(slots=True, eq=False)
class LoadHandle:
    """One load: a context manager around its running."""

    name: str
    stream: Stream
    run_id: str
    workers: int
    _portal: Portal
    epoch_ns: int = 0
    stop_ns: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    _engine: LoadEngine | None = None
    _told: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        """Start it; return when the first request is due. Raises ChaosSetupError."""
        phases = (PhaseWindow(PHASE, 0, end_ns(self.stream.shape)),)
        self._engine = LoadEngine(
            [self.stream], phases, workers=self.workers, run_id=self.run_id, on_message=self._message
        )
        try:
            self._portal.call(self._start(self._engine))
        except EngineError as error:
            raise ChaosSetupError(f"the load {self.name} could not be started: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop offering; what is under way then is counted as unfinished."""
        self.stop()

    def stop(self) -> None:
        """Stop offering, and wait until every worker has reported."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        self.stop_ns = time.monotonic_ns()
        self._portal.call(engine.abort())

    def wait_steady(self, *, within: float) -> None:
        """Wait for three whole seconds in a row in which 99 % of what was due was answered as it should be, in time.

        AssertionError after `within` seconds, with the last seconds' figures; InvalidRun if the generator itself came late.
        """
        until_s = time.monotonic() + within
        with self._told:
            while not self._steady():
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    self._require_punctual()
                    raise AssertionError(
                        f"the load {self.name} was not steady within {within:g} s: {self._last()}"
                    )
                self._told.wait(left_s)

    def wait(self, seconds: float) -> None:
        """Let the load go on for so long: what is judged afterwards needs whole seconds of it."""
        time.sleep(seconds)

    def table(self) -> LoadTable:
        """All that was reported so far, by second."""
        return LoadTable.from_messages(list(self.messages), (PhaseWindow(PHASE, 0, self._until_ns()),))

    def metrics(self) -> SpikeLoadMetrics:
        """Figures and validity of the load as far as it went."""
        phases = (PhaseWindow(PHASE, 0, self._until_ns()),)
        due_ns = max(self._until_ns() - _TAIL_NS, 0)
        due = count(self.stream.shape, self.stream.arrival, self.stream.seed, due_ns)
        messages = list(self.messages)
        table = LoadTable.from_messages(messages, phases)
        if self._until_ns() < end_ns(self.stream.shape):
            # Ended by hand: the rest of the schedule was never meant to be offered.
            offered = table.bin(self.name).counts["offered"]
            messages = _cut_short(messages, offered)
        validity = judge_validity(table, {self.name: {PHASE: due}}, messages, phases)
        gathered = Gathered(phases)
        gathered.begin(self.epoch_ns)
        for message in messages:
            gathered.take(message)
        return SpikeLoadMetrics.of(self.name, phases, gathered, validity)

    def seconds_at(self, at_ns: int) -> float:
        """Seconds since this load's first request was due."""
        return (at_ns - self.epoch_ns) / 1e9

    async def _start(self, engine: LoadEngine) -> None:
        await engine.prepare()
        self.epoch_ns = time.monotonic_ns() + _LEAD_NS
        await engine.start(self.epoch_ns)

    def _message(self, message: dict[str, Any]) -> None:
        with self._told:
            self.messages.append(message)
            self._told.notify_all()

    def _until_ns(self) -> int:
        stop_ns = self.stop_ns or time.monotonic_ns()
        return max(min(stop_ns - self.epoch_ns, end_ns(self.stream.shape)), 1)

    def _whole(self) -> list[tuple[int, int, int]]:
        """(second, due, good) of each second of which everything has ended."""
        table = LoadTable.from_messages(self.messages)
        return [
            (second, found.counts["offered"], found.counts["good"])
            for second, found in table.seconds(self.name)
            if found.ended == found.counts["offered"]
        ]

    def _steady(self) -> bool:
        # The newest second may still be filling.
        last = self._whole()[:-1][-_STEADY_SECONDS:]
        follow = all(b[0] == a[0] + 1 for a, b in pairwise(last))
        return len(last) == _STEADY_SECONDS and follow and all(g >= _STEADY_SHARE * n > 0 for _, n, g in last)

    def _require_punctual(self) -> None:
        """InvalidRun if requests started late: a machine that starves the generator starves the system as well."""
        lag_ms = self.table().phase(self.name, PHASE).lag_p99_ms
        if lag_ms is not None and lag_ms > LAG_MS:
            raise InvalidRun(
                f"{self.name}: requests started up to {lag_ms:.0f} ms late (at most {LAG_MS:.0f} ms): "
                "the machine is too busy to say anything about the system"
            )

    def _last(self) -> str:
        last = self._whole()[-_STEADY_SECONDS:]
        return ", ".join(f"second {s}: {g} of {n} good" for s, n, g in last) or "nothing was answered"

    def __str__(self) -> str:
        return self.name


class LoadVerbs:
    """`chaos.load`: what can be offered."""

    def __init__(
        self,
        start: Callable[[str, Stream, int], LoadHandle],
        base_url: Callable[[str], str],
        max_s: float,
        seed: int,
    ) -> None:
        self._start = start
        self._base_url = base_url
        self._max_s = max_s
        self._seed = seed
        self._numbers = 0

    def http(
        self,
        url: str,
        *,
        rate: float | None = None,
        shape: Shape | None = None,
        name: str | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        data: tuple[dict[str, str], ...] = (),
        degraded: tuple[str, str] | None = ("X-Degraded", "true"),
        instance: str | None = "X-Instance",
        deadline: float = 1.0,
        timeout: float = 5.0,
        connections: int = 16,
        workers: int = 1,
    ) -> LoadHandle:
        """One HTTP request, `rate` times a second (or in a shape of `resilience.load.shapes`).

        A `url` without a host is one of the target. An answer later than `deadline` seconds is not good; `degraded` is the
        header by which the service marks a fallback, `instance` the one that names who answered. A 4xx or 5xx is an error.
        """
        request = HttpRequest(
            url=url if "://" in url else f"{self._base_url(url)}{url}",
            method=method,
            headers=tuple((headers or {}).items()),
            body=body,
            data=data,
            degraded_header=degraded,
            instance_header=instance,
        )
        return self.request(
            request,
            rate=rate,
            shape=shape,
            name=name,
            deadline=deadline,
            timeout=timeout,
            connections=connections,
            workers=workers,
        )

    def request(
        self,
        request: Request,
        *,
        rate: float | None = None,
        shape: Shape | None = None,
        name: str | None = None,
        deadline: float = 1.0,
        timeout: float = 5.0,
        connections: int = 16,
        workers: int = 1,
    ) -> LoadHandle:
        """Any request of `resilience.load.requests`."""
        if (rate is None) == (shape is None):
            raise TypeError("say at which rate, or in which shape")
        self._numbers += 1
        most = math.ceil(self._max_s * 1e9)
        stream = Stream(
            name=name or f"load-{self._numbers}",
            shape=shape if shape is not None else (RateSegment(0, most, float(rate or 0), float(rate or 0)),),
            arrival="uniform",
            request=request,
            deadline_ns=round(deadline * 1e9),
            timeout_ns=round(timeout * 1e9),
            record_calls=True,
            connections=connections,
            seed=self._seed + self._numbers,
        )
        return self._start(stream.name, stream, workers)


def _cut_short(messages: list[dict[str, Any]], offered: int) -> list[dict[str, Any]]:
    """The messages as if the schedule had ended where the load was stopped: `offered` in all."""
    ends = [message for message in messages if message.get("kind") == "end"]
    left = {id(end): offered if end is ends[0] else 0 for end in ends}
    return [{**m, "scheduled": left[id(m)]} if id(m) in left else m for m in messages]
