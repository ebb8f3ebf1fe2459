"""Our engine as the benches use it: the worker process of a run, pinned to the generator's core, and all of its messages."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.target import generator_core
from resilience.load import schedule
from resilience.load.engine import LoadEngine
from resilience.load.model import HttpRequest, PhaseWindow, Request, Shape, Stream
from resilience.metrics.fold import Bin, LoadTable
from resilience.metrics.validity import Validity, judge_validity

S = 10**9
_LEAD_NS = 50_000_000
Meanwhile = Callable[[int], Awaitable[None]]
"""What else happens during a run; it is given the epoch."""


@dataclass(frozen=True, slots=True)
class Driven:
    """What one run of the engine gave."""

    stream: Stream
    phases: tuple[PhaseWindow, ...]
    epoch_ns: int
    messages: list[dict[str, Any]]

    @property
    def total(self) -> Bin:
        """Counts and histograms of the whole run."""
        return LoadTable.from_messages(self.messages, self.phases).bin(self.stream.name)

    @property
    def validity(self) -> Validity:
        """Whether the generator did what it says."""
        table = LoadTable.from_messages(self.messages, self.phases)
        scheduled = {self.stream.name: schedule.counts_by_phase(self.stream, self.phases)}
        return judge_validity(table, scheduled, self.messages, self.phases)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the worker between the start and the end of its load."""
        return sum(float(end["cpu_ns"]) for end in self.kind("end")) / S

    def kind(self, kind: str) -> Iterator[dict[str, Any]]:
        """The messages of a kind."""
        return (message for message in self.messages if message["kind"] == kind)

    def calls(self) -> Iterator[list[Any]]:
        """The rows of all calls, where they were recorded."""
        return (row for message in self.kind("call") for row in message["rows"])


def stream_of(target: Request | str, shape: Shape, **changes: Any) -> Stream:
    """A stream with what the benches have in common; a text is the URL of a GET."""
    given: dict[str, Any] = {
        "name": "load",
        "shape": shape,
        "arrival": "uniform",
        "request": HttpRequest(url=target) if isinstance(target, str) else target,
        "deadline_ns": S,
        "timeout_ns": 5 * S,
    }
    return Stream(**{**given, **changes})


def drive(stream: Stream, *, seconds: float, meanwhile: Meanwhile | None = None) -> Driven:
    """Run a stream to its end in one worker on the generator's core."""
    return asyncio.run(_drive(stream, seconds, meanwhile))


async def _drive(stream: Stream, seconds: float, meanwhile: Meanwhile | None) -> Driven:
    messages: list[dict[str, Any]] = []
    phases = (PhaseWindow("all", 0, int(seconds * S)),)
    async with LoadEngine([stream], phases, workers=1, run_id="bench", on_message=messages.append) as engine:
        await engine.prepare()
        for pid in engine.pids:
            os.sched_setaffinity(pid, generator_core())
        epoch = time.monotonic_ns() + _LEAD_NS
        await engine.start(epoch)
        if meanwhile is not None:
            await meanwhile(epoch)
        await engine.finish(seconds + stream.timeout_ns / S + 10)
    return Driven(stream, phases, epoch, messages)
