"""http: some requests are answered by the proxy instead of the upstream, or reach it late. Beyond Toxiproxy.

Requests are followed by a scanner of HTTP/1.x messages. A request that matches (`method`, `path`) and that the
dice choose (`probability`) is answered with `status`, `headers` and `body` `delay` ms after its head arrived; its
body is swallowed, and the upstream never hears of it. With `status` 0 it is not answered but passed on after the
delay. Every other request passes as it came.

Answers keep their order: while an answer of the upstream to an earlier request is still on its way (`seen` follows
them), ours waits, and so does everything behind it. What is not HTTP/1.x, or no longer after an upgrade,
passes untouched, and so does a connection on which the toxic was put to work in the middle of a request's body.

Removal lets waiting requests pass. Where the rest of a swallowed body is still to come, it closes the connection, since
the upstream could make no sense of that rest.

It deliberately does not touch the upstream's answers, and does not speak HTTP/2.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import ClassVar

from faults.http_messages import Head, MessageScanner
from faults.model import Chunk, Direction, JSONScalar
from faults.toxics.base import (
    MS_NS,
    Data,
    Detached,
    Did,
    Effect,
    Emit,
    End,
    Ending,
    Event,
    Finish,
    Reply,
    WakeAt,
)
from faults.toxics.fifo import Fifo

__all__ = ["HttpFault", "HttpFaultState"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FRAMING = ("content-length", "transfer-encoding", "connection")
_BODYLESS = (204, 304)


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of one request: `head` where they are its head, `last` where it is over with them."""

    data: bytes
    read_ns: int
    head: Head | None = None
    chosen: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True)
class HttpFaultState:
    """What waits, and where in the conversation we are. The two scanners belong to this state alone."""

    rng: random.Random
    requests: MessageScanner
    responses: MessageScanner
    raw: bytes = b""  # read, and not yet a whole head or line
    waiting: Fifo[_Part] = field(default_factory=Fifo)
    held_bytes: int = 0
    unanswered: int = 0  # requests that the upstream has yet to answer
    swallowing: bool = False
    plain: bool = False
    ending: Ending | None = None


