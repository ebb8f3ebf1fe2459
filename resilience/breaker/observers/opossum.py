"""opossum (npm): its `toJSON()` shown by a route, and its events handed on as server-sent events.

    app.get('/circuit', (_, res) => res.json(circuit.toJSON()))         {"state": {"name": ..., "open": true, ...}, "status": ...}
    circuit.on('open', () => send({name: circuit.name, event: 'open', at: Date.now()}))     likewise halfOpen and close

Other events (success, timeout, ...) may be sent as well and are passed over. Where several circuits are shown, an array of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from resilience.breaker.observers.mapped import Fields, MappedEvents
from resilience.breaker.observers.polling import Line, Subject, state_line

OBSERVER: Final = "opossum"
EVENTS: Final = Fields(
    after="event", name="name", at="at", states={"close": "closed", "halfOpen": "half_open"}
)


def opossum_events(subject: Subject) -> MappedEvents:
    """Reads the events."""
    return MappedEvents(subject, EVENTS, first="closed")


class OpossumStates:
    """Reads `toJSON()`."""

    complete = False

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """The state; KeyError where no circuit of that name is shown."""
        told = json.loads(text)
        for circuit in told if isinstance(told, list) else [told]:
            if circuit["state"]["name"] == self._subject.name:
                yield state_line(self._subject, _state(circuit["state"]), at, OBSERVER)
                return
        raise KeyError(self._subject.name)


def _state(flags: Mapping[str, Any]) -> str:
    # One flag at a time is set; `closed` is read last, as it is what is left.
    if not flags.get("enabled", True):
        return "disabled"
    if flags.get("halfOpen"):
        return "half_open"
    return "open" if flags.get("open") else "closed"
