"""What a closed breaker remembers of its outcomes, and what can be said for certain of the trip condition.

    Count    the last `size` outcomes, as two rows of bits (failed, slow), newest lowest; `fog` outcomes before them were not seen
    Timed    outcomes with the interval in which each came; the order does not matter, so equal contents are equal values

An outcome near the edge of a time window may be inside it or not, and outcomes from before the history began (or from a
gap in it) are unknown. So the trip condition has two answers: it *may* hold (for some completion), and it *must* (for all).
Past 128 entries, neighbours of a time window are taken together: their edges blur by a 64th of the window, never their sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec

_MANY: Final = 128
_SLICES: Final = 64
CLEAR: Final = -(1 << 62)  # before every instant


class Count(NamedTuple):
    """A count window: `n` outcomes seen, of which the set bits failed or were slow."""

    n: int = 0
    failed: int = 0
    slow: int = 0
    fog: int = 0

    def push(self, spec: BreakerSpec, *, failed: bool, slow: bool) -> Count:
        """One outcome more; the oldest leaves a full window, and a full tumbling window is emptied first."""
        if spec.tumbling and self.n + self.fog >= spec.window:
            return Count(1, int(failed), int(slow))
        mask = (1 << spec.window) - 1
        n = min(self.n + 1, spec.window)
        fog = self.fog if spec.tumbling else min(self.fog, spec.window - n)
        return Count(n, (self.failed << 1 | failed) & mask, (self.slow << 1 | slow) & mask, fog)

    def trips(self, spec: BreakerSpec) -> tuple[bool, bool]:
        """Whether the trip condition may hold, and whether it must."""
        sure = Tally(self.n, self.failed.bit_count(), self.slow.bit_count())
        return judge(spec, sure, Tally(self.fog, self.fog, self.fog), free=True)


class Slot(NamedTuple):
    """Outcomes that came within [lo_ns, hi_ns]."""

    lo_ns: int
    hi_ns: int
    total: int
    failed: int
    slow: int


class Tally(NamedTuple):
    """How many outcomes, and how many of them failed or were slow."""

    total: int = 0
    failed: int = 0
    slow: int = 0


_NOTHING: Final = Tally()


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    """A time window: its slots in order, and the instant before which nobody saw what came (`fog_ns` CLEAR: all was seen).

    `all` sums the slots, so that a look at the window only has to walk over those near its far edge. `mark` sums their hashes:
    it tells windows apart that differ anywhere, and costs one step an outcome however many there are.
    """

    slots: tuple[Slot, ...] = ()
    fog_ns: int = CLEAR
    all: Tally = _NOTHING
    mark: int = 0

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Timed)
            and self.mark == other.mark
            and self.fog_ns == other.fog_ns
            and self.slots == other.slots
        )

    def __hash__(self) -> int:
        return hash((self.mark, self.fog_ns))

    def push(
        self, spec: BreakerSpec, at: Interval, now_ns: int, *, failed: bool, slow: bool, total: int = 1
    ) -> Timed:
        """One outcome more (`total` 0: of a call that is counted already); what has certainly left the window by `now_ns` is forgotten."""
        oldest = now_ns - spec.window_ns - spec.eps_ns
        slots, known, bad, dragging = (
            self.slots,
            self.all.total + total,
            self.all.failed + failed,
            self.all.slow + slow,
        )
        begin, mark = 0, self.mark
        while begin < len(slots) and slots[begin].hi_ns <= oldest:
            gone = slots[begin]
            known, bad, dragging = known - gone.total, bad - gone.failed, dragging - gone.slow
            mark -= hash(gone)
            begin += 1
        new = Slot(at.lo_ns, at.hi_ns, total, int(failed), int(slow))
        mark += hash(new)
        index = len(slots)
        while index > begin and slots[index - 1] > new:
            index -= 1
        slots = (*slots[begin:index], new, *slots[index:])
        if len(slots) > _MANY:
            slots = _coarser(slots, spec.window_ns // _SLICES)
            mark = sum(map(hash, slots))
        return Timed(slots, self.fog_ns if self.fog_ns > oldest else CLEAR, Tally(known, bad, dragging), mark)

    def trips(self, spec: BreakerSpec, at: Interval, unseen: int = 0) -> tuple[bool, bool]:
        """Whether the condition may hold at some instant of `at`, and whether it must at every one.

        `unseen` more calls may stand in the denominator (calls that count from their start, and are still running).
        """
        inside = at.hi_ns - spec.window_ns + spec.bucket_ns + spec.eps_ns
        outside = at.lo_ns - spec.window_ns - spec.eps_ns
        total, bad, dragging = self.all
        edge, edge_bad, edge_slow = unseen, 0, 0
        for slot in self.slots:
            if slot.lo_ns > inside or (spec.tumbling and slot.hi_ns > outside):
                break  # this one and all after it are in the window for certain
            total, bad, dragging = total - slot.total, bad - slot.failed, dragging - slot.slow
            if slot.hi_ns > outside:
                edge, edge_bad, edge_slow = edge + slot.total, edge_bad + slot.failed, edge_slow + slot.slow
        may, must = judge(spec, Tally(total, bad, dragging), Tally(edge, edge_bad, edge_slow))
        if self.fog_ns > outside:
            return True, must and spec.ratio is None and spec.slow_ratio is None
        return may, must


Window: TypeAlias = Count | Timed | None


def empty(spec: BreakerSpec) -> Window:
    """The window of a breaker that has counted nothing; None where it has none."""
    if spec.trip == "count":
        return Count()
    return Timed() if spec.trip == "time" else None


def unknown(spec: BreakerSpec, at_ns: int) -> tuple[Window, ...]:
    """The windows that a breaker may have that nobody has watched until `at_ns`; one that fills and empties may be filled anyhow."""
    if spec.trip == "count":
        return (
            tuple(Count(fog=fog) for fog in range(spec.window))
            if spec.tumbling
            else (Count(fog=spec.window),)
        )
    return (Timed(fog_ns=at_ns) if spec.trip == "time" else None,)


def judge(spec: BreakerSpec, sure: Tally, edge: Tally, *, free: bool = False) -> tuple[bool, bool]:
    """The trip condition over outcomes that count for certain and others that may; `free`: those may be of any kind."""
    may, must = _bounds(spec, spec.ratio, sure.total, sure.failed, edge.total, edge.failed, free)
    if spec.slow_ratio is not None:
        also, surely = _bounds(spec, spec.slow_ratio, sure.total, sure.slow, edge.total, edge.slow, free)
        may, must = may or also, must or surely
    return may, must


def _bounds(
    spec: BreakerSpec, ratio: float | None, total: int, bad: int, more: int, worse: int, free: bool
) -> tuple[bool, bool]:
    least = spec.least_calls
    if ratio is None:
        return (
            bad + worse >= spec.failures and total + more >= least,
            bad >= spec.failures and total >= least,
        )
    if spec.counted_at == "start" and not free:  # a call has left the window before its outcome does
        may = least - total <= more and above(spec, ratio, bad + worse, max(total, least))
        return may, total >= least and above(spec, ratio, bad, total + more)
    harmless = more if free else more - worse
    filled = max(
        0, least - total - worse
    )  # harmless ones that the least number of calls needs beside the bad ones
    may = filled <= more - worse and above(spec, ratio, bad + worse, total + worse + filled)
    must = total >= least and above(spec, ratio, bad, total + harmless)
    return may, must


def above(spec: BreakerSpec, ratio: float, bad: int, total: int) -> bool:
    """Whether a share reaches (or, `strictly_above`, exceeds) the ratio; 1e-9 keeps 0.07 * 100 from being more than 7."""
    return bad > ratio * total + 1e-9 if spec.strictly_above else bad >= ratio * total - 1e-9


def _coarser(slots: Iterable[Slot], width_ns: int) -> tuple[Slot, ...]:
    """Neighbours that began in one slice of time, taken together."""
    merged: dict[int, list[int]] = {}
    for slot in slots:
        known = merged.get(slot.lo_ns // max(width_ns, 1))
        if known is None:
            merged[slot.lo_ns // max(width_ns, 1)] = list(slot)
        else:
            known[1] = max(known[1], slot.hi_ns)
            for part in (2, 3, 4):
                known[part] += slot[part]
    return tuple(Slot(*parts) for parts in merged.values())
