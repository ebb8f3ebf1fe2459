"""The load of a run on the workers of a dask cluster: the engine's face, other machines behind it.

Theory of operation. `prepare` connects to the scheduler, pins one stripe of the schedule to each dask worker, and has it start
the same load worker process that a local run starts (`cluster_host`). Each stripe is read by long polls, less often where there are
many; every answer carries two stamps of the worker's clock, so that reading it measures the clock as well (`cluster_clock`). `start` translates the epoch
to each worker's clock. Stamps come back on the runner's clock, so whoever reads messages need not know where they came from:
counts and histograms add up as those of local workers do.

What goes with the run beside the messages of a local one, all with the stripe's number as `worker` and its place as `name`:

    clock   what the clock of that worker was corrected by, and the error that is left; when fixed, when it grows, at the end
    late    the start was heard after the epoch, or no answer came for LATE_S
    lost    the stripe ended without its `end` messages, or its dask worker cannot be reached; `exit` None where nobody knows

Invariants. A stripe is never moved or repeated: a dask worker that dies takes its part of the schedule along, and the run is
invalid. `close` leaves nothing on the workers; where the runner dies, the lease ends what it left (`cluster_host.LEASE_S`).

What it deliberately does not do: start or size a cluster, install anything on it, or choose between workers by their load.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic_ns
from types import TracebackType
from typing import Any, Final, Self

from resilience.load import cluster_host
from resilience.load.cluster_clock import ClockWatch, RoundTrip, on_runners_clock
from resilience.load.engine import EngineError
from resilience.load.inbox import Inbox
from resilience.load.model import Assignment, PhaseWindow, Stream

log = logging.getLogger("resilience.load.cluster")

OnMessage = Callable[[dict[str, Any]], None]
LEAD_NS: Final = 2_000_000_000
"""From telling the epoch to the epoch: a scheduler and a network lie between."""
LATE_S: Final = 10.0
"""How long an answer may take beyond the time for which it was asked to wait."""
_CONNECT_S: Final = 10.0
_READY_S: Final = 60.0
_GRACE_S: Final = 10.0
_CLOSE_S: Final = 10.0
_POLL_S: Final = 1.0
_PACE_S: Final = 0.025
"""Asking a stripe takes some 10 ms of the runner's processor: of many, each is asked once in so many times this."""
_ROUND_TRIPS: Final = 24
_TOLD_AGAIN_NS: Final = 500_000
"""A clock's error is written down again when it has grown by so much."""


