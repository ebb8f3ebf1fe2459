"""Where a value of an answer stands, as a plan writes it: `json.items.0.price`, `header.X-Cache`, `row.id`. Pure.

One grammar serves what a session carries on (`extract`) and what is written down (`record`). A value that is not there is None, and
so is every value of an answer that never came.

What it deliberately does not do: expressions, wildcards or conversions. What needs those is a script.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Headers = Sequence[tuple[bytes, bytes]]
MISSING: Final = object()
"""Stands for a value that is not there; equals nothing that an answer can hold."""


class SourceError(ValueError):
    """A text that names no place in an answer; the message says what may be written."""


@dataclass(frozen=True, slots=True)
class Source:
    """A place in an answer: its kind, and the rest behind the first dot."""

    kind: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """What a driver heard: an HTTP answer (header names in lower case), the first row of a result, or a reply."""

    status: int | None = None
    headers: Headers = ()
    body: bytes = b""
    row: Mapping[str, Any] | None = None
    rows: int | None = None
    reply: Any = None


_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "http": ("json", "header", "status"),
    "postgres": ("row", "rows"),
    "redis": ("reply",),
}
_EXAMPLES: Final = {
    "json": "json.order.id",
    "header": "header.X-Cache",
    "status": "status",
    "row": "row.id",
    "rows": "rows",
    "reply": "reply",
}
_BARE: Final = frozenset({"json", "status", "rows", "reply"})
"""Kinds that say something by themselves; the others need a name behind the dot."""


def parse_source(text: str, driver: str) -> Source:
    """The place that a text names in the answers of a kind of driver. Raises SourceError."""
    kind, _, rest = text.partition(".")
    known = _KINDS[driver]
    whole = kind in known and (bool(rest) or kind in _BARE)
    if not whole or (rest and kind in {"status", "rows"}) or text.endswith("."):
        examples = ", ".join(_EXAMPLES[name] for name in known)
        raise SourceError(f"{text!r} is no place in an answer; write for example {examples}")
    # A header's name may hold dots; a path into JSON is cut at each.
    path = (rest,) if kind in {"header", "row"} else tuple(rest.split(".") if rest else ())
    return Source(kind, path)


class Reader:
    """Reads values from one answer; the body is parsed once, and only if somebody asks."""

    __slots__ = ("_document", "_heard")

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._document: Any = None

    def value(self, source: Source) -> Any:
        """The value at a place, None where there is none."""
        heard = self._heard
        match source.kind:
            case "status":
                return heard.status
            case "rows":
                return heard.rows
            case "row":
                return None if heard.row is None else heard.row.get(source.path[0])
            case "reply":
                found = value_at(heard.reply, source.path)
            case "header":
                wanted = source.path[0].lower().encode("latin-1", "replace")
                texts = (text.decode("latin-1") for name, text in heard.headers if name == wanted)
                return next(texts, None)
            case _:
                found = value_at(self._json(), source.path)
        return None if found is MISSING else found

    def _json(self) -> Any:
        if self._document is None:
            self._document = document_of(self._heard.body)
        return self._document


def document_of(text: str | bytes) -> Any:
    """What a target says, as JSON; MISSING where it is none, or nested more deeply than can be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return MISSING


def value_at(document: Any, path: Sequence[str]) -> Any:
    """The value at a path of keys and indices; MISSING where there is none."""
    for part in path:
        if isinstance(document, dict):
            document = document.get(part, MISSING)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return MISSING
    return document
