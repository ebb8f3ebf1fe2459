"""Connections that the stimulus keeps to a service, each used for one call at a time, sorted by the instance that answers on it.

Behind one address there may be several processes with a breaker each. What accepts a connection usually serves it to its end, so a
connection on which an instance has answered leads to that instance again: a lane. A script that stimulates one
breaker borrows lanes of that instance alone; a call that lands elsewhere after all says so, and is nobody's business here.

A connection that has been idle for long may be about to be closed by its server, and a call that meets such a close is neither
admitted nor rejected: it is dropped beforehand.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from time import monotonic_ns
from typing import Final

from resilience.load.http_response import ProtocolViolationError, ResponseReader
from resilience.load.template import Target
from resilience.metrics.outcomes import CONNECT, PROTOCOL, RESET

IDLE_NS: Final = 2_000_000_000
_CONNECT_S: Final = 5.0
_PIECE_BYTES: Final = 65_536


class CallFailedError(Exception):
    """A call that got no answer; `outcome` is its category."""

    def __init__(self, outcome: str) -> None:
        super().__init__(outcome)
        self.outcome = outcome


@dataclass(slots=True)
class Lane:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    instance: str | None = None
    used_ns: int = 0

    async def ask(self, request: bytes) -> ResponseReader:
        """Send a request and read its answer. Raises CallFailedError; afterwards the lane is of no use."""
        answer = ResponseReader()
        try:
            self.writer.write(request)
            await self.writer.drain()
            while not answer.complete:
                piece = await self.reader.read(_PIECE_BYTES)
                if not piece:
                    if answer.close():
                        break
                    raise CallFailedError(RESET)
                answer.feed(piece)
        except OSError as error:
            raise CallFailedError(RESET) from error
        except ProtocolViolationError as error:
            raise CallFailedError(PROTOCOL) from error
        self.used_ns = monotonic_ns()
        return answer

    def close(self) -> None:
        """Let go at once: the service is to notice that its caller has gone."""
        with contextlib.suppress(RuntimeError):  # a loop that is closing
            self.writer.transport.abort()


class Lanes:
    """All idle lanes to one target."""

    def __init__(self, target: Target, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self._idle: list[Lane] = []
        self.idle_ns = IDLE_NS
        """How long a lane may lie idle."""

    async def borrow(self, instance: str | None) -> Lane:
        """An idle lane to this instance (None: to any), else a new one, which leads nobody knows where.

        Raises CallFailedError where there is no connection.
        """
        now = monotonic_ns()
        for lane in [lane for lane in self._idle if lane.used_ns < now - self.idle_ns]:
            self._idle.remove(lane)
            lane.close()
        for lane in reversed(self._idle):
            if instance is None or lane.instance == instance:
                self._idle.remove(lane)
                return lane
        return await self.open()

    async def open(self) -> Lane:
        """A new lane. Raises CallFailedError."""
        target = self._target
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(target.host, target.port, ssl=self._tls)
        except (OSError, TimeoutError) as error:
            raise CallFailedError(CONNECT) from error
        return Lane(reader, writer, None, monotonic_ns())

    def give_back(self, lane: Lane) -> None:
        """Keep a lane whose call has been answered, for the next one."""
        self._idle.append(lane)

    def close(self) -> None:
        """Let go of all idle lanes."""
        for lane in self._idle:
            lane.close()
        self._idle.clear()
