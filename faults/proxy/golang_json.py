"""Reads JSON the way Go's `encoding/json` decoder does, with its words when something is wrong.

Clients of Toxiproxy see those words, so a server that stands in its place has to say them. What differs from
Python's `json`: only the first value is read and whatever follows is ignored; numbers keep their spelling,
since 1e3 is not an integer there; object keys keep their order and may repeat; invalid UTF-8 becomes U+FFFD.

Pure: bytes in, a tree out. Objects come out as `Members`, numbers as `Number`, the rest as Python's own.
Deliberately not here: which fields a request has (`requests.py`). Nesting deeper than `MAX_DEPTH` is refused, as in Go;
what is open is kept on a stack of our own, since Python's would not reach that deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, Union

__all__ = ["MAX_DEPTH", "GoJSONError", "Members", "Number", "Tree", "decode_first"]

MAX_DEPTH = 10_000

_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_ESCAPES = {0x22: '"', 0x5C: "\\", 0x2F: "/", 0x62: "\b", 0x66: "\f", 0x6E: "\n", 0x72: "\r", 0x74: "\t"}
_GO_ESCAPES = {7: "\\a", 8: "\\b", 12: "\\f", 10: "\\n", 13: "\\r", 9: "\\t", 11: "\\v", 0x5C: "\\\\"}
_LITERALS: dict[int, tuple[bytes, bool | None]] = {
    0x74: (b"true", True),
    0x66: (b"false", False),
    0x6E: (b"null", None),
}


class GoJSONError(ValueError):
    """What Go's decoder would have said."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was spelt."""

    text: str


@dataclass(frozen=True, slots=True)
class Members:
    """The members of an object in their order, repeats included."""

    pairs: tuple[tuple[str, Tree], ...]


Tree = Union[None, bool, str, Number, Members, "list[Tree]"]


def decode_first(data: bytes) -> Tree:
    """Read the first JSON value of `data`; raise `GoJSONError` with Go's message."""
    if not data.strip(_SPACE):
        raise GoJSONError("EOF")
    return _Reader(data).value()


def _quoted(byte: int) -> str:
    """Spell a byte as Go's scanner does in its messages."""
    if byte == 0x27:
        return "'\\''"
    if byte in _GO_ESCAPES:
        return f"'{_GO_ESCAPES[byte]}'"
    if byte < 0x20 or byte == 0x7F:
        return f"'\\x{byte:02x}'"
    if 0x80 <= byte < 0xA0 or byte in {0xA0, 0xAD}:
        return f"'\\u{byte:04x}'"
    return f"'{chr(byte)}'"


class _Open:
    """An object or array that is not over; `key` is that of the value to come."""

    __slots__ = ("_elements", "_pairs", "is_object", "key")

    def __init__(self, *, is_object: bool) -> None:
        self.is_object = is_object
        self.key = ""
        self._pairs: list[tuple[str, Tree]] = []
        self._elements: list[Tree] = []

    def take(self, value: Tree) -> None:
        """Add a value."""
        if self.is_object:
            self._pairs.append((self.key, value))
        else:
            self._elements.append(value)

    def made(self) -> Tree:
        """Return what it has become."""
        return Members(tuple(self._pairs)) if self.is_object else self._elements


