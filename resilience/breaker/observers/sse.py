"""Follows an instance's stream of breaker transitions (server-sent events) and emits each one once.

The stream replays its ring from a sequence number on, so a reconnect loses nothing that the ring still holds; a
jump in the numbers is reported as a gap, a number that was already seen is left out. A new boot starts its
numbers anew. An event's `since_ns`, where the instance gives it, is the earliest moment at which the change can have
happened; `at_ns` is when it was known. Transitions from before the observer began are not emitted: they belong to an
earlier run. A stream that is away when observing ends, or never was there, is a gap from the last thing heard on.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from resilience.breaker.observers.base import TROUBLE, Emit, now_ns, pause, server_sent, session, state_name

_QUIET_S = 30.0  # a stream that says nothing this long (not even a comment) is opened again


class SseObserver:
    """Observes `{admin_url}/breakers/events` of one instance."""

    def __init__(self, admin_url: str, instance: str, *, since_ns: int | None = None) -> None:
        self._url = f"{admin_url.rstrip('/')}/breakers/events"
        self._instance = instance
        self._since_ns = since_ns
        self._boot: str | None = None
        self._seq: int | None = None
        self._heard_ns = 0
        self._connected = False

    @property
    def source(self) -> dict[str, str]:
        """What a gap of this observer is a gap of."""
        return {"source": "sse", "instance": self._instance}

    async def run(self, emit: Emit) -> None:
        """Emit "breaker.transition" and "gap" lines until cancelled."""
        if self._since_ns is None:
            self._since_ns = now_ns()
        self._heard_ns = now_ns()
        try:
            async with session(None) as client:
                while True:
                    # The instance may be away, or go away: it is asked again, from the last number on.
                    with contextlib.suppress(*TROUBLE):
                        await self._follow(client, emit)
                    self._connected = False
                    await pause()
        finally:
            if not self._connected:
                emit({"kind": "gap", **self.source, "lost": None, "at": [self._heard_ns, now_ns()]})

    async def _follow(self, client: aiohttp.ClientSession, emit: Emit) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2.0, sock_read=_QUIET_S)
        params = {"since": str(self._seq or 0)}
        async with client.get(self._url, params=params, timeout=timeout) as response:
            response.raise_for_status()
            self._connected = True
            async for data in server_sent(response):
                if data is not None:
                    self._take(json.loads(data), emit)

    def _take(self, event: Mapping[str, Any], emit: Emit) -> None:
        boot, seq = str(event["boot"]), int(event["seq"])
        if boot != self._boot:
            self._boot, self._seq = boot, None
        if self._seq is not None:
            if seq <= self._seq:
                return
            if seq > self._seq + 1:
                emit({
                    "kind": "gap",
                    **self.source,
                    "lost": seq - self._seq - 1,
                    "at": [self._heard_ns, now_ns()],
                })  # fmt: skip
        self._seq, self._heard_ns = seq, now_ns()
        at_ns = int(event["at_ns"])
        if self._since_ns is not None and at_ns < self._since_ns:
            return
        emit({
            "kind": "breaker.transition",
            "breaker": str(event["breaker"]),
            "instance": str(event.get("instance") or self._instance),
            "boot": boot,
            "from": state_name(str(event["from"])),
            "to": state_name(str(event["to"])),
            "at": [min(int(event.get("since_ns", at_ns)), at_ns), at_ns],
            "seq": seq,
            "source": "sse",
        })  # fmt: skip