class ClusterEngine:
    """Drives streams from the workers of a dask cluster. An async context manager: leaving it leaves nothing there."""

    lead_ns = LEAD_NS

    def __init__(
        self,
        streams: Sequence[Stream],
        phases: Sequence[PhaseWindow],
        *,
        address: str,
        workers: int = 0,
        run_id: str,
        on_message: OnMessage,
        this_host: bool = False,
    ) -> None:
        """`workers` stripes, or one for each dask worker where it is 0. `this_host`: what is driven is only to be reached from here."""
        self._streams = tuple(streams)
        self._phases = tuple(phases)
        self._address = address
        self._workers = workers
        self._run_id = run_id
        self._on_message = on_message
        self._this_host = this_host
        self._client: Any = None
        self._stripes: list[_Stripe] = []
        self.opened: dict[str, int] = {}
        """After `prepare`: how many connections of each stream are open."""

    async def __aenter__(self) -> Self:
        """Nothing is started yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every stripe, whatever it is doing."""
        await self.close()

    @property
    def places(self) -> tuple[str, ...]:
        """The dask workers in the order of their stripes, as people know them."""
        return tuple(stripe.name for stripe in self._stripes)

    async def prepare(self) -> None:
        """Start the stripes, wait until their connections are open, and measure the clocks. Raises EngineError, having left nothing."""
        try:
            self._client = await _connected(self._address)
            async with asyncio.timeout(_READY_S):
                chosen = await self._chosen()
            for number, (address, facts) in enumerate(chosen):
                assignment = Assignment(self._streams, self._phases, number, len(chosen), self._run_id)
                self._stripes.append(_Stripe(self._client, address, facts, assignment, self._on_message))
            async with asyncio.timeout(_READY_S):
                await asyncio.gather(*(stripe.open() for stripe in self._stripes))
                for stripe in self._stripes:
                    for stream, opened in (await stripe.ready())["opened"].items():
                        self.opened[stream] = self.opened.get(stream, 0) + opened
                await asyncio.gather(*(stripe.fix_clock() for stripe in self._stripes))
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise EngineError(
                    f"load workers on {self._address} were not ready within {_READY_S:.0f} s"
                ) from None
            if isinstance(error, OSError):
                raise EngineError(f"the cluster {self._address} failed: {error}") from error
            raise

    async def start(self, epoch_ns: int) -> None:
        """Give every worker the common epoch, on its own clock."""
        await asyncio.gather(*(stripe.start(epoch_ns) for stripe in self._stripes))

    async def finish(self, timeout_s: float) -> None:
        """Wait for the schedule's end and the drain, at most `timeout_s`; what is unfinished then is counted as such.

        Every message that came has been delivered when this returns. An exception of `on_message` is raised here.
        """
        if not await self._ended(timeout_s):
            await self.abort()
            return
        await self.close()

    async def abort(self) -> None:
        """Stop offering at once. Operations under way are counted as unfinished; the last messages are delivered."""
        await asyncio.gather(*(stripe.abort() for stripe in self._stripes))
        await self._ended(_GRACE_S)
        await self.close()

    async def close(self) -> None:
        """End what still runs, on every worker that can be reached, and leave the cluster. Safe to call again."""
        stripes, self._stripes = self._stripes, []
        client, self._client = self._client, None
        results = await asyncio.gather(*(stripe.close() for stripe in stripes), return_exceptions=True)
        if client is not None:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await client.close()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _chosen(self) -> list[tuple[str, dict[str, Any]]]:
        """The dask workers to use, in the order of their addresses, each with what it says of itself."""
        here = await cluster_host.describe(dask_worker=_Runner)
        answers = await self._client.run(cluster_host.describe, on_error="return")
        if not answers:
            raise EngineError(f"the cluster {self._address} has no workers")
        for address, facts in sorted(answers.items()):
            if isinstance(facts, Exception):
                raise EngineError(
                    f"dask worker {address} cannot run chaos-spike: {type(facts).__name__}: {facts}; "
                    f"install chaos-spike {here['version']} where the cluster's workers run"
                )
            if facts["version"] != here["version"]:
                raise EngineError(
                    f"dask worker {address} has chaos-spike {facts['version']}, this is {here['version']}; install the same"
                )
        if len(answers) < self._workers:
            raise EngineError(
                f"the cluster {self._address} has {len(answers)} workers, and --workers asks for {self._workers}"
            )
        chosen = sorted(answers.items())[: self._workers or None]
        elsewhere = [address for address, facts in chosen if facts["boot"] != here["boot"]]
        if self._this_host and elsewhere:
            raise EngineError(
                f"the system is on this machine's loopback, which {elsewhere[0]} cannot reach; use a cluster on this machine, "
                "or a system that has an address for others"
            )
        return chosen

    async def _ended(self, timeout_s: float) -> bool:
        reading = [stripe.reading for stripe in self._stripes if stripe.reading is not None]
        if not reading:
            return True
        _, pending = await asyncio.wait(reading, timeout=timeout_s)
        return not pending


class _Runner:
    """Stands for a dask worker where the runner describes itself."""

    name = "runner"


