"""One load worker: `python -m resilience.load.worker`, started by the engine, which holds its standard input.

Protocol, one JSON object a line. In: the assignment (model.Assignment); then `{"start": epoch_ns}`; then perhaps
`{"abort": true}`. The end of standard input means that nobody is there any more: the worker exits at once. Out:
`{"ready": true, ...}` once its connections are open; then `bins`, `call` and `worker` messages each second, an `end` message
for each stream, and the end of standard output.

Theory of operation. Everything runs on one uvloop thread: a pacer and a driver for each stream, a sweep every few
milliseconds that ends what is past its time-out, and a tick every second that folds and sends. The cyclic collector is off
during the run, after everything that exists was frozen out of its sight, and runs on the ticks, so that it never falls into a
burst. Output is buffered in memory: a reader that is slow delays nothing here.

The sweep also notices when this process did not run (it was stopped, or the machine was busy): the longest silence of each
second is sent along as `stall_ns`, and judged with the rest.

What it deliberately does not do: decide anything about the run, or outlive whoever started it.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns, process_time_ns
from typing import Any

import psutil

from resilience.load import schedule
from resilience.load.control import Control
from resilience.load.drivers import Driver, make_driver
from resilience.load.model import Assignment, Closed, Herd, Stream, run_end_ns, share
from resilience.load.noting import NOTES_A_RUN
from resilience.load.pacer import Pacer, make_pacer
from resilience.load.recorder import Recorder, rehearse

log = logging.getLogger("resilience.load.worker")

_SECOND_NS = 10**9
_SWEEP_S = 0.005
_TOP_UP_BEFORE_NS = 500_000_000
_NICE = -5
_ROOM_FILES = 16_384
_FULL_COLLECTION_EVERY_S = 30


class Lane:
    """One stream in this worker: its driver, its pacer, its accounting."""

    def __init__(
        self, stream: Stream, assignment: Assignment, send: Callable[[dict[str, Any]], None]
    ) -> None:
        stripe, stripes = assignment.stripe, assignment.stripes
        self.stream = stream
        self.in_flight_sum = 0
        """Of the samples since the last report: how many operations were in flight."""
        self.recorder = Recorder(stream, assignment.phases, stripe, send)
        self.recorder.notes_left = share(NOTES_A_RUN, stripe, stripes)
        self.driver: Driver = make_driver(
            stream, self.recorder, stripe=stripe, stripes=stripes, run_id=assignment.run_id
        )
        self.pacer: Pacer = make_pacer(
            asyncio.get_running_loop(), stream, self.driver, self.recorder, stripe=stripe, stripes=stripes
        )
        total = schedule.count(stream.shape, stream.arrival, stream.seed, schedule.end_ns(stream.shape))
        self._scheduled = schedule.in_stripe(total, stripe, stripes)

    def idle(self, *, over: bool) -> bool:
        """Everything was offered, and everything has ended. What lingers does so until the run is over."""
        return self.pacer.exhausted and self.driver.under_way == 0 and (over or self.driver.lingering == 0)

    def end_message(
        self, worker: int, *, now: int, epoch_ns: int, stall_ns: int, cpu_ns: int
    ) -> dict[str, Any]:
        """The totals, for the conservation law."""
        recorder = self.recorder
        scheduled = recorder.offered if isinstance(self.stream.shape, Closed) else self._scheduled
        writes = recorder.writes
        spread = max((last - first for first, last in writes.values()), default=0)
        return {
            "kind": "end",
            "worker": worker,
            "load": self.stream.name,
            "t": now,
            "epoch_ns": epoch_ns,
            "stall_ns": stall_ns,
            "cpu_ns": cpu_ns,
            "scheduled": scheduled,
            "started": recorder.offered - recorder.dropped,
            "finished": recorder.ended - recorder.dropped - recorder.unfinished,
            "driver": self.driver.figures(),
            "herd_spread_ns": spread if isinstance(self.stream.shape, Herd) else None,
            "herd_writes": [[wave, first, last] for wave, (first, last) in sorted(writes.items())],
        }


class Worker:
    """The run of one assignment."""

    def __init__(
        self, assignment: Assignment, control: Control, send: Callable[[dict[str, Any]], None]
    ) -> None:
        self._assignment = assignment
        self._control = control
        self._send = send
        self._number = assignment.stripe
        self._lanes = [Lane(stream, assignment, send) for stream in assignment.streams]
        self._process = psutil.Process()
        self._fd_limit = _raise_descriptor_limit()
        _make_room(self._fd_limit)
        self._nice = _raise_priority()
        self._rss_bytes = 0
        self._stall_ns = 0
        self._samples = 0
        self._epoch_ns = 0
        self._cpu_before_ns = 0

    async def run(self) -> None:
        """Prepare, wait for the start, offer and drain; every message is handed to `send` before this returns."""
        try:
            opened = {lane.stream.name: await lane.driver.prepare() for lane in self._lanes}
            rehearse(self._assignment.phases)
            gc.collect()
            gc.freeze()
            gc.disable()
            self._send(
                {
                    "ready": True,
                    "worker": self._number,
                    "opened": opened,
                    "fd_limit": self._fd_limit,
                    "nice": self._nice,
                }
            )
            try:
                self._epoch_ns = await self._control.epoch
            except asyncio.CancelledError:
                return
            await self._offer_and_drain()
            self._finish()
        finally:
            for lane in self._lanes:
                lane.pacer.close()
                await lane.driver.close()

    async def _offer_and_drain(self) -> None:
        self._cpu_before_ns = process_time_ns()
        for lane in self._lanes:
            lane.recorder.begin(self._epoch_ns)
            lane.pacer.begin(self._epoch_ns)
        beside = [
            asyncio.create_task(self._tick()),
            *(asyncio.create_task(self._top_up(lane)) for lane in self._lanes),
        ]
        try:
            await self._sweep()
        finally:
            for task in beside:
                task.cancel()
            for result in await asyncio.gather(*beside, return_exceptions=True):
                if isinstance(result, Exception):
                    log.error("worker %d: its reports ended early", self._number, exc_info=result)

    async def _sweep(self) -> None:
        """End what is past its time-out, until everything has ended or the run is aborted."""
        expected = monotonic_ns()
        end = self._epoch_ns + run_end_ns(self._assignment.phases)
        while not self._control.abort.is_set():
            await asyncio.sleep(_SWEEP_S)
            now = monotonic_ns()
            self._stall_ns = max(self._stall_ns, now - expected - int(_SWEEP_S * _SECOND_NS))
            self._samples += 1
            for lane in self._lanes:
                lane.in_flight_sum += lane.driver.under_way
                lane.driver.expire(now)
            over = now >= end
            if all(lane.idle(over=over) for lane in self._lanes):
                return
            expected = monotonic_ns()

    async def _tick(self) -> None:
        """Once a second, staggered among the workers: fold, send, collect garbage."""
        stagger = (self._number * 97 % 100) * 10_000_000
        await asyncio.sleep(max(self._epoch_ns - monotonic_ns(), 0) / _SECOND_NS)
        cpu, at = process_time_ns(), max(monotonic_ns(), self._epoch_ns)
        seconds = 0
        while True:
            next_tick = (
                self._epoch_ns + stagger + ((at - self._epoch_ns - stagger) // _SECOND_NS + 1) * _SECOND_NS
            )
            await asyncio.sleep((next_tick - monotonic_ns()) / _SECOND_NS)
            seconds += 1
            for lane in self._lanes:
                for _ in lane.recorder.flush_in_steps():
                    await asyncio.sleep(0)
            gc.collect(2 if seconds % _FULL_COLLECTION_EVERY_S == 0 else 1)
            cpu_now, now = process_time_ns(), monotonic_ns()
            self._report(now, (cpu_now - cpu) / max(now - at, 1))
            cpu, at = cpu_now, now

    async def _top_up(self, lane: Lane) -> None:
        """A herd meets open connections even where the target has closed idle ones meanwhile."""
        shape = lane.stream.shape
        if isinstance(shape, Herd):
            for wave in range(shape.waves):
                due = self._epoch_ns + shape.start_ns + wave * shape.gap_ns
                wait = due - _TOP_UP_BEFORE_NS - monotonic_ns()
                if wait > 0:
                    await asyncio.sleep(wait / _SECOND_NS)
                    await lane.driver.top_up()

    def _usage(self) -> tuple[int, int]:
        """Open descriptors, and resident bytes. Looking takes a descriptor itself: where none is left, all are in use."""
        try:
            self._rss_bytes = self._process.memory_info().rss
            return self._process.num_fds(), self._rss_bytes
        except OSError:
            return self._fd_limit, self._rss_bytes

    def _report(self, now: int, cpu: float) -> None:
        fds, rss_bytes = self._usage()
        self._send(
            {
                "kind": "worker",
                "worker": self._number,
                "t": now,
                "cpu": round(cpu, 4),
                "in_flight": {lane.stream.name: lane.driver.under_way for lane in self._lanes},
                "drivers": {lane.stream.name: lane.driver.figures() for lane in self._lanes},
                "in_flight_mean": {
                    lane.stream.name: lane.in_flight_sum / max(self._samples, 1) for lane in self._lanes
                },
                "fds": fds,
                "fd_limit": self._fd_limit,
                "rss_bytes": rss_bytes,
                "stall_ns": self._stall_ns,
            }
        )
        self._stall_ns = self._samples = 0
        for lane in self._lanes:
            lane.in_flight_sum = 0

    def _finish(self) -> None:
        now = monotonic_ns()
        for lane in self._lanes:
            lane.pacer.stop()
            lane.driver.give_up(now)
            lane.recorder.flush()
        for lane in self._lanes:
            self._send(
                lane.end_message(
                    self._number,
                    now=now,
                    epoch_ns=self._epoch_ns,
                    stall_ns=self._stall_ns,
                    cpu_ns=process_time_ns() - self._cpu_before_ns,
                )
            )


def _raise_descriptor_limit() -> int:
    """As many open files as this process may have; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft
    return hard


