"""Reads the breakers of an instance at an interval and emits the state of each, with the interval it was true in.

A reading is true at some instant between sending the request and reading its answer. Readings that failed are
reported as one gap when the instance answers again, or when observing ends.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp

from resilience.breaker.observers.base import TROUBLE, Emit, Missed, now_ns, session, state_name, whole


class PollObserver:
    """Polls `{admin_url}/breakers` of one instance."""

    def __init__(self, admin_url: str, instance: str, *, interval_s: float = 0.2) -> None:
        self._url = f"{admin_url.rstrip('/')}/breakers"
        self._instance = instance
        self._interval_s = interval_s
        self._missed = Missed()

    @property
    def source(self) -> dict[str, str]:
        """What a gap of this observer is a gap of."""
        return {"source": "poll", "instance": self._instance}

    async def run(self, emit: Emit) -> None:
        """Emit "breaker.state" and "gap" lines until cancelled."""
        async with session(1.0) as client:
            try:
                while True:
                    await self._once(client, emit)
                    await asyncio.sleep(self._interval_s)
            finally:
                self._missed.report(emit, self.source)

    async def _once(self, client: aiohttp.ClientSession, emit: Emit) -> None:
        asked_ns = now_ns()
        try:
            async with client.get(self._url) as response:
                response.raise_for_status()
                answer = json.loads(await whole(response))
            read_ns = now_ns()
            lines = [
                {
                    "kind": "breaker.state",
                    "breaker": str(name),
                    "instance": str(answer.get("instance") or self._instance),
                    "boot": str(answer["boot"]),
                    "state": state_name(str(breaker["state"])),
                    "at": [asked_ns, read_ns],
                    "source": "poll",
                }
                for name, breaker in answer["breakers"].items()
            ]
        except (*TROUBLE, AttributeError):
            self._missed.note(asked_ns)
            return
        self._missed.report(emit, self.source)
        for line in lines:
            emit(line)
