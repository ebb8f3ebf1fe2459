"""Breakers in Prometheus' text format: Resilience4j's state gauges, opossum's event counters, or any gauge by name.

    resilience4j_circuitbreaker_state{name="pricing",state="open"} 1.0      one of the states is 1
    circuit{name="pricing",event="open"} 3                                  transitions so far, one counter each

and the totals of calls beside them, by what became of them:

    resilience4j_circuitbreaker_calls_seconds_count{name="pricing",kind="failed"} 7.0      also successful
    resilience4j_circuitbreaker_not_permitted_calls_total{name="pricing"} 12.0
    circuit{name="pricing",event="reject"} 12                                              also success and failure

Counters of transitions tell how often, not when or in which order: the changes between two readings are told only where exactly one order is
possible (the states form one line), else they are a gap. A counter that went back began anew: a restart. opossum's exporter counts only
events that somebody listened to when it was made, so `halfOpen` may be missing: then an open breaker is taken to have passed
through half-open, unseen, before it opened again or closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.polling import (
    Line,
    Subject,
    gap_line,
    state_line,
    total_line,
    transition_line,
)

OBSERVER: Final = "prometheus"
_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_STATE_METRIC: Final = "resilience4j_circuitbreaker_state"
_OPOSSUM_METRICS: Final = ("circuit", "circuit_total", "circuit_breaker_counter")
_CALLS: Final = frozenset(
    {"resilience4j_circuitbreaker_calls_seconds_count", "resilience4j_circuitbreaker_calls_total"}
)
_TURNED_AWAY: Final = frozenset({"resilience4j_circuitbreaker_not_permitted_calls_total"})
_KINDS: Final[Mapping[str, str]] = {"successful": "succeeded", "failed": "failed"}
_OPOSSUM_TOTALS: Final[Mapping[str, str]] = {
    "open": "opened",
    "reject": "rejected",
    "success": "succeeded",
    "failure": "failed",
}
_OPOSSUM_STATES: Final[Mapping[str, str]] = {"open": "open", "halfOpen": "half_open", "close": "closed"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of the text format."""

    metric: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> Iterator[Sample]:
    """Every sample of a page; comments and what is no sample are passed over."""
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line.strip())
        if found is None or line.startswith("#"):
            continue
        labels = {
            name: re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)
            for name, value in _LABEL.findall(found[2] or "")
        }
        try:
            yield Sample(found[1], labels, float(found[3]))
        except ValueError:
            continue


def totals(own: Iterable[Sample]) -> dict[str, int]:
    """What a breaker's own samples count, by the names of the history format; samples that differ in other labels are summed."""
    found: dict[str, int] = {}
    for sample in own:
        if sample.metric in _CALLS:
            name = _KINDS.get(sample.labels.get("kind", ""))
        elif sample.metric in _TURNED_AWAY:
            name = "rejected"
        else:
            name = _OPOSSUM_TOTALS.get(sample.labels.get("event", ""))
            name = name if sample.metric in _OPOSSUM_METRICS else None
        if name is not None and sample.value.is_integer():
            found[name] = found.get(name, 0) + int(sample.value)
    return found


class MetricsReader:
    """Reads whichever of the known metrics a page has for the breaker; ValueError where it has none."""

    complete = True  # counters go on meanwhile

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._counts: dict[str, int] | None = None
        self._state = "closed"
        self._read_ns = 0

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """States (gauges) or transitions (counters) of the breaker, and totals of its calls."""
        own = [s for s in samples(text) if s.labels.get("name") == self._subject.name]
        active = [s.labels["state"] for s in own if s.metric == _STATE_METRIC and s.value == 1]
        counts = {
            _OPOSSUM_STATES[s.labels["event"]]: int(s.value)
            for s in own
            if s.metric in _OPOSSUM_METRICS and s.labels.get("event") in _OPOSSUM_STATES
        }
        if active:
            yield state_line(self._subject, state_name(active[0]), at, OBSERVER)
        elif counts or any(s.metric in _OPOSSUM_METRICS for s in own):
            yield from self._changes(counts, at)
        else:
            raise ValueError(f"no metric of a breaker called {self._subject.name!r}")
        for name, value in totals(own).items():
            yield total_line(self._subject, name, value, at, OBSERVER)

    def _changes(self, counts: dict[str, int], at: tuple[int, int]) -> Iterator[Line]:
        last, self._counts = self._counts, counts
        since_ns, self._read_ns = self._read_ns, at[0]
        if last is None:
            # Where it stands is not told: only a breaker that never opened is certainly closed.
            self._state = "closed" if not counts.get("open") else ""
            return
        new = {state: counts.get(state, 0) - last.get(state, 0) for state in {*counts, *last}}
        if any(count < 0 for count in new.values()):
            self._state = "closed" if not counts.get("open") else ""
            yield gap_line(self._subject, (since_ns, at[1]), OBSERVER)
            return
        path = _path(self._state, new)
        if path is None:
            self._state = _last(new) if sum(new.values()) else self._state
            yield gap_line(self._subject, (since_ns, at[1]), OBSERVER)
            return
        for state in path:
            yield transition_line(self._subject, self._state, state, (since_ns, at[1]), OBSERVER)
            self._state = state


def _path(state: str, new: Mapping[str, int]) -> list[str] | None:
    """The only order in which these states can have been entered from `state`; None where there are none or several."""
    found: list[list[str]] = []

    def go(here: str, left: dict[str, int], gone: list[str]) -> None:
        if len(found) > 1:
            return
        if not any(left.values()):
            found.append(gone)
            return
        for there in _LEGAL[here]:
            if there not in left and there == "half_open":
                go(there, left, [*gone, there])
            elif left.get(there, 0) > 0:
                go(there, {**left, there: left[there] - 1}, [*gone, there])

    if state and sum(new.values()) <= _MOST:
        go(state, dict(new), [])
    return found[0] if len(found) == 1 else None


_LEGAL: Final[Mapping[str, tuple[str, ...]]] = {
    "closed": ("open",),
    "open": ("half_open",),
    "half_open": ("open", "closed"),
}
_MOST: Final = 12


def _last(new: Mapping[str, int]) -> str:
    """The state after changes of unknown order, where that much is certain."""
    entered = [state for state, count in new.items() if count]
    return entered[0] if len(entered) == 1 else ""