def _make_room(fd_limit: int) -> None:
    """Have the kernel make room for many open files now.

    It doubles its table when that is full, and a process of several threads waits until no processor looks at the old one: on a busy
    machine for hundreds of milliseconds, in the middle of a herd that opens its sockets.
    """
    with contextlib.suppress(OSError):
        os.close(os.dup2(sys.stdin.fileno(), min(fd_limit, _ROOM_FILES) - 1))


def _raise_priority() -> int:
    """Ask to run before others: callers elsewhere would not wait for this machine's cores. Returns the nice value it is."""
    # Linux schedules each session as a group of its own, and `nice` only orders its members: against containers, which are a group as
    # well, it takes a session of its own. (An interrupt on the terminal does not reach it then, and is ignored anyway.)
    with contextlib.suppress(OSError):
        os.setsid()
    # Both take a privilege; without it, lag tells whether the machine was too busy.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        Path("/proc/self/autogroup").write_text(f"{_NICE}\n", encoding="ascii")
    return os.getpriority(os.PRIO_PROCESS, 0)


async def _main(assignment: Assignment) -> None:
    loop = asyncio.get_running_loop()
    stdin, control = await loop.connect_read_pipe(Control, sys.stdin)
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    loop.add_signal_handler(signal.SIGTERM, control.stop)

    def send(message: dict[str, Any]) -> None:
        if not control.orphaned:
            writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    try:
        await Worker(assignment, control, send).run()
        while writer.get_write_buffer_size() > 0 and not control.orphaned and not writer.is_closing():  # noqa: ASYNC110 - a transport has no event for an empty buffer
            await asyncio.sleep(0.005)
    finally:
        stdin.close()
        writer.close()
        await asyncio.sleep(0)


def main() -> None:
    """Read the assignment from standard input and carry it out."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    # An interrupt on the terminal reaches every process; how the run ends is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return
    import uvloop  # noqa: PLC0415 - the only platform-dependent import, and the worker's alone

    uvloop.run(_main(Assignment.from_json(json.loads(line))))


if __name__ == "__main__":
    main()
