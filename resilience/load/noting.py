"""Notes: values of single calls that a plan wants written down (`record`). Pure.

A recording maps names to places in the answer (`json.id`), to the number or id of the call (`{i}`, `{id}`), or to texts of the
request (`{sku}`); `what` is a word of its own. Every arrival leaves its note, whatever became of it: a checker that asks "was each
acknowledged order kept?" must know of the calls that were never answered, too.

Bounds. A text is cut at TEXT_CHARS, anything that is no number, truth value or text is kept as the JSON of it. How many notes a
stream may leave is the recorder's bound.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from resilience.load.fields import fill
from resilience.load.sources import Heard, Reader, Source, parse_source

NOTES_A_RUN: Final = 200_000
"""Of one stream, all workers together."""
TEXT_CHARS: Final = 200
WHAT: Final = "what"
RESERVED: Final = frozenset({"i", "id", "at", "outcome", "status"})
"""Names that each note has anyway."""


class Noting:
    """What one request, or one step, writes down of itself."""

    __slots__ = ("_read", "_texts", "what")

    def __init__(self, record: Iterable[tuple[str, str]], driver: str) -> None:
        """Raises SourceError where a text is neither a template nor a place in an answer."""
        self.what = "call"
        self._texts: dict[str, str] = {}
        self._read: dict[str, Source] = {}
        for name, text in record:
            if name == WHAT:
                self.what = text
            elif "{" in text:
                self._texts[name] = text
            else:
                self._read[name] = parse_source(text, driver)

    def note(
        self,
        i: int,
        call_id: str,
        row: Mapping[str, str],
        heard: Heard | None,
        *,
        at: tuple[int, int],
        outcome: str,
    ) -> dict[str, Any]:
        """The note of one call; `heard` is None when no answer came. `at` is when it was sent and when it ended, in ns."""
        known = {**row, "id": call_id}
        reader = Reader(heard or Heard())
        return {
            WHAT: self.what,
            "i": i,
            "id": call_id,
            "at": list(at),
            "outcome": outcome,
            "status": None if heard is None else heard.status,
            **{name: bounded(fill(text, i, known)) for name, text in self._texts.items()},
            **{name: bounded(reader.value(source)) for name, source in self._read.items()},
        }


def bounded(value: Any) -> Any:
    """A value as a note may hold it; None where it is nested too deeply to be written."""
    if value is None or isinstance(value, bool | int | float):
        return value
    try:
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), default=str)
    except RecursionError:
        return None
    return text[:TEXT_CHARS]
