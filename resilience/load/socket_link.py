"""One WebSocket as coroutines see it: handshake, messages in their order, and with which code it was closed.

Theory of operation. A link is the event loop's protocol itself: it writes the handshake when the connection is made, has httptools
read the answer (`ResponseReader`), and then takes frames apart (`FrameReader`), queueing whole messages for `recv`. Pings are
answered, a close frame is answered with its own code. There is no task and no timer for a link. Measured on one core, arriving
with one echo costs 115 microseconds of CPU; the libraries `websockets` and `picows` take 390 and 255, and a generator is bounded
by just that when thousands of users arrive at once.

Invariants. A link that is lost says so on the next `recv` or `send`, after everything that was heard before, with the close code of
the other side, or ABNORMAL if there was none; a peer that breaks the protocol is a LinkError. Nothing is retried or redirected.

What it deliberately does not do: extensions (compression), pings of its own, proxies.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Self, cast
from urllib.parse import urlsplit

from resilience.load.http_response import ProtocolViolationError, ResponseReader
from resilience.load.socket_frames import BINARY, CLOSE, PING, PONG, TEXT, FrameError, FrameReader, encode

NO_CODE: Final = 1005
"""The other side closed without a code."""
ABNORMAL: Final = 1006
"""The connection ended without a close frame."""
_NOT_FOR_THE_WIRE: Final = frozenset({1004, 1005, 1006, 1015})
_OK: Final = (1000).to_bytes(2)
_CLOSE_S: Final = 1.0
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING: Final = 101


class LinkError(Exception):
    """What the other side speaks is no WebSocket."""


class RefusedError(LinkError):
    """The target answered the handshake with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake was answered with {status}")
        self.status = status


class HungUpError(LinkError):
    """The connection ended before the handshake did."""


