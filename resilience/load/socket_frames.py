"""WebSocket frames (RFC 6455, section 5), as a client writes and reads them. Pure.

Theory of operation. `encode` makes one masked frame of a whole message. `FrameReader.feed` takes bytes in any pieces and gives the
whole messages and control frames that they complete, in their order; control frames may come between the fragments of a message.
A peer that breaks the protocol raises FrameError with the close code that it deserves, after what was complete before has been
handed out.

What it deliberately does not do: extensions, so that reserved bits are errors; write fragments; or touch sockets.
"""

from collections.abc import Iterator
from typing import Final

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
MESSAGE_BYTES: Final = 10 << 20
"""A message may not be longer."""
_LONGEST_CONTROL: Final = 125
_MASKED: Final = 0x80
_FIN: Final = 0x80
_RESERVED: Final = 0x70


class FrameError(Exception):
    """The peer broke the protocol; `code` is what its close frame should say."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def encode(opcode: int, payload: bytes, mask: bytes) -> bytes:
    """One frame with the whole of a message; `mask` are four random bytes."""
    size = len(payload)
    if size < 126:
        head = bytes((_FIN | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_FIN | opcode, _MASKED | 126)) + size.to_bytes(2)
    else:
        head = bytes((_FIN | opcode, _MASKED | 127)) + size.to_bytes(8)
    # One exclusive or of two long integers, instead of one for each byte.
    stream = (mask * (size // 4 + 1))[:size]
    return head + mask + (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(size)


class FrameReader:
    """What a server sends, message by message."""

    __slots__ = ("_buffer", "_kind", "_parts", "_size_bytes")

    def __init__(self) -> None:
        self._buffer = b""
        self._kind = CONTINUATION
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Opcode (TEXT, BINARY, CLOSE, PING, PONG) and payload of everything that is complete now. Raises FrameError."""
        self._buffer = self._buffer + data if self._buffer else data
        while (frame := self._take()) is not None:
            first, payload = frame
            opcode = first & 0x0F
            if opcode >= CLOSE:
                yield opcode, payload
                continue
            if not self._parts:
                self._kind = opcode
            self._parts.append(payload)
            if first & _FIN:
                whole = payload if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self._size_bytes = 0
                yield self._kind, whole

    def _take(self) -> tuple[int, bytes] | None:
        """The next frame, if all of it is there."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        first, size = buffer[0], buffer[1]
        self._check(first, size)
        start = 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start])
        if self._size_bytes + size > MESSAGE_BYTES:
            raise FrameError(1009, f"a message of more than {MESSAGE_BYTES} bytes")
        if len(buffer) < start + size:
            return None
        if first & 0x0F < CLOSE:
            self._size_bytes += size
        self._buffer = buffer[start + size :]
        return first, buffer[start : start + size]

    def _check(self, first: int, size: int) -> None:
        opcode = first & 0x0F
        if first & _RESERVED:
            raise FrameError(1002, "a reserved bit is set")
        if size & _MASKED:
            raise FrameError(1002, "a server does not mask")
        if opcode in {CLOSE, PING, PONG}:
            if size > _LONGEST_CONTROL or not first & _FIN:
                raise FrameError(1002, "a control frame is short and whole")
        elif opcode not in {CONTINUATION, TEXT, BINARY}:
            raise FrameError(1002, f"no such opcode: {opcode}")
        elif (opcode == CONTINUATION) != bool(self._parts):
            raise FrameError(1002, "a fragment out of order")