_Step = tuple[HttpFaultState, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class HttpFault:
    """Answer with `status` instead of the upstream; `headers` are lines of `Name: value`."""

    status: int = 503
    headers: str = ""
    body: str = ""
    delay: int = 0
    probability: float = 1.0
    method: str = ""
    path: str = ""

    kind: ClassVar[str] = "http"
    drops: ClassVar[bool] = True
    only_stream: ClassVar[Direction] = Direction.UPSTREAM

    def problems(self) -> tuple[str, ...]:
        """Refuse what would be no answer of HTTP."""
        found = []
        if self.status != 0 and not 200 <= self.status <= 599:
            found.append("status must be 0 or between 200 and 599")
        if self.delay < 0:
            found.append("delay must not be negative")
        if not 0 <= self.probability <= 1:
            found.append("probability must be between 0 and 1")
        if self.method and not _TOKEN.fullmatch(self.method):
            found.append("method must be a word such as GET")
        if self.path and not self.path.startswith("/"):
            found.append("path must start with / (a * at its end stands for the rest)")
        found.extend(self._header_problems())
        return tuple(found)

    def _header_problems(self) -> Iterator[str]:
        for line in self.headers.splitlines():
            name, colon, value = line.partition(":")
            if not colon or not _TOKEN.fullmatch(name.strip()):
                yield f"headers must be lines of `Name: value`, not {line!r}"
            elif name.strip().lower() in _FRAMING:
                yield f"headers must not have {name.strip()}, which follows from the body"
            elif not value.isascii() or not value.strip().isprintable():
                yield f"headers must be printable ASCII: {name.strip()}"

    def start(self, rng: random.Random) -> HttpFaultState:
        """Nothing was said."""
        return HttpFaultState(rng, MessageScanner(), MessageScanner(responses=True))

    def held_bytes(self, state: HttpFaultState) -> int:
        """Bytes that wait, and those of a head that is not complete."""
        return state.held_bytes

    def step(self, state: HttpFaultState, event: Event, now_ns: int) -> _Step:
        """Follow the requests, answer those that were chosen."""
        if isinstance(event, Data):
            return self._release(self._read(state, event.chunk), now_ns)
        if isinstance(event, End):
            return self._release(replace(state, ending=event.ending), now_ns)
        if isinstance(event, Detached):
            return self._let_go(state, now_ns)
        return self._release(state, now_ns)

    def seen(self, state: HttpFaultState, data: bytes, now_ns: int) -> _Step:
        """Follow the upstream's answers."""
        if state.plain:
            return state, ()
        answered, switched = 0, False
        for event in state.responses.feed(data):
            if not isinstance(event, Head):
                answered += 1
            elif event.second == "101":
                switched = True
        state = replace(state, unanswered=max(0, state.unanswered - answered), plain=switched)
        return self._release(state, now_ns)

    def _read(self, state: HttpFaultState, chunk: Chunk) -> HttpFaultState:
        """Cut what came into the parts of requests."""
        held_bytes = state.held_bytes + len(chunk.data)
        if state.plain:
            part = _Part(state.raw + chunk.data, chunk.read_ns)
            return replace(state, raw=b"", waiting=state.waiting.push(part), held_bytes=held_bytes)
        raw, waiting, scanner = state.raw + chunk.data, state.waiting, state.requests
        start, done = scanner.position, 0
        for event in scanner.feed(chunk.data):
            at = scanner.position - start
            head = event if isinstance(event, Head) else None
            chosen = head is not None and self._chooses(head, state.rng)
            waiting = waiting.push(_Part(raw[done:at], chunk.read_ns, head, chosen, last=head is None))
            done = at
        at = scanner.position - start
        if at > done:
            waiting = waiting.push(_Part(raw[done:at], chunk.read_ns))
        return replace(state, raw=raw[at:], waiting=waiting, held_bytes=held_bytes, plain=scanner.opaque)

    def _chooses(self, head: Head, rng: random.Random) -> bool:
        if self.method and head.first != self.method:
            return False
        path = head.second.partition("?")[0]
        if self.path.endswith("*"):
            if not path.startswith(self.path[:-1]):
                return False
        elif self.path and path != self.path:
            return False
        return rng.random() < self.probability

    def _release(self, state: HttpFaultState, now_ns: int) -> _Step:
        """Pass on, swallow or answer what is at the front, as far as that can be done now."""
        effects: list[Effect] = []
        while state.waiting:
            part = state.waiting.peek()
            if part.chosen and not state.plain:
                due_ns = part.read_ns + self.delay * MS_NS
                if due_ns > now_ns:
                    effects.append(WakeAt(due_ns))
                    return state, tuple(effects)
                if self.status and state.unanswered and not state.responses.opaque:
                    return state, tuple(effects)
            state = self._take(state, part, effects)
            if effects and isinstance(effects[-1], Finish):
                return state, tuple(effects)
        if state.ending is not None:
            if state.raw:
                effects.append(Emit(Chunk(state.raw, now_ns)))
            effects.append(Finish(state.ending))
            state = replace(state, raw=b"", held_bytes=0)
        return state, tuple(effects)

    def _take(self, state: HttpFaultState, part: _Part, effects: list[Effect]) -> HttpFaultState:
        """Do with the part at the front what is to be done with it."""
        swallowing, unanswered = state.swallowing and part.head is None, state.unanswered
        if part.head is not None and not state.plain:
            shown: dict[str, JSONScalar] = {
                "method": part.head.first,
                "path": part.head.second,
                "status": self.status,
            }
            if part.chosen:
                effects.append(Did("answered" if self.status else "delayed", shown))
            if part.chosen and self.status:
                effects.append(Reply(self._answer(part.head)))
                if _closes(part.head):
                    effects.append(Finish(Ending.CLOSE))
                swallowing = True
            else:
                unanswered += 1
                state.responses.methods.append(part.head.first)
        if part.data and not swallowing:
            effects.append(Emit(Chunk(part.data, part.read_ns)))
        return replace(
            state,
            waiting=state.waiting.pop(),
            held_bytes=state.held_bytes - len(part.data),
            swallowing=swallowing and not part.last,
            unanswered=unanswered,
        )

    def _answer(self, head: Head) -> bytes:
        body = self.body.encode()
        reason = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Fault"
        lines = [f"HTTP/1.1 {self.status} {reason}", *(line.strip() for line in self.headers.splitlines())]
        if not any(line.lower().startswith("content-type:") for line in lines):
            lines.append("Content-Type: text/plain; charset=utf-8")
        if self.status not in _BODYLESS:
            lines.append(f"Content-Length: {len(body)}")
        if _closes(head):
            lines.append("Connection: close")
        without_body = head.first == "HEAD" or self.status in _BODYLESS
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if without_body else body)

    def _let_go(self, state: HttpFaultState, now_ns: int) -> _Step:
        """Pass on all that waits; close where the rest of a swallowed body is still to come."""
        effects: list[Effect] = []
        swallowing = state.swallowing
        for part in state.waiting:
            swallowing = swallowing and part.head is None
            if part.data and not swallowing:
                effects.append(Emit(Chunk(part.data, part.read_ns)))
            swallowing = swallowing and not part.last
        if swallowing:
            effects.append(Finish(Ending.CLOSE))
        else:
            if state.raw:
                effects.append(Emit(Chunk(state.raw, now_ns)))
            if state.ending is not None:
                effects.append(Finish(state.ending))
        return replace(state, raw=b"", waiting=Fifo(), held_bytes=0), tuple(effects)


def _closes(head: Head) -> bool:
    """Whether the client expects the connection to end with the answer."""
    wish = head.headers.get("connection", "").lower()
    return "close" in wish or (head.version == "HTTP/1.0" and "keep-alive" not in wish)
