"""Resilience4j, seen through Spring Boot's actuator: `/circuitbreakers` says the state, `/circuitbreakerevents` what happened.

The event endpoint shows a ring (`eventConsumerBufferSize`, 100 unless configured) that all kinds of events share, successes and errors
too: under load a transition may be pushed out between two readings. The ring is compared with what was read before, and where the two do
not meet, that is a gap, which keeps the verifier from judging by what it did not see. Events carry the wall clock of the
service; `clocks` places them on ours.

How many calls succeeded, failed and were turned away so far is asked of `/metrics`, where that is exposed. (The counts under
`/circuitbreakers` begin anew with each state.)

Transitions of an operator (to forced open, disabled, metrics only, or a reset) are told as what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.clocks import WallClock, wall_ns
from resilience.breaker.observers.polling import (
    Line,
    Subject,
    gap_line,
    state_line,
    total_line,
    transition_line,
)
from resilience.breaker.observers.rings import Ring

OBSERVER: Final = "actuator"


class ActuatorStates:
    """Reads `{actuator}/circuitbreakers`."""

    complete = False

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """The state of the breaker; KeyError where there is none of that name."""
        state = json.loads(text)["circuitBreakers"][self._subject.name]["state"]
        yield state_line(self._subject, state_name(str(state)), at, OBSERVER)


class ActuatorEvents:
    """Reads `{actuator}/circuitbreakerevents/{name}`."""

    complete = True  # whether the ring was read in time is seen from the ring itself

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._ring: Ring[str] = Ring()
        self._clock = WallClock()
        self._read_ns = 0

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """Transitions since the last reading, and a gap where events may have been pushed out before them, or one cannot be read."""
        told = [
            e
            for e in json.loads(text)["circuitBreakerEvents"]
            if e["circuitBreakerName"] == self._subject.name
        ]
        # Kept as text: two readings are compared entry by entry.
        fresh, lost = self._ring.read([json.dumps(event, sort_keys=True) for event in told])
        since_ns, self._read_ns = self._read_ns, at[0]
        if lost:
            yield gap_line(self._subject, (since_ns, at[1]), OBSERVER)
        for entry in fresh:
            try:
                lines = self._lines(json.loads(entry), (since_ns, at[1]))
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
                # It is read no second time: the ring goes on behind it.
                lines = [gap_line(self._subject, (since_ns, at[1]), OBSERVER)]
            yield from lines

    def _lines(self, event: Mapping[str, Any], since: tuple[int, int]) -> list[Line]:
        when = self._clock.place(wall_ns(event["creationTime"]), *since)
        if not event.get("stateTransition"):
            return []
        before, _, after = str(event["stateTransition"]).partition("_TO_")
        return [transition_line(self._subject, state_name(before), state_name(after), when, OBSERVER)]


_CALLS: Final = "/metrics/resilience4j.circuitbreaker.calls?tag=name:{name}&tag=kind:"
TOTALS: Final[Mapping[str, str]] = {
    "succeeded": _CALLS + "successful",
    "failed": _CALLS + "failed",
    "rejected": "/metrics/resilience4j.circuitbreaker.not.permitted.calls?tag=name:{name}",
}
"""Where each total is, below the actuator."""


class ActuatorTotal:
    """Reads one total of `{actuator}/metrics`."""

    complete = True

    def __init__(self, subject: Subject, name: str) -> None:
        self._subject = subject
        self._name = name

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """The total; KeyError where the answer has no count, ValueError where it is no whole number."""
        measured = {m["statistic"]: float(m["value"]) for m in json.loads(text)["measurements"]}
        value = measured["COUNT"]
        if not value.is_integer():
            raise ValueError(f"no number of calls: {value}")
        yield total_line(self._subject, self._name, int(value), at, OBSERVER)
