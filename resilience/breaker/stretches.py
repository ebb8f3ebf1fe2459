"""A long history, cut into stretches that can be judged one after the other: memory is bounded by a stretch, not by the history.

A cut lies in calm: on either side of it calls of every instance were let in and succeeded, more of them than any window, row
or number of probes remembers, and nothing else happened; so what came before it no longer decides what comes after it. Calls
that run across the cut are such calls, too; they belong to the side on which they began, and have ended when the calm does. Nothing is assumed of a breaker at the
beginning of a stretch: whatever it may be there explains what follows, so a cut never makes a verdict worse than it is.
A breaker that is never calm is never cut: its stretch is as long as its trouble.

A history is read twice: once for what must be known of the whole (who is named, who started anew, which breakers report their
transitions, how far from the order of time it is), and once, in order, to be judged.
"""

from __future__ import annotations

import heapq
from bisect import bisect
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from resilience.breaker.attribution import FOREVER_NS
from resilience.breaker.calm import LEAST, gaps
from resilience.breaker.observation import (
    Arrival,
    Boot,
    Call,
    Counter,
    Fault,
    Gap,
    Interval,
    Observation,
    State,
    Transition,
)
from resilience.breaker.spec import BreakerSpec

LONG: Final = 40_000
"""Observations of one breaker that are judged at once, if it was calm somewhere among them."""

_Own = Call | Arrival | Transition | State | Counter


@dataclass(slots=True)
class Surroundings:
    """What is known of a whole history before a stretch of it is judged."""

    named: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    boots: list[Boot] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    reports: dict[str, list[Transition]] = field(default_factory=lambda: defaultdict(list))
    """By breaker: one transition, at least, of each life that reported any."""
    holes: dict[str, list[Interval]] = field(default_factory=dict)
    """By breaker: the times in which transitions were lost, as the numbers of those that were not say."""
    tapped: set[str] = field(default_factory=set)
    outcomes: dict[str, dict[str | None, set[str]]] = field(default_factory=lambda: defaultdict(dict))
    """By breaker and instance: how its calls ended."""
    count: int = 0
    origin_ns: int = FOREVER_NS
    disorder_ns: int = 0
    longest_ns: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of one breaker's observations, in order of time.

    `begin_ns`: where it was cut from what came before. Until `alone_from_ns` calls from there may still have been running.
    """

    breaker: str
    entries: Sequence[_Own]
    begin_ns: int
    alone_from_ns: int
    end_ns: int
    around: Surroundings

    def everything(self) -> Iterator[Observation]:
        """Its observations, and what concerns it of those that are nobody's own."""
        yield from self.entries
        yield from self.around.boots
        yield from self.around.faults
        for gap in self.around.gaps:
            if gap.at is None or (gap.at.lo_ns < self.end_ns and gap.at.hi_ns >= self.begin_ns):
                yield gap


def begin_of(entry: Observation) -> int:
    """The earliest instant that an observation speaks of."""
    if isinstance(entry, Gap):
        return entry.at.lo_ns if entry.at else FOREVER_NS
    if isinstance(entry, Fault):
        return entry.on.lo_ns
    return entry.start.lo_ns if isinstance(entry, Call) else entry.at.lo_ns


def survey(history: Iterable[Observation]) -> Surroundings:
    """The first reading."""
    found = Surroundings()
    latest = -FOREVER_NS
    for entry in history:
        begin = begin_of(entry)
        found.count += 1
        found.origin_ns = min(found.origin_ns, begin)
        if isinstance(entry, Boot):
            found.boots.append(entry)
        elif isinstance(entry, Gap):
            found.gaps.append(entry)
        elif isinstance(entry, Fault):
            found.faults.append(entry)
        else:
            latest = max(latest, begin)
            found.disorder_ns = max(found.disorder_ns, latest - begin)
            _note(found, entry)
    boots = sorted(boot.at.lo_ns for boot in found.boots)
    for name, reports in found.reports.items():
        lives = {
            (t.instance, t.boot, bisect(boots, t.at.lo_ns), bisect(boots, t.at.hi_ns)): t for t in reports
        }
        found.holes[name] = list(_holes(reports))
        found.reports[name] = list(lives.values())
    return found


