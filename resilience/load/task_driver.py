"""What drivers have in common whose operations are coroutines: one task an operation, each ended exactly once.

Theory of operation. A concrete driver writes `attempt`: it does the work, stamps the operation as it goes, and returns an Answer
or raises. Tasks in flight stand in the order of their start, so time-outs are at the head. Whoever ends an operation (its own
task, its time-out, the end of the run) takes it out of the table first; that makes it exactly once. The time-out cancels the
task, and what the coroutine does on its way out changes nothing any more.

What it deliberately does not do: queue, retry, or hide an error. An exception that no driver names is a fault of the script or
the driver: it is logged once a kind and counted as wrong data.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from time import monotonic_ns
from typing import Any, NamedTuple

from resilience.load.model import NEVER_ENDS_NS, Stream, request_id, share
from resilience.load.noting import Noting
from resilience.load.recorder import Recorder
from resilience.load.sources import Heard
from resilience.metrics.outcomes import CONNECT, DROPPED, OK, RESET, TIMEOUT, UNFINISHED, WRONG_DATA

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """How an operation ended."""

    outcome: str = OK
    status: int | None = None
    instance: str | None = None


class Operation:
    """One operation under way, and its stamps in ns (0: not yet, or never)."""

    __slots__ = ("acquired", "connected", "first", "heard", "i", "intended", "notes", "sent", "start", "task")

    def __init__(self, i: int, intended: int, start: int) -> None:
        self.i = i
        self.intended = intended
        self.start = start
        self.acquired = self.connected = self.sent = self.first = 0
        self.task: asyncio.Task[None] | None = None
        self.heard: Heard | None = None
        """What came back, for the note of this operation."""
        self.notes: list[dict[str, Any]] = []
        """Notes that are already complete: of the steps that are over."""

    def has_turn(self) -> None:
        """A connection was had from a pool, or a new one may be opened now."""
        self.acquired = self.acquired or monotonic_ns()

    def is_connected(self) -> None:
        """A connection that had to be opened is open, handshake and all."""
        self.connected = self.connected or monotonic_ns()

    def is_sending(self) -> None:
        """The request goes out now."""
        self.sent = self.sent or monotonic_ns()

    def hears(self) -> None:
        """The first of the answer came."""
        self.first = self.first or monotonic_ns()


class TaskDriver(ABC):
    """A driver whose operations are coroutines."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        self.stream = stream
        self.recorder = recorder
        self.run_id = run_id
        self.cap = max(1, share(stream.in_flight_cap, stripe, stripes))
        self.wanted = share(stream.connections, stripe, stripes)
        self.stripe = stripe
        self.stripes = stripes
        self._under_way: dict[Operation, None] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._surprises: set[str] = set()
        self.next_due = NEVER_ENDS_NS
        self.pump: Callable[[], None] = _nothing
        self.done: Callable[[int, int], None] | None = None

    @abstractmethod
    async def attempt(self, operation: Operation) -> Answer:
        """Carry one operation out. Raises ConnectionRefusedError, ConnectionError, TimeoutError or what `explain` knows."""

    async def prepare(self) -> int:
        """Open connections beforehand; none, unless a driver keeps some."""
        return 0

    async def top_up(self) -> None:  # noqa: B027 - most drivers keep nothing open
        """Nothing is kept open, unless a driver says otherwise."""

    async def release(self) -> None:  # noqa: B027 - most drivers keep nothing open
        """Close what is kept open."""

    def explain(self, error: Exception, operation: Operation) -> str:
        """The category of an error; drivers know their own kinds and leave the rest to this."""
        if isinstance(error, TimeoutError):
            return TIMEOUT if operation.sent else CONNECT
        if isinstance(error, OSError):
            return RESET if operation.sent else CONNECT
        kind = type(error).__name__
        if kind not in self._surprises:
            self._surprises.add(kind)
            log.warning("load %s: %s: %s", self.stream.name, kind, error, exc_info=error)
        return WRONG_DATA

    def timed_out(self, operation: Operation) -> str:
        """The category of an operation that is past its time-out."""
        return TIMEOUT if operation.sent or operation.connected else CONNECT

    def id_of(self, i: int) -> str:
        """The id of a request."""
        return request_id(self.run_id, self.stream.name, i, self.stream.correlate)

    def notes_of(self, operation: Operation, outcome: str, now: int) -> Iterable[dict[str, Any]]:
        """The notes of an operation that has ended; those that it carries, unless a driver has more to say."""
        del outcome, now
        return operation.notes

    def note_of(
        self, noting: Noting | None, row: Mapping[str, str], operation: Operation, outcome: str, now: int
    ) -> Iterable[dict[str, Any]]:
        """The one note of an operation that is a single exchange; nothing where nothing is to be written down."""
        if noting is None:
            return ()
        at = (operation.sent or operation.start, now)
        call_id = self.id_of(operation.i)
        return (noting.note(operation.i, call_id, row, operation.heard, at=at, outcome=outcome),)

    @property
    def under_way(self) -> int:
        """How many operations are in flight."""
        return len(self._under_way)

    @property
    def lingering(self) -> int:
        """Nothing outlives its operation, unless a driver says otherwise."""
        return 0

    def figures(self) -> dict[str, int]:
        """Nothing else, unless a driver counts something."""
        return {}

    def issue(self, i: int, intended: int) -> None:
        """Start operation i, due at `intended`, now; or drop it at the in-flight cap."""
        operation = Operation(i, intended, monotonic_ns())
        if len(self._under_way) >= self.cap:
            self._record(operation, Answer(DROPPED), operation.start)
            return
        self._under_way[operation] = None
        operation.task = asyncio.get_running_loop().create_task(self._carry_out(operation))

    def expire(self, now: int) -> None:
        """End operations that are past their time-out."""
        oldest = now - self.stream.timeout_ns
        late = []
        for operation in self._under_way:
            if operation.start > oldest:
                break
            late.append(operation)
        for operation in late:
            self._cut_off(operation, self.timed_out(operation), now)

    def give_up(self, now: int) -> None:
        """End everything under way as unfinished."""
        for operation in list(self._under_way):
            self._cut_off(operation, UNFINISHED, now)

    async def close(self) -> None:
        """Leave no task and no connection."""
        for operation in list(self._under_way):
            del self._under_way[operation]
            self._cancel(operation)
        if self._ending:
            await asyncio.wait(self._ending)
        await self.release()

    async def _carry_out(self, operation: Operation) -> None:
        try:
            answer = await self.attempt(operation)
        except Exception as error:  # noqa: BLE001 - every failure is an outcome here; `explain` logs what it does not know
            answer = Answer(self.explain(error, operation))
        now = monotonic_ns()
        if operation in self._under_way:
            del self._under_way[operation]
            self._record(operation, answer, now)

    def _cut_off(self, operation: Operation, outcome: str, now: int) -> None:
        del self._under_way[operation]
        self._cancel(operation)
        self._record(operation, Answer(outcome), now)

    def _cancel(self, operation: Operation) -> None:
        task = operation.task
        if task is not None and not task.done():
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    def _record(self, operation: Operation, answer: Answer, now: int) -> None:
        self.recorder.finish(
            operation.i,
            intended=operation.intended,
            start=operation.start,
            acquired=operation.acquired,
            connected=operation.connected,
            sent=operation.sent,
            first=operation.first,
            done=now,
            outcome=answer.outcome,
            status=answer.status,
            instance=answer.instance,
        )
        for note in self.notes_of(operation, answer.outcome, now):
            self.recorder.note(note, now)
        if self.done is not None:
            self.done(operation.i, now)


def _nothing() -> None:
    """Until a pacer takes over."""
