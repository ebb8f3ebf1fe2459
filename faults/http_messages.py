"""Follows the HTTP/1.x messages in a stream of bytes, in any split, without changing or keeping the bytes.

A `MessageScanner` is fed one direction of a connection and says when a head is complete (`Head`) and when a
message is over (`Done`). It knows Content-Length, chunked bodies, bodies until the end of the stream, and heads
without a body (1xx, 204, 304, answers to HEAD, for which `methods` holds what was asked). What is not HTTP, or
what a 101 switched to, makes it `opaque`: it reports nothing more.

Pure: no clock, no socket. It deliberately does not judge messages; a lenient reader sees what a client and a
server that understand each other mean.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

__all__ = ["MAX_HEAD_BYTES", "Done", "Head", "MessageScanner", "is_status"]

MAX_HEAD_BYTES = 64 * 1024

_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_LENGTH = re.compile(r"[0-9]{1,18}")
_STATUS = re.compile(r"[1-9][0-9]{2}")


def is_status(text: str) -> bool:
    """Whether that is the status of an answer: three digits, of ASCII."""
    return _STATUS.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Head:
    """A complete head: `first` and `second` are method and path, or version and status; names are lower case."""

    first: str
    second: str
    headers: Mapping[str, str]
    version: str = "HTTP/1.1"


@dataclass(frozen=True, slots=True)
class Done:
    """The message is over."""


_Events = tuple[Head | Done, ...]
_Progress = tuple[int, _Events]


class _State(Enum):
    HEAD = "head"
    LENGTH = "length"
    CHUNK_SIZE = "chunk-size"
    CHUNK = "chunk"
    TRAILER = "trailer"
    UNTIL_END = "until-end"
    OPAQUE = "opaque"


class MessageScanner:
    """Scans requests, or with `responses` answers.

    `position` is how many bytes of the stream lie behind the last event; an unfinished head or line is not counted.
    """

    def __init__(self, *, responses: bool = False) -> None:
        self.position = 0
        self.methods: deque[str] = deque()
        self._responses = responses
        self._state = _State.HEAD
        self._buffer = b""
        self._left_bytes = 0

    @property
    def opaque(self) -> bool:
        """Whether nothing more will be reported."""
        return self._state is _State.OPAQUE

    @property
    def until_end(self) -> bool:
        """Whether the message that runs ends with the stream."""
        return self._state is _State.UNTIL_END

    def feed(self, data: bytes) -> Iterator[Head | Done]:
        """Take the next bytes; yield what they complete, in order. Must be run to its end."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        start, at = self.position, 0
        while at < len(data):
            at, events = self._STEPS[self._state](self, data, at)
            self.position = start + at - len(self._buffer)
            yield from events

    def _in_head(self, data: bytes, at: int) -> _Progress:
        end = data.find(b"\r\n\r\n", at)
        if end < 0 and self._may_be_head(data[at : at + 32].lstrip(b"\r\n")):
            return self._keep(data, at)
        if end < 0:
            self._state = _State.OPAQUE
            return len(data), ()
        head = self._read_head(data[at:end].lstrip(b"\r\n"))
        if head is None:
            self._state = _State.OPAQUE
            return len(data), ()
        has_body = self._after_responses_head(head) if self._responses else self._after_head(head)
        return end + 4, (head,) if has_body else (head, Done())

    def _in_body(self, data: bytes, at: int) -> _Progress:
        taken_bytes = min(self._left_bytes, len(data) - at)
        self._left_bytes -= taken_bytes
        events: _Events = ()
        if not self._left_bytes and self._state is _State.LENGTH:
            self._state, events = _State.HEAD, (Done(),)
        elif not self._left_bytes:
            self._state = _State.CHUNK_SIZE
        return at + taken_bytes, events

    def _in_line(self, data: bytes, at: int) -> _Progress:
        end = data.find(b"\r\n", at)
        if end < 0:
            return self._keep(data, at)
        return end + 2, (Done(),) if self._line(data[at:end]) else ()

    def _in_nothing(self, data: bytes, at: int) -> _Progress:  # noqa: ARG002 - one signature for all states
        return len(data), ()

    # Of the class and not of each scanner, which would hold itself by its own methods: with thousands of connections a minute
    # that is work for the garbage collector, and memory until it comes.
    _STEPS: ClassVar[Mapping[_State, Callable[[MessageScanner, bytes, int], _Progress]]] = {
        _State.HEAD: _in_head,
        _State.LENGTH: _in_body,
        _State.CHUNK: _in_body,
        _State.CHUNK_SIZE: _in_line,
        _State.TRAILER: _in_line,
        _State.UNTIL_END: _in_nothing,
        _State.OPAQUE: _in_nothing,
    }

    def _keep(self, data: bytes, at: int) -> _Progress:
        """Wait for the rest of a head or line, within reason."""
        if len(data) - at > MAX_HEAD_BYTES:
            self._state = _State.OPAQUE
        else:
            self._buffer = data[at:]
        return len(data), ()

    def _line(self, line: bytes) -> bool:
        """Take a line of a chunked body; True where the message is over with it."""
        if self._state is _State.TRAILER:
            if line:
                return False
            self._state = _State.HEAD
            return True
        size = line.partition(b";")[0].strip()
        # Not whatever Python takes for a number: with a sign one could send the scanner back to where it has been, for ever.
        if not _SIZE.fullmatch(size):
            self._state = _State.OPAQUE
            return False
        size_bytes = int(size, 16)
        if size_bytes:
            self._state, self._left_bytes = _State.CHUNK, size_bytes + 2
        else:
            self._state = _State.TRAILER
        return False

    def _may_be_head(self, beginning: bytes) -> bool:
        """Whether a head can begin like that: other protocols are not kept waiting."""
        if self._responses:
            return b"HTTP/1.".startswith(beginning[:7])
        return not beginning or beginning[:1].isalpha()

    def _read_head(self, raw: bytes) -> Head | None:
        first_line, _, rest = raw.decode("latin-1").partition("\r\n")
        words = first_line.split(" ", 2)
        version = words[0] if self._responses else words[-1]
        if len(words) < (2 if self._responses else 3) or not version.startswith("HTTP/1."):
            return None
        headers: dict[str, str] = {}
        for line in rest.split("\r\n") if rest else ():
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return Head(words[0], words[1], headers, version)

    def _after_responses_head(self, head: Head) -> bool:
        """Go on behind the head of an answer; False where the message is over with it."""
        if not is_status(head.second) or head.second == "101":
            self._state = _State.OPAQUE
            return True
        status = int(head.second)
        if status < 200:
            return True  # the final head is still to come, as the next one
        asked = self.methods.popleft() if self.methods else "GET"
        if status in {204, 304} or asked == "HEAD":
            return False
        if "transfer-encoding" in head.headers or "content-length" in head.headers:
            return self._after_head(head)
        self._state = _State.UNTIL_END
        return True

    def _after_head(self, head: Head) -> bool:
        """Go on to the body that the headers announce; False where there is none."""
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            self._state = _State.CHUNK_SIZE
            return True
        length = head.headers.get("content-length", "")
        self._left_bytes = int(length) if _LENGTH.fullmatch(length) else 0
        if self._left_bytes:
            self._state = _State.LENGTH
        return bool(self._left_bytes)
