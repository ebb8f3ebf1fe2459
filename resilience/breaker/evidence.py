"""From a history to tracks: everything known of one breaker in one instance during one boot, ready to be judged.

Attribution comes first, because two breakers judged as one look like one broken breaker: what cannot be given to
exactly one (breaker, instance, boot) is kept apart, counted, and only ever weakens a verdict. Calls are joined
to arrivals by id. A call's *decision* is the instant at which the breaker let it pass or not:

    admitted, seen on the wire   within [start, arrival]
    rejected                     within [start, end]
    admitted, not on the wire    within [start, finish]

Nothing here is judged. Rejections and admissions are taken as the observer stated them; an outcome that is
`unknown` stays unknown.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from resilience.breaker.attribution import FOREVER_NS, Owners
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
from resilience.breaker.stretches import Stretch

_SHARED: Final = "shared"


__all__ = ["FOREVER_NS", "CallEvidence", "Track", "tracks"]


@dataclass(frozen=True, slots=True)
class CallEvidence:
    """One call as the rules see it. `admitted` None: not known. `kind`: success, failure, neutral, unknown, running."""

    id: str
    start: Interval
    decision: Interval
    admitted: bool | None
    kind: str
    outcome: str
    finish: Interval | None
    end: Interval | None
    fallback: bool | None
    arrivals: tuple[Interval, ...]

    @property
    def certainly_busy(self) -> tuple[int, int]:
        """[from, to) in which the call was in flight whatever the truth; empty where from >= to."""
        return self.decision.hi_ns, self.finish.lo_ns if self.finish else FOREVER_NS


@dataclass(frozen=True, slots=True)
class Track:
    """The evidence about one breaker in one instance during one boot; sequences are in order of time."""

    breaker: str
    instance: str | None
    boot: str | None
    span: Interval
    fresh: bool  # the first instant is a boot: closed, nothing counted
    calls: tuple[CallEvidence, ...]
    transitions: tuple[Transition, ...]
    states: tuple[State, ...]
    counters: tuple[Counter, ...]
    gaps: tuple[Gap, ...]
    faults: tuple[Fault, ...]
    strays: tuple[Arrival, ...]  # on the wire, but whose they are is not known
    orphans: tuple[Call, ...]  # calls of this breaker that no instance or boot can be named for
    tapped: bool  # somebody watched the wire
    longest_ns: int  # from the earliest decision to the latest outcome of one call
    eventful: bool  # it reports its transitions, whether or not there was one here
    outcomes: frozenset[str]  # how its calls ended, here or elsewhere
    alone: Interval  # within it no call of a neighbouring stretch was running
    _lo: tuple[int, ...] = field(repr=False, default=())
    _reach: tuple[int, ...] = field(repr=False, default=())

    def calls_deciding(self, from_ns: int, to_ns: int) -> Sequence[CallEvidence]:
        """Calls whose decision may lie in [from_ns, to_ns], in order of their earliest decision."""
        begin = bisect_left(self._reach, from_ns)
        until = bisect_right(self._lo, to_ns)
        return [call for call in self.calls[begin:until] if call.decision.hi_ns >= from_ns]

    def lost(self, *sources: str) -> tuple[Gap, ...]:
        """Gaps in the named kinds of evidence."""
        return tuple(gap for gap in self.gaps if gap.source in sources)

    @property
    def unheard(self) -> bool:
        """Whether transitions are missing: somebody says so, or a number between two of them does."""
        numbers = pairwise(event.seq for event in self.transitions)
        return bool(self.lost("events", "sse")) or any(
            before is not None and after is not None and after > before + 1 for before, after in numbers
        )

    def blind(self, from_ns: int, to_ns: int) -> str | None:
        """Why calls in this window may be unknown to us (truncated, unattributed), or None if all are known."""
        for gap in self.lost("calls", "wire"):
            if gap.at is None or (gap.at.lo_ns <= to_ns and gap.at.hi_ns >= from_ns):
                return "truncated"
        for orphan in self.orphans:
            end = orphan.end.hi_ns if orphan.end else FOREVER_NS
            if orphan.start.lo_ns <= to_ns and end >= from_ns:
                return "unattributed"
        for stray in self.strays:
            end = stray.done.hi_ns if stray.done else FOREVER_NS
            if stray.at.lo_ns <= to_ns and end >= from_ns:
                return "unattributed"
        return None


def tracks(history: Iterable[Observation], spec: BreakerSpec) -> tuple[Track, ...]:
    """Split a history into tracks, one per (breaker, instance, boot), ordered by those names."""
    return _Sorter(history, spec).tracks()


def tracks_of(stretch: Stretch, spec: BreakerSpec) -> tuple[Track, ...]:
    """The tracks of part of a history; whose an observation is depends on all of it. Lives that it tells nothing of are left out."""
    found = _Sorter(stretch.everything(), spec, stretch).tracks()
    return tuple(t for t in found if t.calls or t.transitions or t.states or t.counters)


def _as_one(history: Iterable[Observation]) -> Iterable[Observation]:
    """A breaker that all instances share is one breaker, whoever asked it; one instance's boot does not reset it.

    A total that one instance shows counts what that one had to do with it, which is no total of the breaker.
    """
    for entry in history:
        if isinstance(entry, Counter) and entry.instance is not None:
            continue
        if isinstance(entry, (Call, Arrival, Transition, State, Counter)):
            yield replace(entry, instance=_SHARED, boot=None)
        elif not isinstance(entry, Boot):
            yield entry


class _Sorter:
    """One pass over the history into lists by kind, then one over each breaker's share."""

    def __init__(
        self, history: Iterable[Observation], spec: BreakerSpec, stretch: Stretch | None = None
    ) -> None:
        self.spec = spec
        self.stretch = stretch
        self.calls: dict[str, list[Call]] = defaultdict(list)
        self.arrivals: dict[str, list[Arrival]] = defaultdict(list)
        self.transitions: dict[str, list[Transition]] = defaultdict(list)
        self.states: dict[str, list[State]] = defaultdict(list)
        self.counters: dict[str, list[Counter]] = defaultdict(list)
        self.boots: list[Boot] = []
        self.faults: list[Fault] = []
        self.gaps: list[Gap] = []
        for entry in _as_one(history) if spec.scope == "shared" else history:
            if isinstance(entry, Call):
                self.calls[entry.breaker].append(entry)
            elif isinstance(entry, Arrival):
                self.arrivals[entry.breaker].append(entry)
            elif isinstance(entry, Transition):
                self.transitions[entry.breaker].append(entry)
            elif isinstance(entry, State):
                self.states[entry.breaker].append(entry)
            elif isinstance(entry, Counter):
                self.counters[entry.breaker].append(entry)
            elif isinstance(entry, Boot):
                self.boots.append(entry)
            elif isinstance(entry, Fault):
                self.faults.append(entry)
            else:
                self.gaps.append(entry)

    def tracks(self) -> tuple[Track, ...]:
        names = {*self.calls, *self.arrivals, *self.transitions, *self.states, *self.counters}
        return tuple(track for name in sorted(names) for track in self._of_breaker(name))

    def _of_breaker(self, name: str) -> Iterable[Track]:
        owners: Owners = Owners(
            (
                *self.calls[name],
                *self.arrivals[name],
                *self.transitions[name],
                *self.states[name],
                *self.counters[name],
            ),
            self.boots,
            self.spec.instances if self.spec.scope == "instance" else 1,
            self.stretch.around.named[name] if self.stretch and self.spec.scope == "instance" else None,
        )
        by_id: dict[str, list[Arrival]] = defaultdict(list)
        strays: list[Arrival] = []
        known = {call.id for call in self.calls[name]}
        for arrival in self.arrivals[name]:
            (by_id[arrival.id] if arrival.id in known and arrival.id is not None else strays).append(arrival)
        shares: dict[tuple[str | None, str | None], list[CallEvidence]] = defaultdict(list)
        orphans: list[Call] = []
        for call in self.calls[name]:
            matched = by_id.get(call.id, [])
            whose = call.instance or next((a.instance for a in matched if a.instance), None)
            end = call.end.hi_ns if call.end else call.start.hi_ns
            key = owners.of(whose, call.boot, call.start.lo_ns, end)
            if key is None:
                orphans.append(call)
            else:
                shares[key].append(_evidence(call, matched, self.spec))
        told = self._told(name, owners)
        for key in owners.all_keys():
            yield self._track(name, key, owners, shares[key], strays, orphans, told=key in told)

    def _outcomes(self, name: str, instance: str | None) -> frozenset[str]:
        """How calls of an instance ended in the whole history, where this is a stretch of it: what is to be tested depends on that."""
        known = self.stretch.around.outcomes.get(name, {}) if self.stretch else {}
        whose = known if self.spec.scope == "shared" else known.keys() & {instance, None}
        return frozenset(outcome for each in whose for outcome in known[each])

    def _alone(self) -> Interval:
        if self.stretch is None:
            return Interval(-FOREVER_NS, FOREVER_NS)
        begin, end = self.stretch.alone_from_ns, self.stretch.end_ns
        return Interval(min(begin + self.spec.delta_ns, end), max(begin, end - self.spec.delta_ns))

    def _told(self, name: str, owners: Owners) -> set[tuple[str | None, str | None] | None]:
        """Whose transitions were reported anywhere in the history that this is a stretch of."""
        reports: Iterable[Observation] = self.stretch.around.reports.get(name, ()) if self.stretch else ()
        reports = _as_one(reports) if self.spec.scope == "shared" else reports
        return {owners.of_entry(report) for report in reports if isinstance(report, Transition)}

    def _track(
        self,
        name: str,
        key: tuple[str | None, str | None],
        owners: Owners,
        calls: list[CallEvidence],
        strays: list[Arrival],
        orphans: list[Call],
        *,
        told: bool,
    ) -> Track:
        calls.sort(key=lambda call: (call.decision.lo_ns, call.decision.hi_ns))
        late = self.spec.event_delay_ns
        transitions = [t for t in self.transitions[name] if owners.of_entry(t) == key]
        if late:
            transitions = [replace(t, at=t.at.widened(late, 0)) for t in transitions]
        transitions = _in_order(transitions, self.spec.delta_ns)
        states = sorted((s for s in self.states[name] if owners.of_entry(s) == key), key=lambda s: s.at)
        counters = sorted((c for c in self.counters[name] if owners.of_entry(c) == key), key=lambda c: c.at)
        own = [a for a in strays if owners.of_entry(a) in {key, None}]
        reach: list[int] = []
        for call in calls:
            reach.append(max(call.decision.hi_ns, reach[-1]) if reach else call.decision.hi_ns)
        instants = [c.start.lo_ns for c in calls] + [c.end.hi_ns for c in calls if c.end]
        instants += [e for t in transitions for e in (t.at.lo_ns, t.at.hi_ns)]
        instants += [e for s in states for e in (s.at.lo_ns, s.at.hi_ns)]
        instants += [e for c in counters for e in (c.at.lo_ns, c.at.hi_ns)]
        booted, around = owners.booted(key), self.stretch.around if self.stretch else None
        if self.stretch and booted is not None and booted.lo_ns < self.stretch.begin_ns:
            booted = None  # long ago
        if booted is not None:
            instants.append(booted.hi_ns)
        end = max(instants, default=0)
        return Track(
            breaker=name,
            instance=key[0],
            boot=key[1],
            span=Interval(min(instants), end) if instants else Interval(0, 0),
            fresh=booted is not None,
            calls=tuple(calls),
            transitions=tuple(transitions),
            states=tuple(states),
            counters=tuple(counters),
            gaps=tuple(g for g in self.gaps if g.breaker in {None, name} and g.instance in {None, key[0]}),
            faults=tuple(self.faults),
            strays=tuple(own),
            orphans=tuple(o for o in orphans if o.instance in {None, key[0]}),
            tapped=bool(self.arrivals[name]) or (around is not None and name in around.tapped),
            eventful=bool(transitions) or told,
            outcomes=self._outcomes(name, key[0]).union(call.outcome for call in calls),
            alone=self._alone(),
            longest_ns=max(
                (min(c.finish.hi_ns, end) - c.decision.lo_ns for c in calls if c.finish), default=0
            ),
            _lo=tuple(call.decision.lo_ns for call in calls),
            _reach=tuple(reach),
        )


