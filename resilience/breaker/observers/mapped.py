"""Any JSON at all, with a mapping that says where in it the breaker's words are.

    json: {url: "http://.../health", state: "components.pricing.details.state"}
    sse:  {url: "http://.../events", from: "old", to: "new", name: "circuit", at: "ts", unit: ms}

A path is keys and indices with dots between them. States are recognised in the usual spellings (`HALF_OPEN`, `half-open`,
`halfOpen`, ...), others are listed under `states`. Events without a time happened no more than `delay` before they were
heard; with one, it is placed on our clock.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.clocks import WallClock, wall_ns
from resilience.breaker.observers.polling import Line, Subject, state_line, transition_line

_UNITS: Final[Mapping[str, int]] = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


@dataclass(frozen=True, slots=True)
class Fields:
    """Where the words are: dotted paths. Times in `unit`, or ISO 8601 where they are text."""

    state: str | None = None
    before: str | None = None
    after: str | None = None
    name: str | None = None
    at: str | None = None
    unit: str = "ms"
    delay_ns: int = 250_000_000
    states: Mapping[str, str] = field(default_factory=dict)

    def word(self, document: Any, path: str) -> str:
        """The state at a path. KeyError, IndexError or ValueError where there is none."""
        told = str(at_path(document, path))
        return self.states.get(told) or state_name(_spelt(told))


def at_path(document: Any, path: str) -> Any:
    """What stands at a path of keys and indices. KeyError, IndexError or ValueError where nothing does."""
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _spelt(word: str) -> str:
    """`halfOpen` to `half_Open`."""
    return "".join(f"_{c}" if c.isupper() and i and word[i - 1].islower() else c for i, c in enumerate(word))


class MappedState:
    """Reads a state out of any JSON document."""

    complete = False

    def __init__(self, subject: Subject, mapping: Fields) -> None:
        self._subject = subject
        self._mapping = mapping

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """The state."""
        assert self._mapping.state is not None  # whoever asks for a state says where it is
        yield state_line(self._subject, self._mapping.word(json.loads(text), self._mapping.state), at, "json")


class MappedEvents:
    """Reads transitions out of the data of a stream's events, in the order in which they were heard."""

    def __init__(self, subject: Subject, mapping: Fields, *, first: str = "") -> None:
        self._subject = subject
        self._mapping = mapping
        self._clock = WallClock()
        self._state = first
        """The state before the first event, where events tell only the new one; "" where nobody knows."""

    def heard(self, text: str, heard_ns: int) -> Iterator[Line]:
        """The transition that an event tells of, if it is one of this breaker's; an event that is something else is passed over."""
        document, mapping = json.loads(text), self._mapping
        if mapping.name is not None and str(at_path(document, mapping.name)) != self._subject.name:
            return
        assert mapping.after is not None  # whoever asks for events says where the new state is
        try:
            after = mapping.word(document, mapping.after)
        except (KeyError, ValueError):
            return  # some other kind of event
        before = mapping.word(document, mapping.before) if mapping.before else self._state
        self._state = after
        earliest_ns = heard_ns - mapping.delay_ns
        when = (earliest_ns, heard_ns)
        if mapping.at is not None:
            # What happened is known all the same; when, as well as without a time.
            with contextlib.suppress(ValueError, LookupError, TypeError, OverflowError):
                when = self._clock.place(_moment(at_path(document, mapping.at), mapping.unit), *when)
        if before:
            yield transition_line(self._subject, before, after, when, "sse")


def _moment(told: Any, unit: str) -> tuple[int, int]:
    if isinstance(told, str) and not told.replace(".", "", 1).isdigit():
        return wall_ns(told)
    scale = _UNITS[unit]
    at_ns = round(float(told) * scale)
    return at_ns, at_ns + (scale - 1 if float(told) == int(float(told)) else 0)