class _Stripe:
    """One stripe on one dask worker: how it is asked, and what is made of its answers."""

    def __init__(
        self,
        client: Any,
        address: str,
        facts: dict[str, Any],
        assignment: Assignment,
        on_message: OnMessage,
    ) -> None:
        self._client = client
        self._address = address
        self._facts = facts
        self._assignment = assignment
        self._number = assignment.stripe
        self._key = f"{assignment.run_id}-{assignment.stripe}"
        self._on_message = on_message
        self._inbox = Inbox((stream.name for stream in assignment.streams), self._delivered)
        self._ready: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._clock = ClockWatch()
        self._error_told_ns = 0
        self._opened = False
        self._started = False
        self._lost = False
        self._gone = False
        """The dask worker cannot be reached: whatever was left there has ended with it, or will when its lease is over."""
        self.reading: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Where it runs, as people know it."""
        return f"{self._address} on {self._facts['host']}"

    async def open(self) -> None:
        """Have the load worker started, and begin to read what it writes."""
        self._opened = True
        try:
            await self._ask(cluster_host.open_stripe, self._key, self._assignment.to_json())
        except (OSError, RuntimeError) as error:
            raise EngineError(f"no load worker could be started on {self.name}: {error}") from error
        self.reading = asyncio.create_task(self._read())

    async def ready(self) -> dict[str, Any]:
        """The load worker's ready line. Raises EngineError if it ends instead."""
        assert self.reading is not None
        await asyncio.wait((self._ready, self.reading), return_when=asyncio.FIRST_COMPLETED)
        if not self._ready.done():
            await self.reading
            raise EngineError(
                f"load worker {self._number} on {self.name} ended before it was ready; see the log there"
            )
        return self._ready.result()

    async def fix_clock(self) -> None:
        """Measure the clock until it is known well, and fix what stamps are corrected by."""
        while self._clock.round_trips < _ROUND_TRIPS or not self._clock.known:
            await self._ask_clock()
        self._clock.fix()
        self._tell_clock()

    async def start(self, epoch_ns: int) -> None:
        """Tell the epoch on the worker's clock, and say so where that was heard too late."""
        self._started = True
        try:
            async with asyncio.timeout(LEAD_NS / 1e9):
                heard = await self.command({"start": epoch_ns + self._clock.shift_ns})
        except TimeoutError:
            # It may be heard yet, after the epoch, and every answer that is read may come in time.
            self._say("late", late_ns=LEAD_NS, why="it did not say in time that it had heard the start")
            return
        except OSError:
            return  # whoever reads meets the same
        if late_ns := max(0, heard - self._clock.shift_ns - epoch_ns):
            self._say("late", late_ns=late_ns, why="the start was heard after the epoch")

    async def abort(self) -> None:
        """Have the load worker stop offering; one that cannot be told is ended with the rest."""
        if self._gone:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.command({"abort": True})
        except (OSError, TimeoutError) as error:
            log.warning("stripe %d on %s could not be told to stop: %r", self._number, self.name, error)

    async def command(self, command: dict[str, Any]) -> int:
        """Hand one line to the load worker; when that was, on its clock."""
        return int(await self._ask(cluster_host.tell, self._key, command))

    async def close(self) -> None:
        """Read no more, and end the load worker where it can be reached."""
        if self.reading is not None:
            if not self.reading.done() and self._started and self._inbox.owing:
                self._say_lost(None)
            self.reading.cancel()
            await asyncio.wait((self.reading,))
        if self._opened and not self._gone:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._ask(cluster_host.close_stripe, self._key)
        if self.reading is not None and not self.reading.cancelled():
            self.reading.result()

    async def _read(self) -> None:
        """Fetch what the load worker writes until it has ended, or its dask worker cannot be reached."""
        over, status = False, None
        while not over:
            try:
                async with asyncio.timeout(_POLL_S + LATE_S):
                    # A short round trip says more of the clock than one that waited for something to happen.
                    await self._ask_clock()
                    sent = monotonic_ns()
                    heard, piece, over, status, told = await self._ask(cluster_host.take, self._key, _POLL_S)
            except TimeoutError:
                self._say("late", late_ns=round(LATE_S * 1e9), why=f"it did not answer for {LATE_S:.0f} s")
                self._gone = True
                break
            except (OSError, KeyError) as error:
                log.warning("stripe %d on %s: %s: %s", self._number, self.name, type(error).__name__, error)
                self._gone = isinstance(error, OSError)
                break
            self._clock.add(RoundTrip(sent, heard, told, monotonic_ns()))
            self._inbox.feed(piece)
            if self._inbox.ready is not None and not self._ready.done():
                self._ready.set_result(self._inbox.ready)
            self._tell_clock_again()
            if not over:
                await asyncio.sleep(rest_s(self._assignment.stripes))
        if self._started:
            if not self._lost:
                self._tell_clock()
            if self._inbox.owing:
                self._say_lost(status)

    async def _ask_clock(self) -> None:
        sent = monotonic_ns()
        heard, told = await self._ask(cluster_host.ask_clock)
        self._clock.add(RoundTrip(sent, heard, told, monotonic_ns()))

    async def _ask(self, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        """Run a function of `cluster_host` on this stripe's dask worker; raises what it raises, OSError where that is gone."""
        answers = await self._client.run(function, *args, workers=[self._address], on_error="return")
        answer = answers.get(self._address, OSError("the scheduler does not know it any more"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _delivered(self, message: dict[str, Any]) -> None:
        self._on_message(on_runners_clock(message, self._clock.shift_ns))

    def _tell_clock_again(self) -> None:
        if self._started:
            least, most = self._clock.error_ns
            if most - least >= self._error_told_ns + _TOLD_AGAIN_NS:
                self._tell_clock()

    def _tell_clock(self) -> None:
        least, most = self._clock.error_ns
        self._error_told_ns = most - least
        self._say(
            "clock",
            shift_ns=self._clock.shift_ns,
            error=[least, most],
            round_trips=self._clock.round_trips,
            jumps=self._clock.jumps,
        )

    def _say_lost(self, status: int | None) -> None:
        if not self._lost:
            self._lost = True
            self._say("lost", exit=status)

    def _say(self, kind: str, **fields: Any) -> None:
        self._on_message(
            {"kind": kind, "worker": self._number, "name": self.name, "t": monotonic_ns(), **fields}
        )


def rest_s(stripes: int) -> float:
    """How long a stripe is left alone between two answers, among so many; always well within its lease."""
    return min(max(0.0, stripes * _PACE_S - _POLL_S), cluster_host.LEASE_S / 2)


async def _connected(address: str) -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra, and half a second
    except ImportError as error:
        raise EngineError("--cluster needs dask: pip install 'chaos-spike[cluster]'") from error
    # dask publishes types, and not for this one.
    connect: Any = distributed.Client
    client = connect(address, asynchronous=True, set_as_default=False, timeout=_CONNECT_S, name="chaos-spike")
    try:
        return await client
    except (OSError, TimeoutError, ValueError) as error:
        with contextlib.suppress(OSError, TimeoutError):
            await client.close()
        raise EngineError(f"no dask scheduler answers at {address}: {error}") from error
