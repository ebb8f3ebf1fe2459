"""The scripted dependency: a real HTTP server that does with each request what the stimulus has decided for that call.

It knows a call by the correlation header that the service under test passes on. What it has not been told about (a request without the
header, or with one of its own) it answers well and counts: `strangers`. Each request is noted by its id, so whoever sent the call can
ask whether it came through.

    ok        after `after_ns`: the answer of a dependency that is well
    failure   after `after_ns`: status 500
    hang      no answer; after `after_ns` the connection is dropped

What it deliberately does not do: judge, or keep a time of its own. When a request passed is the tap's word, not this one's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from resilience.load.identity import trace_of
from resilience.load.stimulus_actions import GOOD, Answer

_KEEP_ALIVE_S = 75.0
"""Longer than any caller keeps an idle connection: the caller lets go first, so no request meets a close."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """What the dependency answers when it is well."""

    body: bytes = b'{"ok": true}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    status: int = 200


class ScriptedDependency:
    """An async context manager: it listens while inside."""

    def __init__(self, healthy: Healthy, *, correlate: str = "X-Request-Id") -> None:
        self._healthy = healthy
        self._correlate = correlate
        self._orders: dict[str, Answer] = {}
        self._arrived: set[str] = set()
        self._runner: web.ServerRunner | None = None
        self.strangers = 0
        """Requests that carried no id, or one that nobody had announced."""
        self.address = ""
        """host:port, once it listens."""

    async def __aenter__(self) -> Self:
        """Listen on a free port of loopback. Raises OSError."""
        self._runner = web.ServerRunner(
            web.Server(self._serve, keepalive_timeout=_KEEP_ALIVE_S, access_log=None),
            handle_signals=False,
            shutdown_timeout=0.5,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what is still hanging, and listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    def announce(self, call_id: str, answer: Answer) -> None:
        """Decide what the call with this id will get, should it arrive."""
        self._orders[call_id] = answer

    def arrived(self, call_id: str) -> bool:
        """Whether a request with this id has been read."""
        return call_id in self._arrived

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        call_id = trace_of(request.headers.get(self._correlate, ""), self._correlate)
        answer = self._orders.get(call_id)
        if answer is None:
            self.strangers += 1
            answer = GOOD
        else:
            self._arrived.add(call_id)
        with contextlib.suppress(ConnectionError):
            await request.read()
        await asyncio.sleep(answer.after_ns / 1e9)
        if answer.kind == "hang":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)  # nobody is there to read it
        if answer.kind == "failure":
            return web.json_response({"error": "told to fail"}, status=500)
        healthy = self._healthy
        return web.Response(body=healthy.body, headers=healthy.headers, status=healthy.status)
