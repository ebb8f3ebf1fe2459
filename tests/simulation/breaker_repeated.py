"""A recording that happens again and again: as long a history as one likes, which nobody has to hold in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation, State, Transition


@dataclass(frozen=True, slots=True)
class Repeated:
    """`once`, `times` over, each `period_ns` after the one before; made anew whenever it is iterated over.

    The recording must begin and end with a closed breaker in calm. Only its first boot is one.
    """

    once: Sequence[Observation]
    times: int
    period_ns: int

    def __iter__(self) -> Iterator[Observation]:
        """In the order of the recording, one repetition after the other."""
        for turn in range(self.times):
            for entry in self.once:
                if turn == 0 or not isinstance(entry, Boot):
                    yield self._later(entry, turn)

    def _later(self, entry: Observation, turn: int) -> Observation:
        by = turn * self.period_ns
        match entry:
            case Call(breaker, instance, call, start, end, outcome, fallback, boot, decision, finish, note):
                name = f"{turn}.{call}"
                times = (_moved(decision, by), _moved(finish, by))
                return Call(
                    breaker,
                    instance,
                    name,
                    _at(start, by),
                    _moved(end, by),
                    outcome,
                    fallback,
                    boot,
                    *times,
                    note,
                )
            case Arrival(breaker, instance, call, at, done, boot, failed):
                return Arrival(
                    breaker, instance, f"{turn}.{call}", _at(at, by), _moved(done, by), boot, failed
                )
            case State(breaker, instance, state, at, boot, failures, source):
                return State(breaker, instance, state, _at(at, by), boot, failures, source)
            case Transition(breaker, instance, before, after, at, boot, _, manual, source):
                return Transition(breaker, instance, before, after, _at(at, by), boot, None, manual, source)
        return entry


def _at(interval: Interval, by_ns: int) -> Interval:
    return Interval(interval.lo_ns + by_ns, interval.hi_ns + by_ns)


def _moved(interval: Interval | None, by_ns: int) -> Interval | None:
    return None if interval is None else _at(interval, by_ns)
