"""Reads a tap's records by long poll and emits each as a "wire" line of the run record.

A record keeps its own fields; its `kind` becomes `what`, because a line of the run record has a `kind` already. Records
that the tap's ring lost before they were read are reported as a gap. `drain` fetches what is there without waiting, for
the end of a run. It takes turns with `run`, so that no record is emitted twice: both read on from the same number.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import aiohttp

from resilience.breaker.observers.base import TROUBLE, Emit, now_ns, pause, session

_WAIT_S = 1.0


class TapObserver:
    """Observes one tap of a tap process; `proxy` is the name under which its records are emitted.

    With `sole` nobody else reads this tap meanwhile, and the tap need not keep what was read, however long the run is.
    """

    def __init__(
        self, control_url: str, tap: str, *, proxy: str | None = None, since: int = 0, sole: bool = False
    ) -> None:
        self._url = f"{control_url.rstrip('/')}/taps/{quote(tap, safe='')}/records"
        self._proxy = proxy or tap
        self._since = since
        self._sole = sole
        self._heard_ns = 0
        self._turn = asyncio.Lock()

    @property
    def source(self) -> dict[str, str]:
        """What a gap of this observer is a gap of."""
        return {"source": "tap", "proxy": self._proxy}

    async def run(self, emit: Emit) -> None:
        """Emit "wire" and "gap" lines until cancelled."""
        self._heard_ns = now_ns()
        async with session(_WAIT_S + 4.0) as client:
            while True:
                try:
                    await self._fetch(client, emit, _WAIT_S)
                except TROUBLE:
                    # The tap stands still or restarts; what it lost meanwhile it says itself, as `dropped`.
                    await pause()

    async def drain(self, emit: Emit, *, timeout_s: float = 2.0) -> bool:
        """Emit all that is recorded so far; False if the tap could not be asked (a gap is then emitted)."""
        async with session(timeout_s) as client:
            try:
                while await self._fetch(client, emit, 0.0):
                    pass
            except TROUBLE:
                emit({"kind": "gap", **self.source, "lost": None, "at": self._quiet()})
                return False
        return True

    async def _fetch(self, client: aiohttp.ClientSession, emit: Emit, wait_s: float) -> int:
        async with self._turn:
            params = {"since": str(self._since), "wait": f"{wait_s:g}", "forget": str(int(self._sole))}
            async with client.get(self._url, params=params) as response:
                response.raise_for_status()
                answer: dict[str, Any] = await response.json()
            records = answer["records"]
            upcoming = int(answer["next"])
            if dropped := int(answer.get("dropped") or 0):
                emit({"kind": "gap", **self.source, "lost": dropped, "at": self._quiet()})
            for record in records:
                emit({**record, "kind": "wire", "what": record["kind"], "proxy": self._proxy})
            self._since, self._heard_ns = upcoming, now_ns()
            return len(records)

    def _quiet(self) -> list[int]:
        """From the last answer until now: where lost records must lie."""
        now = now_ns()
        return [self._heard_ns or now, now]
