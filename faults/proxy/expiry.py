"""Time to live: removes toxics when their time is up, whether or not whoever added them still lives.

One timer per toxic that has a time to live, keyed by proxy and the toxic's `order`, so that a toxic that was
removed and added again under its old name is not taken for the one before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from faults.proxy.store import StoredProxy, StoredToxic

__all__ = ["Expiry", "with_expiry"]

_Key = tuple[str, int]


def with_expiry(stored: StoredToxic) -> StoredToxic:
    """Start the clocks of a toxic that do not run yet: its age, and its time to live if it has one."""
    now_ns = time.monotonic_ns()
    if stored.added_ns is None:
        stored = replace(stored, added_ns=now_ns)
    if stored.ttl_ms is None or stored.expires_ns is not None:
        return stored
    return replace(stored, expires_ns=now_ns + stored.ttl_ms * 1_000_000)


class Expiry:
    """Calls `on_due(proxy name, toxic)` when a toxic's time is up."""

    def __init__(self, on_due: Callable[[str, StoredToxic], None]) -> None:
        self._on_due = on_due
        self._timers: dict[_Key, tuple[int, asyncio.TimerHandle]] = {}

    def follow(self, proxy: StoredProxy) -> None:
        """Make the timers those of the proxy as it is now."""
        wanted = {
            (proxy.name, toxic.order): (toxic.expires_ns, toxic)
            for toxic in proxy.toxics
            if toxic.expires_ns is not None
        }
        for key in [key for key in self._timers if key[0] == proxy.name]:
            if key not in wanted or wanted[key][0] != self._timers[key][0]:
                self._timers.pop(key)[1].cancel()
        loop = asyncio.get_running_loop()
        for key, (expires_ns, toxic) in wanted.items():
            if key not in self._timers:
                delay_s = max(0.0, (expires_ns - time.monotonic_ns()) / 1e9)
                self._timers[key] = (expires_ns, loop.call_later(delay_s, self._due, key, toxic))

    def forget(self, proxy_name: str) -> None:
        """Drop the timers of a proxy that is gone."""
        for key in [key for key in self._timers if key[0] == proxy_name]:
            self._timers.pop(key)[1].cancel()

    def close(self) -> None:
        """Drop all timers."""
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: _Key, toxic: StoredToxic) -> None:
        self._timers.pop(key, None)
        self._on_due(key[0], toxic)