def _holes(reports: Iterable[Transition]) -> Iterator[Interval]:
    """Where numbers are missing. Somebody may have counted anew: from a lower number on nothing is missing."""
    latest: dict[tuple[str | None, str | None], Transition] = {}
    for report in sorted(reports, key=begin_of):
        before = latest.get((report.instance, report.boot))
        latest[report.instance, report.boot] = report
        if before and before.seq is not None and report.seq is not None and report.seq > before.seq + 1:
            yield Interval(before.at.lo_ns, max(before.at.hi_ns, report.at.hi_ns))


def _note(found: Surroundings, entry: _Own) -> None:
    if entry.instance is not None:
        found.named[entry.breaker].add(entry.instance)
    if isinstance(entry, Call):
        found.outcomes[entry.breaker].setdefault(entry.instance, set()).add(entry.outcome)
        if entry.end is not None:
            found.longest_ns = max(found.longest_ns, entry.end.hi_ns - entry.start.lo_ns)
    elif isinstance(entry, Transition):
        found.reports[entry.breaker].append(entry)
    elif isinstance(entry, Arrival):
        found.tapped.add(entry.breaker)


def stretches(
    history: Iterable[Observation], spec: BreakerSpec, around: Surroundings, most: int = LONG
) -> Iterator[Stretch]:
    """The second reading: each breaker's observations in stretches of about `most`, in order of time."""
    feeds: dict[str, _Feed] = {}
    for entry in _in_order(history, around.disorder_ns):
        feed = feeds.get(entry.breaker)
        if feed is None:
            feed = feeds[entry.breaker] = _Feed(entry.breaker, spec, around, most)
        feed.entries.append(entry)
        if len(feed.entries) >= feed.try_at and (stretch := feed.cut()) is not None:
            yield stretch
    for name in sorted(feeds):
        yield feeds[name].rest()


def _in_order(history: Iterable[Observation], disorder_ns: int) -> Iterator[_Own]:
    """Each breaker's own observations in order of time, given how far the record is from that."""
    if isinstance(history, Sequence):
        own = (entry for entry in history if not isinstance(entry, (Boot, Gap, Fault)))
        yield from sorted(own, key=begin_of) if disorder_ns else own
        return
    waiting: list[tuple[int, int, _Own]] = []
    latest = -FOREVER_NS
    for number, entry in enumerate(history):
        if isinstance(entry, (Boot, Gap, Fault)):
            continue
        begin = begin_of(entry)
        latest = max(latest, begin)
        heapq.heappush(waiting, (begin, number, entry))
        while waiting[0][0] < latest - disorder_ns:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


