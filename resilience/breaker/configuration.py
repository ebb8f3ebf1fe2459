"""A configuration of the automaton: a hashable discrete half and a timed half, and the transitions it may use up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from resilience.breaker.observation import Interval

# Which calls are in flight: asked only where a change of state makes them calls of an earlier epoch.
Running: TypeAlias = Callable[[], frozenset[int]]


class Key(NamedTuple):
    """The discrete half of a configuration."""

    state: str
    failures: int = 0  # failures in a row while closed; failures so far while half-open and closing by ratio
    window: tuple[bool, ...] | None = ()  # True: a failure; None: contents unknown
    nth: int = 1  # openings in a row; stays 1 without back-off
    flying: int = 0
    admitted: int = 0
    good: int = 0
    old: frozenset[int] = frozenset()  # running calls of an earlier epoch
    used: int = 0  # reported transitions used up
    fired: frozenset[int] = frozenset()  # tokens that have happened, of those still in question


class Clock(NamedTuple):
    """The timed half: the present is at least `now_ns`; the breaker opened within [open_lo, open_hi]."""

    now_ns: int
    open_lo: int = 0
    open_hi: int = 0

    def hull(self, other: Clock) -> Clock:
        """The smallest clock that admits both."""
        return Clock(
            min(self.now_ns, other.now_ns), min(self.open_lo, other.open_lo), max(self.open_hi, other.open_hi)
        )


@dataclass(frozen=True, slots=True)
class Reported:
    """A transition that the breaker reported, in order; the change lies within `at` (tolerance included)."""

    before: str
    after: str
    at: Interval
    manual: bool = False
