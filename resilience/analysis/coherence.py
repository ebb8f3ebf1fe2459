"""Is a cache coherent? Reads against acknowledged writes, by version and by key. Pure.

Every key carries a version that each write raises. A read that starts after a write of version v was acknowledged must not return
less than v. With a staleness bound b it must not return less than what was acknowledged b before it started. Reads that overlap a write
may see either side. A write that was not acknowledged may or may not have happened: it obliges nobody, and may be read.

An answer that names another key than the one asked for has crossed over, which no staleness bound allows.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resilience.metrics.outcomes import DEGRADED, OK

HIT, MISS, BYPASS = "hit", "miss", "bypass"


@dataclass(frozen=True, slots=True)
class Read:
    """One answered read. Times in ns; `cache` is hit, miss, bypass, or empty where the system does not say."""

    key: str
    found_key: str
    version: int
    start_ns: int
    end_ns: int
    cache: str = ""


@dataclass(frozen=True, slots=True)
class Write:
    """One acknowledged write: the version it made, and when its acknowledgement was there."""

    key: str
    version: int
    acknowledged_ns: int


@dataclass(frozen=True, slots=True)
class Stale:
    """A read that returned less than was acknowledged before it began: the witness of a violation."""

    read: Read
    owed_version: int
    acknowledged_ns: int


@dataclass(frozen=True, slots=True)
class Coherence:
    """All violations, in order of time, and how much there was to violate: `checked` reads came after a write of their key."""

    reads: int
    checked: int
    stale: tuple[Stale, ...]
    crossed: tuple[Read, ...]

    @property
    def violations(self) -> int:
        """How many reads broke a rule."""
        return len(self.stale) + len(self.crossed)


def coherence_of(reads: Sequence[Read], writes: Iterable[Write], *, staleness_ns: int = 0) -> Coherence:
    """Judge every read; O((reads + writes) log writes)."""
    acknowledged: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for write in writes:
        acknowledged[write.key].append((write.acknowledged_ns, write.version))
    times: dict[str, list[int]] = {}
    newest: dict[str, list[int]] = {}
    for key, found in acknowledged.items():
        found.sort()
        times[key] = [at for at, _ in found]
        best, running = [], 0
        for _, version in found:
            running = max(running, version)
            best.append(running)
        newest[key] = best
    stale, crossed, checked = [], [], 0
    for read in sorted(reads, key=lambda r: r.start_ns):
        if read.found_key != read.key:
            crossed.append(read)
            continue
        # Strictly before: what carries the same stamp is concurrent.
        before = bisect.bisect_left(times.get(read.key, []), read.start_ns - staleness_ns)
        if not before:
            continue
        checked += 1
        owed = newest[read.key][before - 1]
        if read.version < owed:
            stale.append(Stale(read, owed, times[read.key][before - 1]))
    return Coherence(len(reads), checked, tuple(stale), tuple(crossed))


def hit_rate(reads: Iterable[Read], *, start_ns: int, end_ns: int) -> float | None:
    """Share of hits among the reads that began in [start_ns, end_ns) and say how they were served; None when none does."""
    told = [r.cache for r in reads if start_ns <= r.start_ns < end_ns and r.cache]
    return sum(cache == HIT for cache in told) / len(told) if told else None


def from_notes(notes: Iterable[Mapping[str, Any]]) -> tuple[list[Read], list[Write]]:
    """Reads and acknowledged writes from a load's notes (`what`: "read" or "write"); calls without an answer are neither."""
    reads, writes = [], []
    for note in notes:
        if note.get("version") is None or note.get("outcome", OK) not in (OK, DEGRADED):
            continue
        match note.get("what"):
            case "read":
                start_ns, end_ns = note["at"]
                reads.append(
                    Read(
                        str(note["key"]),
                        str(note["key"] if note.get("found") is None else note["found"]),
                        int(note["version"]),
                        int(start_ns),
                        int(end_ns),
                        str(note.get("cache") or ""),
                    )
                )
            case "write":
                writes.append(Write(str(note["key"]), int(note["version"]), int(note["at"][1])))
    return reads, writes
