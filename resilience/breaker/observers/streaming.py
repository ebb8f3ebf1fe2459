"""Follows any stream of server-sent events and hands what each says to a reader, with the instant at which it was heard.

Nothing numbers such events, so what was sent while the stream was away is lost: from the last word before it broke off until it is
there again is a gap. So is a stream that never came.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import aiohttp

from resilience.breaker.observers.base import TROUBLE, Emit, now_ns, pause, server_sent, session
from resilience.breaker.observers.polling import Line, Subject, gap_line, source_of

_CONNECT_S: Final = 2.0


class Listener(Protocol):
    """Makes lines of the run record out of one event's data."""

    def heard(self, text: str, heard_ns: int) -> Iterable[Line]:
        """Lines of one event; an event that says nothing of this breaker gives none."""


class StreamObserver:
    """Follows one address for one instance."""

    def __init__(self, url: str, subject: Subject, listener: Listener) -> None:
        self._url = url
        self._subject = subject
        self._listener = listener
        self._heard_ns = 0
        self._away = True

    @property
    def source(self) -> Mapping[str, str]:
        """What a gap of this observer is a gap of."""
        return source_of("events", self._subject)

    async def run(self, emit: Emit) -> None:
        """Emit lines until cancelled."""
        self._heard_ns = now_ns()
        first = True
        try:
            async with session(None) as client:
                while True:
                    with contextlib.suppress(*TROUBLE):
                        await self._follow(client, emit, first=first)
                    if not self._away:
                        self._away, first = True, False
                    await pause()
        finally:
            if self._away:
                emit(gap_line(self._subject, (self._heard_ns, now_ns()), "sse"))

    async def _follow(self, client: aiohttp.ClientSession, emit: Emit, *, first: bool) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        async with client.get(
            self._url, headers={"Accept": "text/event-stream"}, timeout=timeout
        ) as response:
            response.raise_for_status()
            if not first:
                emit(gap_line(self._subject, (self._heard_ns, now_ns()), "sse"))
            self._away, self._heard_ns = False, now_ns()
            async for data in server_sent(response):
                self._heard_ns = now_ns()
                if data is not None:
                    self._take(data, emit)

    def _take(self, text: str, emit: Emit) -> None:
        # What is no event of ours, or no JSON at all, is somebody else's business.
        with contextlib.suppress(
            ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError
        ):
            for line in self._listener.heard(text, self._heard_ns):
                emit(line)
