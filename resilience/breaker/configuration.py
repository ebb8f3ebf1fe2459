"""A configuration of the automaton: a hashable discrete half and a timed half, and the transitions it may use up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from resilience.breaker.observation import Interval
from resilience.breaker.window import Window

# Which calls are in flight: asked only where a change of state makes them calls of an earlier epoch.
Running: TypeAlias = Callable[[], frozenset[int]]

NEVER_NS: Final = 1 << 62
VAGUE: Final = -1  # as `good`: a half-open state of which nothing more is known


class Key(NamedTuple):
    """The discrete half of a configuration."""

    state: str
    failures: int = 0  # failures in a row while closed; failures so far while half-open
    window: Window = None  # contents while closed; None: the breaker has no window
    nth: int = 1  # openings in a row; stays 1 without back-off
    flying: int = 0
    admitted: int = 0
    good: int = 0
    slow: int = 0  # slow probes so far
    old: frozenset[int] = frozenset()  # running calls of an earlier epoch
    used: int = 0  # reported transitions used up
    fired: frozenset[int] = frozenset()  # tokens that have happened, of those still in question
    period: int = 0  # which period since closing was counted last, where counts begin anew each period


class Clock(NamedTuple):
    """The timed half: the present is at least `now_ns`, the present state (or period) began within [since_lo, since_hi].

    `due_ns`: where the trip condition is looked at from time to time, the instant by which it must have been.
    `unopened_ns`: the breaker had not opened by then, whatever outcomes may have come between `now_ns` and then; a half-open one
    may have closed.
    """

    now_ns: int
    since_lo: int = 0
    since_hi: int = 0
    due_ns: int = NEVER_NS
    unopened_ns: int = 0

    @property
    def opens_from_ns(self) -> int:
        """The earliest instant at which the breaker may open."""
        return max(self.now_ns, self.unopened_ns)

    def hull(self, other: Clock) -> Clock:
        """The smallest clock that admits both."""
        return Clock(
            min(self.now_ns, other.now_ns),
            min(self.since_lo, other.since_lo),
            max(self.since_hi, other.since_hi),
            max(self.due_ns, other.due_ns),
            min(self.unopened_ns, other.unopened_ns),
        )


class Result(NamedTuple):
    """An outcome as the breaker classifies it: success, failure or neutral.

    `at` is when it came, as observed; `begun_ns` the earliest instant at which its call was let in.
    """

    what: str
    slow: bool
    at: Interval
    begun_ns: int


@dataclass(frozen=True, slots=True)
class Reported:
    """A transition that the breaker reported, in order; the change lies within `at` (tolerance included)."""

    before: str
    after: str
    at: Interval
    manual: bool = False
