"""What a tap writes down: a bounded ring of records, and the observer that makes them of a connection's bytes.

Records (JSON-able, times are CLOCK_MONOTONIC nanoseconds, `at` is an interval that holds the true time):
    {"seq", "kind": "arrival", "n", "c", "id", "method", "path", "at"}   a request's head is complete
    {"seq", "kind": "done", "n", "status", "at", "end"}                  its answer is, or will never be
    {"seq", "kind": "open" | "close", "c", "at"}                         connections, for protocol tcp
`n` numbers requests, `c` connections, `seq` records, each from 1 within a tap. `end` is `response`,
`caller_closed`, `upstream_closed` or `refused`: who ended it first.

Pure of IO: the clock is handed in. A reader that is too slow loses the oldest records and is told how many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from faults.http_messages import Head, MessageScanner, is_status
from faults.model import Direction
from faults.toxics.base import Ending

__all__ = ["HttpObserver", "RecordRing", "TapNumbers", "TcpObserver"]

Record = dict[str, Any]
At = tuple[int, int]

_READ_BYTES = 256 * 1024  # what asyncio and uvloop read at once
_REFUSED_WAIT_S = 0.02  # a client that has connected writes its request well within this


class RecordRing:
    """The last `capacity` records, numbered from 1."""

    def __init__(self, capacity: int = 65536, on_append: Callable[[], None] = lambda: None) -> None:
        self._records: deque[Record] = deque(maxlen=capacity)
        self._on_append = on_append
        self.next_seq = 1
        self._wanted_from = 1

    @property
    def dropped(self) -> int:
        """Records that the ring has forgotten."""
        return self.next_seq - 1 - len(self._records)

    def append(self, record: Mapping[str, Any]) -> None:
        """Number a record and keep it."""
        self._records.append({"seq": self.next_seq, **record})
        self.next_seq += 1
        self._on_append()

    def forget(self, seq: int) -> None:
        """Let go of records before number `seq`, which their reader has: who comes anew has not lost them.

        A number beyond ours is that of a process before this one: nobody has read ours.
        """
        if seq > self.next_seq:
            return
        for _ in range(min(len(self._records), seq - (self.next_seq - len(self._records)))):
            self._records.popleft()
        self._wanted_from = max(self._wanted_from, min(seq, self.next_seq))

    def since(self, seq: int, limit: int) -> tuple[list[Record], int, int]:
        """Return up to `limit` records from number `seq` on, the next number, and how many were lost before.

        To one that begins (`seq` is 1 at most) only what nobody let go of is lost; one that goes on has lost whatever is not there.
        One that asks for a number beyond ours has read a process before this one, and lost its end, at least.
        """
        if seq > self.next_seq:
            found, following, lost = self.since(1, limit)
            return found, following, lost + 1
        first = self.next_seq - len(self._records)
        lost = max(0, min(first, self.next_seq) - (seq if seq > 1 else self._wanted_from))
        start = max(seq, first)
        found = [
            self._records[index]
            for index in range(start - first, min(len(self._records), start - first + limit))
        ]
        return found, start + len(found), lost


@dataclass(slots=True)
class TapNumbers:
    """The last numbers given out in one tap."""

    request: int = 0
    connection: int = 0


@dataclass(slots=True)
class _Call:
    n: int
    status: int | None = None


class HttpObserver:
    """Records the requests of one connection."""

    def __init__(
        self, ring: RecordRing, numbers: TapNumbers, clock: Callable[[], At], correlate: str | None
    ) -> None:
        numbers.connection += 1
        self._c = numbers.connection
        self._ring = ring
        self._numbers = numbers
        self._clock = clock
        self._correlate = correlate.lower() if correlate else None
        self._requests = MessageScanner()
        self._responses = MessageScanner(responses=True)
        self._pending: deque[_Call] = deque()
        self._refused = False
        # Since when bytes may have lain unread, by direction: while the upstream was dialled, or nobody took them.
        self._unread_since_ns: dict[Direction, int] = {Direction.UPSTREAM: clock()[0]}

    def paused(self, direction: Direction) -> None:
        """What comes from now on may have come any time since."""
        self._unread_since_ns.setdefault(direction, self._clock()[0])

    def data(self, direction: Direction, data: bytes) -> None:
        """Follow the messages."""
        at = self._clock()
        since_ns = self._unread_since_ns.get(direction)
        if since_ns is not None:
            at = (min(at[0], since_ns), at[1])
            # A full read may have left more behind in the kernel, just as old.
            if len(data) < _READ_BYTES:
                del self._unread_since_ns[direction]
        if direction is Direction.UPSTREAM:
            for event in self._requests.feed(data):
                if isinstance(event, Head):
                    self._arrived(event, at)
            return
        for event in self._responses.feed(data):
            if not isinstance(event, Head):
                self._answered(at)
            elif is_status(event.second) and self._pending:
                self._pending[0].status = int(event.second)

    def _arrived(self, head: Head, at: At) -> None:
        self._numbers.request += 1
        n = self._numbers.request
        self._responses.methods.append(head.first)
        self._ring.append(
            {
                "kind": "arrival",
                "n": n,
                "c": self._c,
                "id": self._id(head),
                "method": head.first,
                "path": head.second,
                "at": at,
            }
        )
        self._pending.append(_Call(n))
        if self._refused:
            self._give_up("refused", at)

    def _id(self, head: Head) -> str | None:
        if self._correlate is None:
            return None
        value = head.headers.get(self._correlate)
        if value is not None and self._correlate == "traceparent":
            parts = value.split("-")
            return parts[1] if len(parts) >= 3 else value
        return value

    def _answered(self, at: At) -> None:
        if self._pending:
            self._done(self._pending.popleft(), "response", at)

    def _done(self, call: _Call, end: str, at: At) -> None:
        self._ring.append({"kind": "done", "n": call.n, "status": call.status, "at": at, "end": end})

    def _give_up(self, end: str, at: At) -> None:
        while self._pending:
            self._done(self._pending.popleft(), end, at)

    def ended(self, direction: Direction, ending: Ending) -> None:  # noqa: ARG002 - any end is the end of a call
        """Close the calls that will not be answered: HTTP clients do not half-close and wait."""
        at = self._clock()
        if direction is Direction.UPSTREAM:
            self._give_up("caller_closed", at)
            return
        if self._responses.until_end:
            self._answered(at)
        self._give_up("upstream_closed", at)

    def refused(self) -> float:
        """Note it, and give the request time to arrive where it has not."""
        self._refused = True
        if self._pending:
            self._give_up("refused", self._clock())
            return 0.0
        return _REFUSED_WAIT_S

    def closed(self) -> None:
        """Leave no call open."""
        self._give_up("upstream_closed", self._clock())


_TRAFFIC_NS = 1_000_000_000


class TcpObserver:
    """Records that a connection opened and closed, and once a second at most that something passed it.

    The bytes are not looked at. That they passed is evidence all the same: a fault on a connection that lay idle was met by
    nobody.
    """

    def __init__(self, ring: RecordRing, numbers: TapNumbers, clock: Callable[[], At]) -> None:
        numbers.connection += 1
        self._c = numbers.connection
        self._ring = ring
        self._clock = clock
        self._told_ns = 0
        ring.append({"kind": "open", "c": self._c, "at": clock()})

    def data(self, direction: Direction, data: bytes) -> None:  # noqa: ARG002 - that something was sent is all that is told
        """Say that the caller sent something, if it was not said within the last second."""
        if direction is not Direction.UPSTREAM:
            return
        at = self._clock()
        if at[1] - self._told_ns >= _TRAFFIC_NS:
            self._told_ns = at[1]
            self._ring.append({"kind": "traffic", "c": self._c, "at": at})

    def paused(self, direction: Direction) -> None:
        """Bytes have no times here."""

    def ended(self, direction: Direction, ending: Ending) -> None:
        """Half-closes are not told."""

    def refused(self) -> float:
        """The client is told at once."""
        return 0.0

    def closed(self) -> None:
        """Record the end."""
        self._ring.append({"kind": "close", "c": self._c, "at": self._clock()})
