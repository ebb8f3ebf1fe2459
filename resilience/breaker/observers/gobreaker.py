"""gobreaker, and other breakers whose service shows state and counts as JSON: `{"name": ..., "state": "half-open", "counts": {...}}`.

The library has no endpoint of its own; this is what its users write around `State()` and `Counts()`. Beware: `State()` of gobreaker
moves an open breaker whose time is over to half-open. Whoever polls it has a breaker that enters half-open on
reading: say `entry: on_read` in its specification.

The answer may be one such object, a list of them, or an object of them by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.polling import Line, Subject, state_line

OBSERVER: Final = "gobreaker"


class CountsReader:
    """Reads state and counts."""

    complete = False

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """The state; KeyError where no breaker of that name is shown."""
        found = _find(json.loads(text), self._subject.name)
        counts = found.get("counts") or found.get("Counts") or {}
        failures = counts.get("ConsecutiveFailures", counts.get("consecutive_failures"))
        more = {} if failures is None else {"failures": int(failures)}
        yield state_line(
            self._subject, state_name(str(found.get("state", found.get("State")))), at, OBSERVER, **more
        )


def _find(answer: Any, name: str) -> Mapping[str, Any]:
    if isinstance(answer, Mapping):
        if "state" in answer or "State" in answer:
            if answer.get("name", answer.get("Name", name)) == name:
                return answer
            raise KeyError(name)
        if isinstance(answer.get(name), Mapping):
            return dict(answer[name])
        answer = answer.get("breakers", ())
        return _find(answer, name)
    for each in answer:
        if isinstance(each, Mapping) and each.get("name", each.get("Name")) == name:
            return each
    raise KeyError(name)
