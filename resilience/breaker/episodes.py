"""Openings of a breaker, and what can be said for certain about each: from its events, or from the wire alone.

An opening runs from the instant at which the breaker opened, over the instant at which it let a first call through
again (half-open), to its resolution: closed, or open again (which is the next opening).

From the wire. Calls alternate between runs of admissions and runs of rejections. Decisions are intervals, so
the fewest runs that explain them are taken: a call joins the run before the present one as long as some instant
of its decision precedes some instant of every decision in the present run. The border between two runs then lies in
(latest lower end of the earlier run, earliest upper end of the later run]. The wire cannot tell half-open from
closed: the resolution of its last opening is closed only if a success ended in it and calls kept passing.

From events. The stamps are taken inside the process, so an event is exact up to `delta`. Where the dialect reports
half-open only when a probe ends, the true entry is sought between the first call admitted after the opening and
the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resilience.breaker.automaton import is_by_hand
from resilience.breaker.evidence import FOREVER_NS, CallEvidence, Track
from resilience.breaker.observation import Interval, Transition
from resilience.breaker.spec import BreakerSpec


@dataclass(frozen=True, slots=True)
class Opening:
    """One opening. `nth` counts openings in a row since the breaker was last closed, from 1."""

    nth: int
    opened: Interval
    half_open: Interval | None
    resolved: Interval | None
    to: str | None  # closed | open | None: not resolved in this history
    source: str  # events | wire
    after: tuple[
        CallEvidence, ...
    ]  # calls that may have been decided after opening and before the resolution
    half_open_event: Transition | None = None
    by_hand_ns: int | None = None  # somebody switched it, at the earliest then, before it was resolved

    @property
    def until_ns(self) -> int:
        """The last instant that can still belong to this opening."""
        return self.resolved.hi_ns if self.resolved else FOREVER_NS

    def probes(self, delta_ns: int) -> list[CallEvidence]:
        """Calls admitted for certain after the opening (and so in half-open, or leaked)."""
        after = self.opened.hi_ns + delta_ns
        return [c for c in self.after if c.admitted and c.decision.lo_ns > after]

    def possible_probes(self, delta_ns: int) -> list[CallEvidence]:
        """Calls that some completion of the history admits after the opening."""
        after = self.opened.lo_ns - delta_ns
        return [c for c in self.after if c.admitted is not False and c.decision.hi_ns >= after]

    def rejections(self) -> list[CallEvidence]:
        """Calls rejected for certain that may belong to this opening."""
        return [c for c in self.after if c.admitted is False]


def openings(track: Track, spec: BreakerSpec) -> tuple[Opening, ...]:
    """All openings of a track in order: by its events where it has any, else by the wire."""
    if track.eventful:
        return _from_events(track, spec)
    return _from_wire(track)


def _from_events(track: Track, spec: BreakerSpec) -> tuple[Opening, ...]:
    found: list[Opening] = []
    real = [t for t in track.transitions if t.from_state != t.to_state or spec.late_failure_restarts_wait]
    consecutive, by_hand = 0, False
    for index, event in enumerate(real):
        by_hand = by_hand or event.manual or is_by_hand(event.from_state, event.to_state)
        if event.to_state == "closed":
            consecutive, by_hand = 0, False
        if event.to_state != "open":
            continue
        # What an opening by hand does to the count of openings nobody promises: the least wait of all is asked for.
        consecutive = 1 if by_hand else consecutive + 1
        entered: Transition | None = None
        resolved: Transition | None = None
        by_hand_ns: int | None = None
        for later in real[index + 1 :]:
            if by_hand_ns is None and (later.manual or is_by_hand(later.from_state, later.to_state)):
                by_hand_ns = later.at.lo_ns
            if later.to_state == "half_open" and entered is None:
                entered = later
            elif later.to_state != "half_open":
                resolved = later
                break
        until = resolved.at.hi_ns + spec.delta_ns if resolved else FOREVER_NS
        after = tuple(track.calls_deciding(event.at.lo_ns - spec.delta_ns, until))
        found.append(
            Opening(
                nth=consecutive,
                opened=event.at,
                half_open=None if by_hand_ns and entered is None else _entry(event, entered, after, spec),
                resolved=resolved.at if resolved else None,
                to=resolved.to_state if resolved else None,
                source="events",
                after=after,
                half_open_event=entered,
                by_hand_ns=by_hand_ns,
            )
        )
    return tuple(found)


def _entry(
    opened: Transition, event: Transition | None, after: Sequence[CallEvidence], spec: BreakerSpec
) -> Interval | None:
    """When half-open was entered: by the event, or by the first admission where entry is lazy."""
    if event is not None and spec.half_open_event == "entry":
        return event.at.widened(spec.delta_ns, spec.delta_ns)
    begun = [c for c in after if c.admitted and c.start.lo_ns > opened.at.hi_ns]
    latest = min((c.decision.hi_ns for c in begun), default=FOREVER_NS)
    if event is not None:
        latest = min(latest, event.at.hi_ns + spec.delta_ns)
    if latest == FOREVER_NS:
        return None
    if event is not None and event.at.lo_ns < event.at.hi_ns:
        earliest = event.at.lo_ns - spec.delta_ns  # whoever reported it knew since when
    else:
        # A call of unknown fate may have been the first one in.
        unsure = [c for c in after if c.admitted is not False and c.start.hi_ns > opened.at.hi_ns]
        earliest = min((c.decision.lo_ns for c in unsure), default=opened.at.lo_ns)
    return Interval(min(max(earliest, opened.at.lo_ns), latest), latest)


@dataclass(slots=True)
class _Run:
    """Consecutive calls of one fate while the runs are being found."""

    admitted: bool
    latest_lo: int
    earliest_hi: int
    calls: int = 1
    first_success_ns: int = FOREVER_NS
    first_failure_ns: int = FOREVER_NS

    def take(self, call: CallEvidence) -> None:
        self.latest_lo = max(self.latest_lo, call.decision.lo_ns)
        self.earliest_hi = min(self.earliest_hi, call.decision.hi_ns)
        self.calls += 1


def _runs(track: Track) -> list[_Run]:
    runs: list[_Run] = []
    for call in sorted(track.calls, key=lambda c: c.decision.hi_ns):
        if call.admitted is None:
            continue
        if runs and runs[-1].admitted == call.admitted:
            run = runs[-1]
        elif len(runs) > 1 and call.decision.lo_ns <= runs[-1].earliest_hi:
            run = runs[-2]
        elif not call.admitted and len(runs) > 1 and runs[-1].first_failure_ns > call.decision.hi_ns:
            # Turned away by a half-open breaker that is full: no failure can have opened it since.
            continue
        else:
            run = _Run(call.admitted, call.decision.lo_ns, call.decision.hi_ns, calls=0)
            runs.append(run)
        run.take(call)
        if call.admitted and call.kind == "success" and call.finish:
            run.first_success_ns = min(run.first_success_ns, call.finish.hi_ns)
        elif call.admitted and call.kind in {"failure", "unknown"} and call.finish:
            run.first_failure_ns = min(run.first_failure_ns, call.finish.lo_ns)
    return runs


def _from_wire(track: Track) -> tuple[Opening, ...]:
    runs = _runs(track)
    found: list[Opening] = []
    consecutive = 0
    for index, run in enumerate(runs):
        if run.admitted:
            if run.first_success_ns < FOREVER_NS:
                consecutive = 0
            continue
        consecutive += 1
        before = runs[index - 1].latest_lo if index else track.span.lo_ns
        opened = Interval(min(before, run.earliest_hi), run.earliest_hi)
        half_open = resolved = None
        to = None
        if index + 1 < len(runs):
            admitted = runs[index + 1]
            half_open = Interval(min(run.latest_lo, admitted.earliest_hi), admitted.earliest_hi)
            if index + 2 < len(runs):
                again = runs[index + 2]
                resolved = Interval(min(admitted.latest_lo, again.earliest_hi), again.earliest_hi)
                to = "open"
            if admitted.first_success_ns < (resolved.lo_ns if resolved else FOREVER_NS):
                closed_by = min(admitted.first_success_ns, track.span.hi_ns)
                resolved, to = Interval(half_open.lo_ns, max(half_open.lo_ns, closed_by)), "closed"
        until = resolved.hi_ns if resolved else FOREVER_NS
        found.append(
            Opening(
                nth=consecutive,
                opened=opened,
                half_open=half_open,
                resolved=resolved,
                to=to,
                source="wire",
                after=tuple(track.calls_deciding(opened.lo_ns, until)),
            )
        )
    return tuple(found)