def _in_order(events: list[Transition], delta_ns: int) -> list[Transition]:
    """By number where they have one, else by time; too close to be told apart, the order that chains, if one does."""
    if all(event.seq is not None for event in events):
        return sorted(events, key=lambda e: e.seq or 0)
    waiting = sorted(events, key=lambda e: (e.at.lo_ns, e.at.hi_ns))
    ordered: list[Transition] = []
    while waiting:
        near = waiting[:8]
        reach = min(e.at.hi_ns for e in near) + delta_ns
        here = ordered[-1].to_state if ordered else None
        fitting = [i for i, e in enumerate(near) if e.at.lo_ns <= reach and e.from_state == here]
        ordered.append(waiting.pop(fitting[0] if fitting else 0))
    return ordered


def _evidence(call: Call, arrivals: Sequence[Arrival], spec: BreakerSpec) -> CallEvidence:
    rejected = call.outcome == "rejected"
    finish = call.finish or call.end
    end_hi = finish.hi_ns if finish else FOREVER_NS
    seen = [] if rejected else [arrival.at.hi_ns for arrival in arrivals]
    latest = min([end_hi, *seen])
    decision = call.decision or Interval(call.start.lo_ns, max(latest, call.start.lo_ns))
    admitted: bool | None = not rejected
    if call.outcome == "unknown":
        admitted = True if arrivals else None
    kind = "rejected" if rejected else spec.classify(call.outcome)
    if finish is None and not rejected:
        if call.note is None:
            kind = "running"
        else:  # whoever watched does not know whether it ended
            kind, finish = "unknown", Interval(call.start.lo_ns, FOREVER_NS)
    if kind != "rejected" and len(arrivals) > 1 and kind != "running":
        kind = "unknown"  # attempts inside one call: how many outcomes the breaker was told is not known
    return CallEvidence(
        id=call.id,
        start=call.start,
        decision=decision,
        admitted=admitted,
        kind=kind,
        outcome=call.outcome,
        finish=None if rejected else finish,
        end=call.end,
        fallback=call.fallback,
        arrivals=tuple(arrival.at for arrival in arrivals),
    )
