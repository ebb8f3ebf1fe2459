"""What was observed of a breaker: frozen observations on one monotonic clock.

An observation says *when* it was true as an `Interval`, and of whom (breaker, instance, boot). An interval is
never a guess: the true instant lies inside it, so a checker that reasons about every point of every interval
can only err towards "unknown". Time is an int of nanoseconds. The form on paper is in `history`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

NS_PER_S: Final = 1_000_000_000
STATES: Final = ("closed", "open", "half_open", "forced_open", "disabled")
COUNTERS: Final = ("admitted", "rejected", "succeeded", "failed", "opened")
OUTCOMES: Final = ("ok", "failure", "timeout", "cancelled", "excluded", "rejected", "unknown")


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """An instant known to lie in [lo_ns, hi_ns]; both ends included."""

    lo_ns: int
    hi_ns: int

    def __post_init__(self) -> None:
        if self.lo_ns > self.hi_ns:
            raise ValueError(f"interval ends before it begins: [{self.lo_ns}, {self.hi_ns}]")

    def widened(self, before_ns: int, after_ns: int) -> Interval:
        """The interval grown by `before_ns` to the left and `after_ns` to the right."""
        return Interval(self.lo_ns - before_ns, self.hi_ns + after_ns)


@dataclass(frozen=True, slots=True)
class Call:
    """One call through a breaker. `decision` narrows when the breaker decided, where somebody knows it."""

    breaker: str
    instance: str | None
    id: str
    start: Interval
    end: Interval | None
    outcome: str
    fallback: bool | None = None
    boot: str | None = None
    decision: Interval | None = None
    finish: Interval | None = None  # when the outcome reached the breaker, if narrower than `end`
    note: str | None = None  # why the outcome is unknown


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request seen on the wire between the breaker and its dependency; `id` joins it to a call."""

    breaker: str
    instance: str | None
    id: str | None
    at: Interval
    done: Interval | None = None
    boot: str | None = None
    failed: bool | None = None  # what the wire says of the answer, if it says anything


@dataclass(frozen=True, slots=True)
class Transition:
    """A state change as the breaker itself reported it; `seq` orders reports of one boot."""

    breaker: str
    instance: str | None
    from_state: str
    to_state: str
    at: Interval
    boot: str | None = None
    seq: int | None = None
    manual: bool = False
    source: str = "events"


@dataclass(frozen=True, slots=True)
class State:
    """A state that was read from outside (a poll, a gauge) at some instant of `at`."""

    breaker: str
    instance: str | None
    state: str
    at: Interval
    boot: str | None = None
    failures: int | None = None
    source: str = "poll"


@dataclass(frozen=True, slots=True)
class Counter:
    """A total that was read from outside at some instant of `at`; `name` is one of COUNTERS.

    `others`: it may count calls as well of which this history does not tell (attempts of a retry around the breaker, other callers).
    """

    breaker: str
    instance: str | None
    name: str
    value: int
    at: Interval
    boot: str | None = None
    source: str = "metrics"
    others: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that stood in front of the dependency from `on` until `off` (None: still there)."""

    name: str
    on: Interval
    off: Interval | None = None


@dataclass(frozen=True, slots=True)
class Boot:
    """An instance started anew: its breakers are closed and have counted nothing."""

    instance: str
    at: Interval
    boot: str | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """`lost` records of `source` (events, wire, polls, calls) are missing from within `at` (None: from anywhere)."""

    source: str
    at: Interval | None = None
    lost: int | None = None
    breaker: str | None = None
    instance: str | None = None


Observation: TypeAlias = Call | Arrival | Transition | State | Counter | Fault | Boot | Gap
