"""What comes back from one load worker, however it travels: bytes in pieces of any size, handed on as messages. Pure.

Invariants. Messages are handed on in the order in which they were written, each once; the `ready` line is kept aside. Whoever
reads can tell at any time whether the worker still owes an `end` message: one that owes and has gone was lost.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

Message = dict[str, Any]


class Inbox:
    """Puts lines together and tells what is still owed."""

    def __init__(self, streams: Iterable[str], deliver: Callable[[Message], None]) -> None:
        self._awaited = set(streams)
        self._deliver = deliver
        self._pieces: list[bytes] = []
        self.ready: Message | None = None
        """The worker's `ready` line, once it came."""

    @property
    def owing(self) -> bool:
        """Whether a stream's `end` message is still to come."""
        return bool(self._awaited)

    def feed(self, piece: bytes) -> None:
        """Take bytes as they came; whatever `deliver` raises is raised here."""
        *lines, rest = piece.split(b"\n")
        for line in lines:
            self._take(b"".join((*self._pieces, line)))
            self._pieces.clear()
        if rest:
            self._pieces.append(rest)

    def _take(self, line: bytes) -> None:
        message = json.loads(line)
        if message.get("ready"):
            self.ready = self.ready or message
            return
        if message["kind"] == "end":
            self._awaited.discard(message["load"])
        self._deliver(message)
