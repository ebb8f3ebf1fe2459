"""The admin port of one gateway process: its breakers, and their events as they happen.

Every instance has its own, because behind one shared address nobody can tell whose breaker opened. Reading changes no
breaker. `/breakers/events` is a server-sent event stream: first what the ring still has after `?since=SEQ` (default 0:
everything), then each transition as it comes, with a comment line every second so that a frozen process can be told
from a quiet one. Numbers are without gaps per boot: a reader sees from them whether it lost any. A reader that comes
back with a number of an earlier start (`?boot=` says so for certain) gets everything.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic_ns
from typing import Any

from aiohttp import web

from resilience.lab.breakers.base import Breaker
from resilience.lab.breakers.transitions import TransitionLog
from resilience.lab.gateway.context import INSTANCE_HEADER, Identity, refusal
from resilience.lab.gateway.quotes import BREAKER_NAME

_KEEP_ALIVE_S = 1.0


class Admin:
    """The breaker routes."""

    def __init__(
        self,
        identity: Identity,
        breaker: Breaker | None,
        spec: dict[str, Any],
        log: TransitionLog,
        *,
        draining: Callable[[], bool],
        name: str = BREAKER_NAME,
    ) -> None:
        self._identity = identity
        self._breaker = breaker
        self._spec = spec
        self._log = log
        self._draining = draining
        self._name = name

    async def breakers(self, _request: web.Request) -> web.Response:
        """`{"instance", "boot", "breakers": {name: {"state", "spec"}}, "last_seq", "now_ns"}`; none in the control."""
        breakers = {}
        if self._breaker is not None:
            breakers[self._name] = {"state": self._breaker.state(), "spec": self._spec}
        return web.json_response(
            {
                "instance": self._identity.instance,
                "boot": self._identity.boot,
                "breakers": breakers,
                "last_seq": self._log.last_seq,
                "now_ns": monotonic_ns(),
            }
        )

    async def events(self, request: web.Request) -> web.StreamResponse:
        """The event stream; 400 if `since` is no whole number."""
        try:
            seq = int(request.query.get("since") or request.headers.get("Last-Event-ID") or 0)
        except ValueError:
            return refusal(400, "since must be a whole number")
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                INSTANCE_HEADER: self._identity.instance,
            }
        )
        if seq > self._log.last_seq or request.query.get("boot", self._identity.boot) != self._identity.boot:
            seq = 0  # a number of an earlier start: everything here is news to this reader
        await response.prepare(request)
        await response.write(f": {self._identity.instance} {self._identity.boot}\n\n".encode())
        try:
            while not self._draining():
                transitions = await self._log.wait_after(seq, _KEEP_ALIVE_S)
                for transition in transitions:
                    seq = transition.seq
                    data = json.dumps(transition.to_json(self._identity.instance, self._identity.boot))
                    await response.write(f"id: {seq}\ndata: {data}\n\n".encode())
                if not transitions:
                    await response.write(f": {monotonic_ns()}\n\n".encode())
        except ConnectionError:
            return response  # the reader has gone
        return response
