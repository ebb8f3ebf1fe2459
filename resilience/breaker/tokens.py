"""A track's observations as tokens: what happened, within which interval, and whether it happened at all.

    A  a call was let in          R  a call was turned away       O  an outcome reached the breaker
    T  a reported transition      P  a state that was read

A token is *optional* where it is not certain that it happened (a call of unknown fate, traffic of unknown origin). It
may explain something and need not. `lonely` marks a success whose interval no failure overlaps.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from resilience.breaker.automaton import Reported
from resilience.breaker.evidence import FOREVER_NS, CallEvidence, Track
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec


@dataclass(frozen=True, slots=True)
class Token:
    """One thing that happened within [lo_ns, hi_ns]; `call` indexes the track's calls, negative: nobody's."""

    index: int
    kind: str
    call: int
    lo_ns: int
    hi_ns: int
    what: str = ""
    optional: bool = False
    lonely: bool = False
    mate: int | None = None  # for O the decision's token, for A the outcome's
    position: int = -1  # for T

    @property
    def at(self) -> Interval:
        """The interval as a value."""
        return Interval(self.lo_ns, self.hi_ns)


@dataclass(frozen=True, slots=True)
class Tokens:
    """All tokens of a track, and their ends in order of time: (ns, is the upper end, index)."""

    all: tuple[Token, ...]
    edges: tuple[tuple[int, bool, int], ...]
    begin_ns: int
    end_ns: int


def reported(track: Track, spec: BreakerSpec) -> tuple[Reported, ...] | None:
    """The transitions as the automaton uses them up; None where there are none, or where some are missing."""
    if not spec.events or not track.transitions or track.lost("events"):
        return None
    numbers = [t.seq for t in track.transitions if t.seq is not None]
    if any(after != before + 1 for before, after in pairwise(numbers)):
        return None
    found: list[Reported] = []
    for event in track.transitions:
        if event.from_state == event.to_state and not spec.self_loops:
            return None  # R1 says what there is to say
        found.append(Reported(event.from_state, event.to_state, _when(event.at, found, event.to_state, spec)))
    return tuple(found)


def _when(at: Interval, before: Sequence[Reported], to: str, spec: BreakerSpec) -> Interval:
    slack = spec.delta_ns // 2
    if to == "half_open" and spec.half_open_event == "probe_end" and at.lo_ns == at.hi_ns:
        # Reported when a probe ended; it was entered at some time since the opening.
        return Interval(min(before[-1].at.lo_ns if before else 0, at.lo_ns), at.hi_ns + slack)
    return at.widened(slack, slack)


def tokens(track: Track, spec: BreakerSpec, *, polls: bool = True) -> Tokens:
    """Build the tokens of a track."""
    slack = spec.delta_ns // 2
    found: list[Token] = []

    def add(kind: str, call: int, at: Interval, **more: object) -> Token:
        hi = at.hi_ns if at.hi_ns >= FOREVER_NS else at.hi_ns + slack
        token = Token(len(found), kind, call, at.lo_ns - slack, hi, **more)  # type: ignore[arg-type]
        found.append(token)
        return token

    lonely = _Lonely(track, slack)
    for index, call in enumerate(track.calls):
        if call.admitted is False:
            add("R", index, call.decision)
            continue
        outcome = _outcome(call)
        mate = len(found) + 1 if outcome else None
        let_in = add("A", index, call.decision, optional=call.admitted is None, mate=mate)
        if outcome and call.finish is not None:
            at = Interval(max(call.finish.lo_ns, call.decision.lo_ns), call.finish.hi_ns)
            alone = outcome == "success" and not lonely.disturbed(at)
            optional = outcome == "any" or call.admitted is None
            add("O", index, at, what=outcome, optional=optional, lonely=alone, mate=let_in.index)
    for number, stray in enumerate(track.strays):
        at = stray.done or stray.at
        what = "any" if stray.failed is None else "failure" if stray.failed else "success"
        add("A", -1 - number, stray.at, optional=True)
        add("O", -1 - number, at, what=what, optional=True)
    for number, orphan in enumerate(track.orphans, start=len(track.strays)):
        end = orphan.end.hi_ns if orphan.end else FOREVER_NS
        add("A", -1 - number, Interval(orphan.start.lo_ns, end), optional=True)
        add("O", -1 - number, Interval(orphan.start.lo_ns, end), what="any", optional=True)
    for position, report in enumerate(reported(track, spec) or ()):
        found.append(
            Token(len(found), "T", -1, report.at.lo_ns, report.at.hi_ns, report.after, position=position)
        )
    if polls:
        for poll in track.states:
            add("P", -1, poll.at, what=poll.state)
    edges = [(t.lo_ns, False, t.index) for t in found] + [(t.hi_ns, True, t.index) for t in found]
    edges.sort()
    return Tokens(tuple(found), tuple(edges), track.span.lo_ns - slack, track.span.hi_ns + slack)


def _outcome(call: CallEvidence) -> str:
    """success, failure, neutral, "any" where it is unknown, "" where the call never ended."""
    if call.kind == "running":
        return ""
    return "any" if call.kind == "unknown" else call.kind


class _Lonely:
    """Which intervals no failure (and nothing that may have been one) overlaps."""

    def __init__(self, track: Track, slack: int) -> None:
        spans = [
            (c.finish.lo_ns - slack, c.finish.hi_ns + slack)
            for c in track.calls
            if c.finish is not None and c.admitted is not False and c.kind != "success"
        ]
        spans += [(s.at.lo_ns - slack, (s.done or s.at).hi_ns + slack) for s in track.strays]
        spans += [
            (o.start.lo_ns - slack, (o.end.hi_ns if o.end else FOREVER_NS) + slack) for o in track.orphans
        ]
        spans.sort()
        self._lo = [lo for lo, _ in spans]
        self._reach: list[int] = []
        for _, hi in spans:
            self._reach.append(max(hi, self._reach[-1]) if self._reach else hi)
        self._slack = slack

    def disturbed(self, at: Interval) -> bool:
        """Whether some failure may have happened during `at`, or in either order with it."""
        until = bisect_right(self._lo, at.hi_ns + self._slack)
        return bisect_left(self._reach, at.lo_ns - self._slack, 0, until) < until
