"""Where a driver leaves what became of its operations: raw rows on the hot path, messages once a second.

Theory of operation. `rows` and `due` are plain appends, for whoever is in a hurry (the HTTP fast path appends to them itself);
`finish` is the unhurried way in. Streams that record calls also keep one row a call, handed out in chunks of CALLS_A_MESSAGE
as soon as there are that many, since a second of them encoded at once would delay the next arrivals by milliseconds.

What it deliberately does not do: look at a clock, or write to a pipe.
"""

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from resilience.load.figures import Figures
from resilience.load.model import Herd, PhaseWindow, Stream
from resilience.load.noting import NOTES_A_RUN
from resilience.load.tally import ROW, Tally
from resilience.metrics.outcomes import CODE, DROPPED, UNFINISHED

Send = Callable[[dict[str, Any]], None]
CALLS_A_MESSAGE = 256
ROWS_A_STEP = 2_000
NUMPY_KEEPS_BELOW_BYTES = 1024
NUMPY_KEEPS = 7
"""numpy's cache of small arrays: how many freed ones of each size (`NCACHE`, `NBUCKETS` in its `alloc.c`)."""


class Recorder:
    """The accounting of one stream in one worker."""

    def __init__(self, stream: Stream, phases: Sequence[PhaseWindow], worker: int, send: Send) -> None:
        self._stream = stream
        self._phases = phases
        self._worker = worker
        self._send = send
        self._tally = self._new_tally(0)
        self.rows: list[bytes] = []
        """Packed rows of operations that ended since the last fold."""
        self.due: array[int] = array("q")
        """Absolute due times of the arrivals taken from the schedule since the last fold."""
        self.calls: list[tuple[Any, ...]] | None = [] if stream.record_calls else None
        self.figures = Figures(stream.name, phases, worker)
        """What this kind of driver counts beside the outcomes."""
        self.notes: list[dict[str, Any]] = []
        self.notes_left = NOTES_A_RUN
        """So many more notes this stream may leave in this worker."""
        self.offered = 0
        self.ended = 0
        self.dropped = 0
        self.unfinished = 0

    def begin(self, epoch_ns: int) -> None:
        """Fix the epoch from which seconds and phases count."""
        self._tally = self._new_tally(epoch_ns)
        self.figures.begin(epoch_ns)

    @property
    def writes(self) -> dict[int, tuple[int, int]]:
        """Of a herd: for each wave's due time from the epoch, its first and last write."""
        return self._tally.writes

    def _new_tally(self, epoch_ns: int) -> Tally:
        herd = isinstance(self._stream.shape, Herd)
        return Tally(self._stream.name, self._phases, self._stream.deadline_ns, epoch_ns, herd=herd)

    def finish(
        self,
        i: int,
        *,
        intended: int,
        start: int,
        acquired: int,
        connected: int,
        sent: int,
        first: int,
        done: int,
        outcome: str,
        status: int | None = None,
        instance: str | None = None,
    ) -> None:
        """One operation ended. Stamps in ns; 0 for what never happened."""
        if outcome == DROPPED:
            self.dropped += 1
        elif outcome == UNFINISHED:
            self.unfinished += 1
        self.rows.append(ROW.pack(intended, start, acquired, connected, sent, done, CODE[outcome]))
        if self.calls is not None:
            self.call((i, intended, start, sent or done, first or None, done, status, outcome, instance))

    def call(self, row: tuple[Any, ...]) -> None:
        """Keep one call's row, in the order of the `call` message; a call that was never sent has its end as `sent`."""
        calls = self.calls
        if calls is not None:
            calls.append(row)
            if len(calls) >= CALLS_A_MESSAGE:
                self._flush_calls()

    def note(self, note: dict[str, Any], now: int) -> None:
        """Keep the note of a call, or count it as lost where there are too many already."""
        if self.notes_left <= 0:
            self.figures.count("notes_lost", now)
            return
        self.notes_left -= 1
        self.notes.append(note)
        if len(self.notes) >= CALLS_A_MESSAGE:
            self._flush_notes()

    def flush(self) -> None:
        """Fold what was recorded and send it on, in one go."""
        for _ in self.flush_in_steps():
            pass

    def flush_in_steps(self) -> Iterator[None]:
        """The same in steps of a millisecond or so, between which the caller lets arrivals that are due go first.

        May be given up after any step: what was not sent goes with the next flush.
        """
        # The hot path holds on to the `append` of both, so they are emptied, never replaced.
        due = self.due[:]
        del self.due[:]
        self.offered += len(due)
        self._tally.offer(due)
        yield
        while self.rows:
            some = self.rows[:ROWS_A_STEP]
            del self.rows[: len(some)]
            self.ended += len(some)
            self._tally.fold(some)
            yield
        for message in self._tally.drain(self._worker):
            self._send(message)
            yield
        for message in self.figures.drain():
            self._send(message)
        self._flush_calls()
        self._flush_notes()

    def _flush_calls(self) -> None:
        if self.calls:
            self._send(
                {"kind": "call", "worker": self._worker, "load": self._stream.name, "rows": list(self.calls)}
            )
            self.calls.clear()

    def _flush_notes(self) -> None:
        if self.notes:
            self._send(
                {"kind": "note", "worker": self._worker, "load": self._stream.name, "rows": list(self.notes)}
            )
            self.notes.clear()


def rehearse(phases: Sequence[PhaseWindow]) -> None:
    """Fold something once: numpy's first calls take tens of milliseconds, which the run would see as a stall.

    And allocate what numpy will keep anyway: of every size below a kilobyte it puts up to seven freed arrays by for later. A run meets
    those sizes one by one, over an hour or so, as numbers of rows and masks happen to come: 3 MB that would look like a leak.
    """
    tally = Tally("", phases, 1, 0)
    stamps = range(1, 2000)
    tally.offer(array("q", stamps))
    tally.fold(ROW.pack(n, n, n, n, n, n * n, n % len(CODE)) for n in stamps)
    json.dumps(list(tally.drain(0)))
    for size_bytes in range(1, NUMPY_KEEPS_BELOW_BYTES):
        kept = [np.empty(size_bytes, dtype=np.uint8) for _ in range(NUMPY_KEEPS)]
        kept.clear()
