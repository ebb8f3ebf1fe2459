"""Clocks of other machines: what round trips say of them, and stamps brought to the runner's clock. Pure.

A round trip is stamped four times: sent and received by the runner, heard and told by the worker. Whatever the way took, the
worker's clock was ahead of the runner's by

    at least  told - received      (the answer was told before it was received)
    at most   heard - sent         (the question was sent before it was heard)

so every round trip bounds the offset by an interval, and no assumption is made about how the way there compares with the way
back: NTP's midpoint is only where we correct to. Intervals of several round trips are intersected. Between two of them either
clock may drift, by DRIFT together at most (Linux slews CLOCK_MONOTONIC by 500 ppm at most, and there are two of them), and the
interval is widened by that. An interval that does not meet the one before means that the clock *jumped*: from then on the new
one holds.

Stamps of a worker are corrected by one number, fixed before the start (`shift_ns`). What is left over is the `error`: an
interval that contains (worker's clock - runner's clock - shift) for every instant of the run. Whoever compares a corrected
stamp with one of another clock must widen it by that: a clock that jumped 300 ms leaves an error 300 ms wide, and what is
closer together than that cannot be decided.

What it deliberately does not do: estimate, smooth, or correct while the run goes on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DRIFT: Final = 1e-3
"""What two clocks may drift apart, as a share of the time that passes."""
_CALL_STAMPS: Final = (1, 2, 3, 4, 5)
"""Where a call's row holds instants: intended, start, sent, first, done."""
_NOTE_STAMPS: Final = ("opened", "welcomed", "left")


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One question and its answer, in ns: `sent` and `received` on the runner's clock, `heard` and `told` on the worker's."""

    sent_ns: int
    heard_ns: int
    told_ns: int
    received_ns: int

    def __post_init__(self) -> None:
        """Refuse what no round trip can be; the worker's clock may have done anything in between."""
        if self.received_ns < self.sent_ns:
            raise ValueError(f"a round trip that ends before it begins: {self}")


class ClockWatch:
    """What is known of one worker's clock. `add` round trips, `fix` the correction, `add` more."""

    def __init__(self) -> None:
        self._now: tuple[float, float] | None = None
        self._at_ns = 0
        self._hull: tuple[float, float] | None = None
        self.shift_ns = 0
        """The runner's clock plus this is the worker's, once it is fixed."""
        self.round_trips = 0
        self.jumps = 0
        """How often the clock moved by more than it can drift."""

    def add(self, trip: RoundTrip) -> None:
        """Take one round trip; in the order in which their answers were received."""
        self.round_trips += 1
        # The upper bound held when the question was sent; by now the clocks may have drifted.
        least = float(trip.told_ns - trip.received_ns)
        most = trip.heard_ns - trip.sent_ns + DRIFT * (trip.received_ns - trip.sent_ns)
        before = self._drifted(trip.received_ns)
        if before is not None:
            self._spread(before)
        if least > most:
            # It jumped ahead between hearing and telling: where to, the next round trip says.
            self.jumps += 1
            self._spread((most, least))
            self._now = None
        elif before is None:
            self._now = least, most
        elif max(before[0], least) <= min(before[1], most):
            self._now = max(before[0], least), min(before[1], most)
        else:
            self.jumps += 1
            self._now = least, most
        if self._now is not None:
            self._spread(self._now)
        self._at_ns = trip.received_ns

    def _drifted(self, at_ns: int) -> tuple[float, float] | None:
        """What was known last, as wide as it has become by an instant of the runner's clock."""
        if self._now is None:
            return None
        drift = DRIFT * (at_ns - self._at_ns)
        return self._now[0] - drift, self._now[1] + drift

    def fix(self) -> None:
        """Correct by what is known now, and begin to watch the error. ValueError while nothing is known."""
        if self._now is None:
            raise ValueError("nothing is known of this clock yet")
        self.shift_ns = round((self._now[0] + self._now[1]) / 2)
        self._hull = self._now

    @property
    def known(self) -> bool:
        """Whether there is an interval: not before the first round trip, nor right after a jump in the middle of one."""
        return self._now is not None

    @property
    def error_ns(self) -> tuple[int, int]:
        """The interval of (worker's clock - runner's clock - shift) over all instants since `fix`, in whole ns."""
        if self._hull is None:
            raise ValueError("the correction is not fixed yet")
        return math.floor(self._hull[0]) - self.shift_ns, math.ceil(self._hull[1]) - self.shift_ns

    def _spread(self, more: tuple[float, float]) -> None:
        if self._hull is not None:
            self._hull = min(self._hull[0], more[0]), max(self._hull[1], more[1])


def on_runners_clock(message: Mapping[str, Any], shift_ns: int) -> dict[str, Any]:
    """A load worker's message with its instants on the runner's clock; counts, durations and second numbers stay."""
    moved = dict(message)
    match message["kind"]:
        case "worker":
            moved["t"] = message["t"] - shift_ns
        case "end":
            moved["t"] = message["t"] - shift_ns
            moved["epoch_ns"] = message["epoch_ns"] - shift_ns
            moved["herd_writes"] = [
                [wave, first - shift_ns, last - shift_ns]
                for wave, first, last in message.get("herd_writes") or ()
            ]
        case "call":
            moved["rows"] = [_row(row, shift_ns) for row in message["rows"]]
        case "note":
            moved["rows"] = [_note(note, shift_ns) for note in message["rows"]]
    return moved


def _row(row: list[Any], shift_ns: int) -> list[Any]:
    return [
        value - shift_ns if place in _CALL_STAMPS and value is not None else value
        for place, value in enumerate(row)
    ]


def _note(note: Mapping[str, Any], shift_ns: int) -> dict[str, Any]:
    moved = dict(note)
    if note.get("at") is not None:
        moved["at"] = [stamp - shift_ns for stamp in note["at"]]
    if note.get("what") == "socket":
        for key in _NOTE_STAMPS:
            if note.get(key) is not None:
                moved[key] = note[key] - shift_ns
        moved["heard"] = {push: at - shift_ns for push, at in (note.get("heard") or {}).items()}
    return moved