class _Feed:
    """One breaker's observations since the last cut."""

    def __init__(self, breaker: str, spec: BreakerSpec, around: Surroundings, most: int) -> None:
        self.breaker = breaker
        self.entries: list[_Own] = []
        self.try_at = self._most = most
        self._spec = spec
        self._around = around
        self._begin_ns = self._alone_ns = -FOREVER_NS
        self._keep = LEAST + spec.window + spec.successes + (spec.permitted or 0) + spec.resolving_results
        # What was reported so late happened on the other side of a cut that lay between.
        self._reach_ns = 2 * spec.window_ns + spec.eps_ns + spec.delta_ns + spec.event_delay_ns

    def cut(self) -> Stretch | None:
        """What lies before the latest calm place; None if there is none, and then it is tried again later."""
        at = self._calm_place()
        if at is None:
            self.try_at = len(self.entries) * 3 // 2
            return None
        early: list[_Own] = []
        late: list[_Own] = []
        began = {e.id: begin_of(e) for e in self.entries if isinstance(e, Call)}
        for entry in self.entries:
            # What a call was seen to do on the wire stays with it: its stamp may be earlier, and known less well.
            begin = began.get(entry.id or "") if isinstance(entry, Arrival) else None
            (early if (begin_of(entry) if begin is None else begin) < at else late).append(entry)
        stretch = Stretch(self.breaker, early, self._begin_ns, self._alone_ns, at, self._around)
        self.entries, self._begin_ns = late, at
        self._alone_ns = max(
            (_over(e, None) for e in early if isinstance(e, Call) and e.outcome == "ok"), default=at
        )
        self.try_at = len(late) + self._most
        return stretch

    def rest(self) -> Stretch:
        """What is left at the end."""
        return Stretch(self.breaker, self.entries, self._begin_ns, self._alone_ns, FOREVER_NS, self._around)

    def _calm_place(self) -> int | None:
        calls, busy = self._sorted()
        instances = {call.instance for call in self.entries if isinstance(call, Call)}
        until = begin_of(self.entries[-1])
        for lo, hi in reversed(gaps(sorted(busy), until)):
            begin, end = lo + self._reach_ns, min(hi, until) - self._reach_ns
            inside = [c for c in calls if c.start.lo_ns > begin and c.end is not None and c.end.hi_ns < end]
            if len(inside) < 2 * self._keep:
                continue
            at = inside[len(inside) // 2].start.lo_ns
            if any(c.start.lo_ns < at and _over(c, None) >= end for c in calls):
                continue  # one that outlasts the calm has its say in the trouble after it, where it would be missing
            before = Tally((c.instance, c.boot) for c in inside if c.end is not None and c.end.hi_ns < at)
            after = Tally((c.instance, c.boot) for c in inside if c.start.lo_ns > at)
            if before.keys() != after.keys() or {whose for whose, _ in before} != instances:
                continue
            if min(*before.values(), *after.values()) >= self._keep:
                return at
        return None

    def _sorted(self) -> tuple[list[Call], list[tuple[int, int]]]:
        """Calls that were let in and succeeded, and the times in which anything else may have happened."""
        arrived = {e.id: e for e in self.entries if isinstance(e, Arrival) and e.id is not None}
        known = {e.id for e in self.entries if isinstance(e, Call)}
        calm: list[Call] = []
        busy = [(-FOREVER_NS, self._begin_ns)]
        for entry in self.entries:
            if isinstance(entry, Call):
                if self._succeeded(entry, arrived.get(entry.id)):
                    calm.append(entry)
                else:
                    busy.append((entry.start.lo_ns, _over(entry, arrived.get(entry.id))))
            elif not _calm(entry, known):
                until = (entry.done or entry.at) if isinstance(entry, Arrival) else entry.at
                busy.append((entry.at.lo_ns, until.hi_ns))
        return calm, busy + self._disturbed() + list(_not_closed(self.entries, self._around.boots))

    def _disturbed(self) -> list[tuple[int, int]]:
        """The times of boots and of lost records; a lost call may have run for as long as calls last."""
        margin = self._around.longest_ns + (self._spec.timeout_ns or 0)
        gone = [gap.at for gap in self._around.gaps if gap.at is not None and gap.source != "totals"]
        lost = [at.widened(margin, margin) for at in gone]
        lost += self._around.holes.get(self.breaker, ())
        return [(at.lo_ns, at.hi_ns) for at in (*lost, *(boot.at for boot in self._around.boots))]

    def _succeeded(self, call: Call, arrival: Arrival | None) -> bool:
        if call.outcome != "ok" or call.end is None or (arrival is not None and arrival.failed):
            return False
        slow_ns = self._spec.slow_ns
        return slow_ns is None or call.end.hi_ns - call.start.lo_ns + self._spec.delta_ns < slow_ns


def _calm(entry: Arrival | Transition | State | Counter, known: set[str]) -> bool:
    """Whether something other than a call may lie beside a cut."""
    if isinstance(entry, State):
        return entry.state == "closed" and not entry.failures
    return entry.id in known if isinstance(entry, Arrival) else isinstance(entry, Counter)


def _not_closed(entries: Iterable[_Own], boots: Sequence[Boot]) -> Iterator[tuple[int, int]]:
    """The times in which an instance says that it is not closed: one that is switched off by hand lets calls in, and counts none."""
    since: dict[str | None, tuple[int, str | None]] = {}
    for entry in entries:
        begin, boot = since.get(entry.instance, (FOREVER_NS, None))
        told = isinstance(entry, Transition)
        if begin < FOREVER_NS and (told or entry.boot not in {None, boot}):
            yield begin, begin_of(entry)
            del since[entry.instance]
        if isinstance(entry, Transition) and entry.to_state != "closed":
            since[entry.instance] = entry.at.lo_ns, entry.boot
    for whose, (begin, _) in since.items():
        anew = (b.at.hi_ns for b in boots if whose in {None, b.instance} and b.at.lo_ns > begin)
        yield begin, min(anew, default=FOREVER_NS)


def _over(call: Call, arrival: Arrival | None) -> int:
    """The latest instant at which a call may still have told the breaker something."""
    if call.end is not None:
        return max(call.end.hi_ns, call.finish.hi_ns if call.finish else 0)
    if call.note is None and arrival is not None:
        return arrival.at.hi_ns  # let in, and it never ended
    return FOREVER_NS
