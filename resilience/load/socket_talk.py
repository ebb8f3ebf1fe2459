"""What messages of a WebSocket mean to the user who hears them: a push, the answer to which message, or neither. Pure.

Theory of operation. A push is what fits the request's `push_json`. Anything else is an answer: with `answer_json` to the oldest
message under way whose filled conditions it fits, with `echo` to the oldest whose text it is, else simply to the oldest. A
message that answers nothing is counted as wrong, and ends nothing.

What it deliberately does not do: wait, or look at a clock.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from resilience.load.fields import fill, json_escape, message_encoder
from resilience.load.requests import Pairs, WebSocketRequest
from resilience.load.sources import MISSING, document_of, value_at

Meaning = Literal["push", "answer", "wrong"]


class Sent(NamedTuple):
    """A message under way."""

    number: int
    text: str
    at_ns: int
    conditions: tuple[tuple[tuple[str, ...], Any], ...]


class Said(NamedTuple):
    """What a message that was heard means; `sent` is what it answers, `push` the id of the push."""

    meaning: Meaning
    sent: Sent | None = None
    push: str | None = None


class Talk:
    """One user's messages under way."""

    __slots__ = ("_i", "_push", "_request", "_row", "_sending", "under_way")

    def __init__(self, request: WebSocketRequest, i: int, row: Mapping[str, str]) -> None:
        self._request = request
        self._i = i
        self._row = row
        self._push = conditions(request.push_json, i, row)
        self._sending = request.send is not None
        self.under_way: dict[int, Sent] = {}
        """Messages that wait for their answer, by number, oldest first."""

    def message(self, number: int) -> str:
        """The text of message `number`; values are escaped where the message is JSON."""
        template = self._request.send or ""
        return fill(template, self._i, {**self._row, "n": str(number)}, message_encoder(template))

    def sends(self, number: int, text: str, at_ns: int) -> None:
        """A message goes out, and waits for its answer."""
        row = {**self._row, "n": str(number)}
        wanted = conditions(self._request.answer_json, self._i, row)
        self.under_way[number] = Sent(number, text, at_ns, wanted)

    def hears(self, text: str | bytes) -> Said:
        """What a message means."""
        reads = bool(self._push or self._request.answer_json or self._request.push_id)
        document = document_of(text) if reads else MISSING
        if self._push and fits(document, self._push):
            return Said("push", push=self._push_id(document))
        for number, sent in self.under_way.items():
            if self._answers(text, document, sent):
                return Said("answer", self.under_way.pop(number))
        # Whoever sends nothing listens: all that comes is meant for them.
        return Said("wrong") if self._sending or self._push else Said("push", push=self._push_id(document))

    def broadcast_id(self, text: str) -> str | None:
        """The id that a message carries, as those who are told of it will read it."""
        return self._push_id(document_of(text))

    def _answers(self, text: str | bytes, document: Any, sent: Sent) -> bool:
        if sent.conditions:
            return fits(document, sent.conditions)
        return text == sent.text if self._request.echo else True

    def _push_id(self, document: Any) -> str | None:
        if self._request.push_id is None:
            return None
        # A broadcast is the sender's message wrapped up: the path from the other side ends as ours does.
        path = self._request.push_id.split(".")
        for start in range(len(path)):
            found = value_at(document, path[start:])
            if found is not MISSING:
                return found if isinstance(found, str) else _written(found)
        return None


def conditions(pairs: Pairs, i: int, row: Mapping[str, str]) -> tuple[tuple[tuple[str, ...], Any], ...]:
    """Paths and the values that must stand there. Raises ValueError where a filled text is no JSON."""
    return tuple(
        (tuple(path.split(".")), json.loads(fill(text, i, row, json_escape))) for path, text in pairs
    )


def fits(document: Any, wanted: tuple[tuple[tuple[str, ...], Any], ...]) -> bool:
    """Whether every condition holds. A filled-in "{n}" is a text, and fits the number that a server makes of it."""
    return all(_same(value_at(document, path), value) for path, value in wanted)


def _written(value: Any) -> str | None:
    try:
        return json.dumps(value)
    except RecursionError:  # writing takes a little more of the stack than reading did
        return None


def _same(found: Any, wanted: Any) -> bool:
    if found == wanted:
        return True
    plain = (int, float)
    if isinstance(wanted, str) and isinstance(found, plain) and not isinstance(found, bool):
        return json.dumps(found) == wanted
    return False