class LinkLostError(Exception):
    """The other side closed the socket, or it was lost. `code` is what its close frame said, or NO_CODE, or ABNORMAL."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the socket was closed with {code}")
        self.code = code


class Link(asyncio.Protocol):
    """A WebSocket, from `open` to `close`."""

    def __init__(self, request: bytes, accept: bytes, on_write: Callable[[], None] | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._request = request
        self._accept = accept
        self._on_write = on_write
        self._transport: asyncio.Transport | None = None
        self._answer: ResponseReader | None = ResponseReader()
        self._frames = FrameReader()
        self._messages: deque[str | bytes] = deque()
        self._opened: asyncio.Future[LinkError | None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._code: int | None = None
        self._violation = ""
        self._said_goodbye = False
        self.subprotocol: str | None = None
        """The subprotocol that the target chose."""

    @classmethod
    async def open(
        cls,
        url: str,
        headers: Sequence[tuple[str, str]],
        *,
        subprotocols: Sequence[str] = (),
        tls: ssl.SSLContext | None = None,
        on_write: Callable[[], None] | None = None,
    ) -> Self:
        """Connect and shake hands; `on_write` is told when that begins. Raises OSError, RefusedError, HungUpError, LinkError."""
        parts = urlsplit(url)
        key = base64.b64encode(os.urandom(16))
        accept = base64.b64encode(hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest())
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        fields = [("Host", parts.netloc), ("Upgrade", "websocket"), ("Connection", "Upgrade")]
        fields += [("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key.decode()), *headers]
        if subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(subprotocols)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        if lines.count("\n") != len(fields):
            raise ValueError("a header of the handshake holds a line break")
        link = cls(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"), accept, on_write)
        port = parts.port or (80 if tls is None else 443)
        name = parts.hostname or ""
        await asyncio.get_running_loop().create_connection(
            lambda: link, name, port, ssl=tls, server_hostname=name if tls is not None else None
        )
        try:
            # A result, never an exception: who was cancelled before asks for neither, and asyncio would complain.
            error = await link._opened
        except BaseException:
            link._abort()
            raise
        if error is not None:
            raise error
        return link

    async def recv(self) -> str | bytes:
        """The next message. Raises LinkLostError when there will be none, LinkError when the other side broke the protocol."""
        while not self._messages:
            self._check()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()

    async def send(self, message: str) -> None:
        """Send a text; waits while the other side does not read. Raises as `recv` does."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        self._check()
        self._write(TEXT, message.encode())

    async def close(self) -> None:
        """Say goodbye and give the other side a moment to answer; the socket is gone afterwards, whatever it does."""
        try:
            self._say_goodbye(_OK)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await asyncio.shield(self._gone)
        finally:
            self._abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected (for TLS: after its handshake)."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)
        if self._on_write is not None:
            self._on_write()

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came; the answer to the handshake first."""
        if self._answer is not None:
            data = self._shake_hands(self._answer, data)
        if data and self._code is None:
            self._hear(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        self._transport = None
        self._over(ABNORMAL)
        answer = self._answer
        if answer is not None and answer.close():
            self._refuse(RefusedError(answer.status))  # an answer whose end is that of the connection
        elif not self._opened.done():
            self._opened.set_result(HungUpError("the connection ended before the handshake did"))
        if not self._gone.done():
            self._gone.set_result(None)
        self.resume_writing()

    def pause_writing(self) -> None:
        """asyncio: the other side does not read."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """asyncio: it reads again; or never will."""
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)

    def _shake_hands(self, answer: ResponseReader, data: bytes) -> bytes:
        """Read on in the answer; what follows it are frames already."""
        try:
            complete = answer.feed(data)
        except ProtocolViolationError as error:
            self._refuse(LinkError(f"the answer to the handshake is not HTTP: {error}"))
            return b""
        if not complete:
            return b""
        self._answer = None
        if answer.status != _SWITCHING:
            self._refuse(RefusedError(answer.status))
            return b""
        upgrade = (answer.header(b"upgrade") or b"").lower()
        if upgrade != b"websocket" or answer.header(b"sec-websocket-accept") != self._accept:
            self._refuse(LinkError("the answer to the handshake has no valid Sec-WebSocket-Accept"))
            return b""
        chosen = answer.header(b"sec-websocket-protocol")
        self.subprotocol = None if chosen is None else chosen.decode("latin-1")
        if not self._opened.done():
            self._opened.set_result(None)
        return answer.rest

    def _hear(self, data: bytes) -> None:
        try:
            for opcode, payload in self._frames.feed(data):
                if opcode == TEXT:
                    self._messages.append(payload.decode())
                elif opcode == BINARY:
                    self._messages.append(payload)
                elif opcode == PING:
                    self._write(PONG, payload)
                elif opcode == CLOSE:
                    self._closed(payload)
                    return
        except FrameError as error:
            self._violated(error.code, str(error))
        except UnicodeDecodeError:
            self._violated(1007, "a text is not UTF-8")
        self._wake()

    def _closed(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2]) if payload else NO_CODE
        if len(payload) == 1 or (payload and (code in _NOT_FOR_THE_WIRE or not 1000 <= code <= 4999)):
            self._violated(1002, f"a close frame may not say {code}")
            return
        self._over(code)
        self._hang_up(payload[:2])

    def _violated(self, code: int, reason: str) -> None:
        self._violation = reason
        self._over(code)
        self._hang_up(code.to_bytes(2))

    def _hang_up(self, code: bytes) -> None:
        self._say_goodbye(code)
        if self._transport is not None:
            self._transport.close()

    def _say_goodbye(self, code: bytes) -> None:
        if not self._said_goodbye:
            self._said_goodbye = True
            self._write(CLOSE, code)

    def _refuse(self, error: LinkError) -> None:
        if not self._opened.done():
            self._opened.set_result(error)
        self._over(ABNORMAL)
        self._abort()

    def _check(self) -> None:
        if self._violation:
            raise LinkError(self._violation)
        if self._code is not None:
            raise LinkLostError(self._code)

    def _over(self, code: int) -> None:
        if self._code is None:
            self._code = code
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _write(self, opcode: int, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(encode(opcode, payload, os.urandom(4)))

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
