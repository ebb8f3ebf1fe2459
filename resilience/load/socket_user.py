"""One user on a WebSocket: arriving, staying, talking and listening, being lost, arriving again.

Theory of operation. `arrive` is the operation: handshake, welcome, the messages that are answered before anything else. `stay` is
what follows: one loop waits for the next message, the next sending or the end of the stay, whichever is first. What it hears is
counted under the second in which it happened (`Figures`), and remembered for the socket's note if there is to be one.

`leave` ends a stay exactly once, whoever calls it: the loop, because the time is up or the socket was lost, or the driver at the
end of the run. Messages without an answer and pushes that were owed are counted then.

What it deliberately does not do: log in (the driver does), compress, or send pings of its own.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from time import monotonic_ns
from typing import Any, Final

from resilience.load.fields import fill, fill_url, message_encoder
from resilience.load.recorder import Recorder
from resilience.load.requests import WebSocketRequest
from resilience.load.socket_link import Link, LinkError, LinkLostError
from resilience.load.socket_talk import Talk, conditions, fits
from resilience.load.sources import document_of

_NS: Final = 10**9
_REMEMBERED: Final = 1_000
"""Latencies, heard pushes, and waits for an answer, of one socket that its note can hold; the note counts the others."""
_NEVER_NS: Final = 2**62
_LEAST_WAIT_NS: Final = 10_000_000
"""Between two tries to come back: a target that refuses at once must not keep the generator busy."""


class WrongMessageError(Exception):
    """The other side said something else than it should have; the operation is wrong data."""


class SocketUser:
    """One arrival and what becomes of it."""

    def __init__(
        self,
        request: WebSocketRequest,
        recorder: Recorder,
        *,
        i: int,
        row: Mapping[str, str],
        id_header: tuple[str, str],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._figures = recorder.figures
        self._i = i
        self._row = row
        self._tls = tls
        self._id_header = id_header
        self._talk = Talk(request, i, row)
        self._socket: Link | None = None
        self._again = 0
        self._number = 0
        self._forget()

    def _forget(self) -> None:
        self._opened: int | None = None
        self._welcomed: int | None = None
        self._latencies: list[int] = []
        self._latencies_dropped = 0
        self._heard: dict[str, int] = {}
        self._heard_dropped = 0
        self._pushes = 0
        self._first: int | None = None

    @property
    def connected(self) -> bool:
        """The socket is open, as far as this side knows."""
        return self._opened is not None

    @property
    def first_ns(self) -> int | None:
        """When the first message was heard on this socket."""
        return self._first

    async def open(self, on_write: Callable[[], None] | None = None) -> None:
        """The handshake; `on_write` is called when it begins. Raises as `Link.open` does."""
        request, row, i = self._request, self._row, self._i
        headers = [(name, fill(value, i, row)) for name, value in request.headers]
        self._socket = await Link.open(
            fill_url(request.url, i, row),
            [*headers, self._id_header],
            subprotocols=request.subprotocols,
            tls=self._tls,
            on_write=on_write,
        )
        self._opened = monotonic_ns()
        self._figures.count("opened", self._opened)

    async def greet(self) -> None:
        """The welcome, and the messages that are answered one by one. Raises WrongMessageError."""
        request, socket = self._request, self._socket
        assert socket is not None
        if request.subprotocols and socket.subprotocol is None:
            raise WrongMessageError("the server chose none of the subprotocols")
        if request.welcome:
            text = await socket.recv()
            self._hears_first(monotonic_ns())
            wanted = conditions(request.welcome_json, self._i, self._row)
            if wanted and not fits(document_of(text), wanted):
                raise WrongMessageError("the welcome says something else")
            self._welcomed = monotonic_ns()
            self._figures.count("welcomed", self._welcomed)
        for template in request.messages:
            message = fill(template, self._i, self._row, message_encoder(template))
            sent = monotonic_ns()
            await socket.send(message)
            heard = await socket.recv()
            now = monotonic_ns()
            self._hears_first(now)
            self._figures.observe("message", now - sent, now)
            if request.echo and heard != message:
                raise WrongMessageError("the echo is another message")

    async def stay(self, until_ns: int) -> bool:
        """Talk and listen until the time is up (True) or the socket is lost (False)."""
        socket = self._socket
        assert socket is not None
        left = self._request.count if self._request.count is not None else _NEVER_NS
        due = monotonic_ns() if self._request.send is not None and left > self._number else _NEVER_NS
        try:
            while (now := monotonic_ns()) < until_ns:
                if due <= now:
                    await self._say(socket)
                    due = due + self._request.every_ns if self._number < left else _NEVER_NS
                    continue
                try:
                    async with asyncio.timeout((min(due, until_ns) - now) / _NS):
                        text = await socket.recv()
                except TimeoutError:
                    continue
                self._listen(text, monotonic_ns())
        except LinkLostError as lost:
            expected = self._request.close_code == lost.code
            self.leave(monotonic_ns(), lost=not expected, code=lost.code)
            return expected
        except LinkError:
            self.leave(monotonic_ns(), lost=True, code=None)
            return False
        self.leave(monotonic_ns(), lost=False, code=None)
        return True

    async def come_back(self, until_ns: int) -> bool:
        """Arrive again after having been lost, as soon as the target lets us; False when the stay is over before that."""
        wait_ns = max(self._request.reconnect_ns or 0, _LEAST_WAIT_NS)
        while monotonic_ns() + wait_ns < until_ns:
            await asyncio.sleep(wait_ns / _NS)
            self._forget()
            self._talk = Talk(self._request, self._i, self._row)
            try:
                async with asyncio.timeout((until_ns - monotonic_ns()) / _NS):
                    await self.open()
                    self._again += (
                        1  # of this socket, whether it is welcomed or not: it leaves a note of its own
                    )
                    await self.greet()
            except (OSError, LinkError, LinkLostError, WrongMessageError):
                self.leave(monotonic_ns(), lost=True, code=None)
                await self.close()
                continue
            self._figures.count("reconnects", monotonic_ns())
            return True
        return False

    def leave(self, now: int, *, lost: bool, code: int | None) -> None:
        """The stay is over; what was owed and did not come is counted. Only the first call for each socket counts."""
        if self._opened is None:
            return
        figures = self._figures
        if lost:
            figures.count("lost", now)
        if code is not None:
            figures.count(f"close_{code}", now)
        waited = [now - sent.at_ns for sent in self._talk.under_way.values()]
        self._talk.under_way.clear()
        if waited:
            figures.count("unanswered", now, len(waited))
        owed = (self._request.pushes or 0) - self._pushes
        if owed > 0:
            figures.count("missed", now, owed)
        if self._request.record:
            self._recorder.note(self._note(now, waited, lost=lost, code=code), now)
        self._opened = None

    async def close(self) -> None:
        """Close the socket; its transport is gone afterwards, whatever the other side does."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await socket.close()

    async def _say(self, socket: Link) -> None:
        number = self._number
        self._number += 1
        text = self._talk.message(number)
        now = monotonic_ns()
        self._figures.count("sent", now)
        if self._request.broadcast:
            note = {"what": "broadcast", "i": self._i, "id": self._talk.broadcast_id(text), "at": [now, now]}
            if self._request.record:
                self._recorder.note(note, now)
        else:
            self._talk.sends(number, text, now)
        await socket.send(text)

    def _listen(self, text: str | bytes, now: int) -> None:
        self._hears_first(now)
        said = self._talk.hears(text)
        figures = self._figures
        if said.meaning == "answer" and said.sent is not None:
            latency = now - said.sent.at_ns
            figures.count("answered", now)
            figures.observe("message", latency, now)
            if len(self._latencies) < _REMEMBERED:
                self._latencies.append(latency)
            else:
                self._latencies_dropped += 1
        elif said.meaning == "push":
            self._pushes += 1
            figures.count("pushes", now)
            if said.push is not None:
                self._remember(said.push[:_REMEMBERED], now)
        else:
            figures.count("wrong", now)

    def _remember(self, push: str, now: int) -> None:
        if push in self._heard:
            return
        if len(self._heard) < _REMEMBERED:
            self._heard[push] = now
        else:
            self._heard_dropped += 1

    def _hears_first(self, now: int) -> None:
        if self._first is None and self._opened is not None:
            self._first = now
            self._figures.observe("first_message", now - self._opened, now)

    def _note(self, now: int, waited: list[int], *, lost: bool, code: int | None) -> dict[str, Any]:
        return {
            "what": "socket",
            "i": self._i,
            "again": self._again,
            "opened": self._opened,
            "welcomed": self._welcomed,
            "latencies": self._latencies,
            "latencies_dropped": self._latencies_dropped,
            "unanswered": len(waited),
            "waited": waited[-_REMEMBERED:],
            "heard": self._heard,
            "heard_dropped": self._heard_dropped,
            "left": now,
            "lost": lost,
            "code": code,
        }
