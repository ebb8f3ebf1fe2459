"""The event log: what each toxic did to which connection, in a bounded ring that clients read by sequence number.

Events (`at_ns` is CLOCK_MONOTONIC; `connection` counts from 1 in each proxy; the other fields are always there):
    {"seq", "at_ns", "proxy", "connection", "stream", "toxic", "did", ...}
`did` is one of
    attached, spared     the dice decided when the toxic met the connection
    refused              it was turned away before the upstream was dialled
    close, reset, fin    the toxic ended the stream, which the sender had not (or not in that way)
    answered, delayed    a request: with `method`, `path`, `status`
    corrupted            with `bytes`, how many of a chunk
    detached, over       the toxic went, or the connection: with `in_bytes`, `out_bytes` and `held_bytes` of that toxic there
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from faults.model import Direction, JSONScalar
from faults.proxy.tap_records import RecordRing

__all__ = ["EventLog", "ProxyLog"]


class EventLog:
    """Events of all proxies of a server."""

    def __init__(self, capacity: int = 65_536) -> None:
        self.ring = RecordRing(capacity)

    def of_proxy(self, name: str) -> ProxyLog:
        """Return the log as one proxy writes it."""
        return ProxyLog(self.ring, name)

    def since(self, seq: int, limit: int) -> dict[str, Any]:
        """Show up to `limit` events from number `seq` on."""
        events, following, dropped = self.ring.since(seq, limit)
        return {"next": following, "dropped": dropped, "events": events}


class ProxyLog:
    """Writes events of one proxy."""

    def __init__(self, ring: RecordRing, proxy: str) -> None:
        self._ring = ring
        self._proxy = proxy

    def note(
        self,
        connection: int,
        direction: Direction,
        toxic: str,
        did: str,
        detail: Mapping[str, JSONScalar] | None = None,
    ) -> None:
        """Write one event."""
        event: dict[str, JSONScalar] = {
            "at_ns": time.monotonic_ns(),
            "proxy": self._proxy,
            "connection": connection,
            "stream": direction.value,
            "toxic": toxic,
            "did": did,
        }
        if detail:
            event.update(detail)
        self._ring.append(event)