class _Reader:
    """A descent whose error points are those of Go's state machine."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _peek(self) -> int:
        if self._at >= len(self._data):
            raise GoJSONError("unexpected EOF")
        return self._data[self._at]

    def _fail(self, context: str) -> NoReturn:
        raise GoJSONError(f"invalid character {_quoted(self._peek())} {context}")

    def _skip_space(self) -> int:
        while self._peek() in _SPACE:
            self._at += 1
        return self._peek()

    def value(self) -> Tree:
        """Read one value, however deep."""
        stack: list[_Open] = []
        while True:
            value, opened = self._begin(len(stack))
            if opened is not None:
                stack.append(opened)
                continue
            while stack:
                stack[-1].take(value)
                if not self._is_over(stack[-1]):
                    break
                value = stack.pop().made()
            else:
                return value

    def _begin(self, depth: int) -> tuple[Tree, _Open | None]:
        """Read a scalar or an empty container; or open one, up to where its first value begins."""
        byte = self._skip_space()
        if byte in b"{[":
            if depth >= MAX_DEPTH:
                self._fail("exceeded max depth")
            self._at += 1
            opened = _Open(is_object=byte == 0x7B)
            if self._skip_space() == (0x7D if opened.is_object else 0x5D):
                self._at += 1
                return opened.made(), None
            if opened.is_object:
                self._key(opened)
            return None, opened
        if byte == 0x22:
            return self._string(), None
        if byte == 0x2D or byte in _DIGITS:
            return self._number(), None
        if byte not in _LITERALS:
            self._fail("looking for beginning of value")
        return self._literal(*_LITERALS[byte]), None

    def _key(self, opened: _Open) -> None:
        if self._skip_space() != 0x22:
            self._fail("looking for beginning of object key string")
        opened.key = self._string()
        if self._skip_space() != 0x3A:
            self._fail("after object key")
        self._at += 1

    def _is_over(self, opened: _Open) -> bool:
        """Go on behind a value of a container: to the next one, or behind the container."""
        byte = self._skip_space()
        if opened.is_object:
            if byte not in b",}":
                self._fail("after object key:value pair")
            self._at += 1
            if byte == 0x2C:
                self._key(opened)
            return byte == 0x7D
        if byte not in b",]":
            self._fail("after array element")
        self._at += 1
        return byte == 0x5D

    def _literal(self, word: bytes, value: bool | None) -> bool | None:
        self._at += 1
        for expected in word[1:]:
            if self._peek() != expected:
                self._fail(f"in literal {word.decode()} (expecting {_quoted(expected)})")
            self._at += 1
        return value

    def _digits(self, context: str) -> None:
        if self._peek() not in _DIGITS:
            self._fail(context)
        while self._more_in(_DIGITS):
            self._at += 1

    def _more_in(self, allowed: bytes) -> bool:
        return self._at < len(self._data) and self._data[self._at] in allowed

    def _number(self) -> Number:
        start = self._at
        if self._more_in(b"-"):
            self._at += 1
        if self._more_in(b"0"):
            self._at += 1
        else:
            self._digits("in numeric literal")
        if self._more_in(b"."):
            self._at += 1
            self._digits("after decimal point in numeric literal")
        if self._more_in(b"eE"):
            self._at += 1
            if self._more_in(b"+-"):
                self._at += 1
            self._digits("in exponent of numeric literal")
        return Number(self._data[start : self._at].decode("ascii"))

    def _string(self) -> str:
        self._at += 1
        parts: list[str] = []
        while True:
            start = self._at
            while self._peek() >= 0x20 and self._peek() not in b'"\\':
                self._at += 1
            parts.append(self._data[start : self._at].decode("utf-8", errors="replace"))
            byte = self._peek()
            if byte == 0x22:
                self._at += 1
                return _mend_surrogates("".join(parts))
            if byte != 0x5C:
                self._fail("in string literal")
            self._at += 1
            parts.append(self._escape())

    def _escape(self) -> str:
        byte = self._peek()
        if byte in _ESCAPES:
            self._at += 1
            return _ESCAPES[byte]
        if byte != 0x75:
            self._fail("in string escape code")
        self._at += 1
        start = self._at
        for _ in range(4):
            if self._peek() not in b"0123456789abcdefABCDEF":
                self._fail("in \\u hexadecimal character escape")
            self._at += 1
        return chr(int(self._data[start : self._at], 16))


def _mend_surrogates(text: str) -> str:
    """Join escaped surrogate pairs; a lone surrogate becomes U+FFFD."""
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", errors="replace")
