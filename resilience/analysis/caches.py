"""What a cache server tells of itself over a run: what it evicted, how full it was, how often it was started. Pure.

Callers cannot see an eviction: they see a miss. The server counts them, from its own start on, and says which start that was (`boot`). So counts are
taken per start: what its last look says less what its first one says; a start that was met during the run began at zero. What a server
counted between its last look and its death is lost, so all counts are "at least".

`filled` is the memory that entries and buffers take, as a share of what the server may take: an eviction is due at 1, and a server that
stays above it does not evict as it should.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class CacheLife:
    """Figures of one run; None where the server does not say."""

    looks: int
    boots: int
    evicted: int | None
    filled: float | None

    @property
    def restarts(self) -> int:
        """How often it was started during the run."""
        return max(0, self.boots - 1)


def life_of(events: Iterable[Mapping[str, Any]]) -> CacheLife:
    """The life of one server from its `cache` events, in the order of time."""
    told = list(events)
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    boots: dict[str, None] = {}
    filled: list[float] = []
    for event in told:
        boot = str(event["boot"])
        boots[boot] = None
        if (evicted := event.get("evicted")) is not None:
            first.setdefault(boot, int(evicted) if len(boots) == 1 else 0)
            last[boot] = int(evicted)
        if (used := event.get("used_bytes")) is not None and (limit := event.get("limit_bytes")):
            filled.append(used / limit)
    return CacheLife(
        looks=len(told),
        boots=len(boots),
        evicted=sum(last[boot] - first[boot] for boot in last) if last else None,
        filled=max(filled) if filled else None,
    )
