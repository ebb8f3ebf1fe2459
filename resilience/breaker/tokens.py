"""A track's observations as tokens: what happened, within which interval, and whether it happened at all.

    A  a call was let in          R  a call was turned away       O  an outcome reached the breaker
    T  a reported transition      P  a state that was read

A token is *optional* where it is not certain that it happened (a call of unknown fate, traffic of unknown origin). It
may explain something and need not. `lonely` marks an outcome that may happen at once: no other one whose order with it could
matter overlaps its interval.

Where records were lost, nothing is told: tokens within such a time are left out, and the sweep begins anew after it. Of a decision or an
outcome that may lie there or beside it the part beside it is kept, as something that need not have happened.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from resilience.breaker.automaton import Key, Reported, is_by_hand
from resilience.breaker.calm import idle
from resilience.breaker.evidence import FOREVER_NS, CallEvidence, Track
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.window import Count


class Token(NamedTuple):
    """One thing that happened within [lo_ns, hi_ns]; `call` indexes the track's calls, negative: nobody's."""

    number: int
    kind: str
    call: int
    lo_ns: int
    hi_ns: int
    what: str = ""
    optional: bool = False
    lonely: bool = False
    mate: int | None = None  # for O the decision's token, for A the outcome's
    position: int = -1  # for T
    slow: bool | None = False  # for O; None: perhaps
    begun_ns: int = 0  # for O: the earliest instant at which its call was let in
    failures: int | None = None  # for P: the failures that were read

    @property
    def at(self) -> Interval:
        """The interval as a value."""
        return Interval(self.lo_ns, self.hi_ns)

    def agrees_with(self, key: Key) -> bool:
        """Whether the count of failures that was read with a state can be the count in this configuration."""
        if self.failures is None or key.state != "closed":
            return True
        if isinstance(key.window, Count):
            return key.window.fog > 0 or key.window.failed.bit_count() == self.failures
        return key.window is not None or key.failures == self.failures


@dataclass(frozen=True, slots=True)
class Tokens:
    """All tokens of a track, and their ends in order of time: (ns, is the upper end, index).

    `restarts` are the instants at which everything is forgotten, because records before them were lost.
    """

    all: tuple[Token, ...]
    edges: tuple[tuple[int, bool, int], ...]
    begin_ns: int
    end_ns: int
    restarts: tuple[int, ...] = ()


def reported(track: Track, spec: BreakerSpec) -> tuple[Reported, ...] | None:
    """The transitions as the automaton uses them up; None where there are none, or some are missing from anywhere."""
    if not spec.events or not track.eventful or any(gap.at is None for gap in track.lost("events")):
        return None
    found: list[Reported] = []
    for event in track.transitions:
        if event.from_state == event.to_state and not spec.self_loops:
            return None  # R1 says what there is to say
        if event.from_state == event.to_state == "closed":
            continue  # one more probe's success: it changes nothing
        by_hand = event.manual or is_by_hand(event.from_state, event.to_state)
        at = _when(event.at, found, event.to_state, spec)
        found.append(Reported(event.from_state, event.to_state, at, by_hand))
    return tuple(found)


def _when(at: Interval, before: Sequence[Reported], to: str, spec: BreakerSpec) -> Interval:
    slack = spec.delta_ns // 2
    if to == "half_open" and spec.half_open_event == "probe_end":
        # Reported when a probe ended; it was entered at some time since the opening.
        return Interval(min(before[-1].at.lo_ns if before else 0, at.lo_ns), at.hi_ns + slack)
    return at.widened(slack, slack)


def blind_spots(track: Track, spec: BreakerSpec) -> tuple[Interval, ...]:
    """The times about which nothing is known because records were lost; overlapping ones joined, in order.

    A lost call may have been running before and after the time in which its record was lost, for as long as calls last.
    """
    lasts = max(track.longest_ns, spec.timeout_ns or 0)
    spots = [
        gap.at.widened(lasts, lasts) for gap in track.lost("calls", "wire", "events") if gap.at is not None
    ]
    for before, after in pairwise(track.transitions):
        if before.seq is not None and after.seq is not None and after.seq > before.seq + 1:
            lo = min(before.at.lo_ns, after.at.lo_ns)
            spots.append(Interval(lo, max(before.at.hi_ns, after.at.hi_ns)))
    joined: list[Interval] = []
    for spot in sorted(spots):
        if joined and spot.lo_ns <= joined[-1].hi_ns:
            joined[-1] = Interval(joined[-1].lo_ns, max(joined[-1].hi_ns, spot.hi_ns))
        else:
            joined.append(spot)
    return tuple(joined)


def tokens(track: Track, spec: BreakerSpec, *, polls: bool = True) -> Tokens:
    """Build the tokens of a track."""
    slack = spec.delta_ns // 2
    found: list[Token] = []
    _of_calls(track, spec, found)
    _of_nobody(track, slack, found)
    for position, report in enumerate(reported(track, spec) or ()):
        at = report.at
        found.append(Token(len(found), "T", -1, at.lo_ns, at.hi_ns, report.after, position=position))
    if polls:
        for poll in track.states:
            lo, hi = poll.at.lo_ns - slack, poll.at.hi_ns + slack
            found.append(Token(len(found), "P", -1, lo, hi, poll.state, failures=poll.failures))
    spots = blind_spots(track, spec)
    shown = _beside(found, spots) if spots else found
    calm = idle(found, spec)
    if calm:
        shown = [token for token in shown if token.number not in calm]
    edges = [(t.lo_ns, False, t.number) for t in shown]
    edges += [(t.hi_ns, True, t.number) for t in shown]
    edges.sort()
    begin, end = track.span.lo_ns - slack, track.span.hi_ns + slack
    return Tokens(tuple(found), tuple(edges), begin, end, tuple(spot.hi_ns for spot in spots))


def _of_calls(track: Track, spec: BreakerSpec, found: list[Token]) -> None:
    slack = spec.delta_ns // 2
    order = _Order(track, spec, slack)
    for index, call in enumerate(track.calls):
        lo, hi = call.decision.lo_ns - slack, _later(call.decision.hi_ns, slack)
        if call.admitted is False:
            found.append(Token(len(found), "R", index, lo, hi))
            continue
        unsure = call.admitted is None
        what = "" if call.finish is None else _outcome(call)
        here = len(found)
        found.append(
            Token(here, "A", index, lo, hi, optional=unsure, mate=here + 1 if what else None, begun_ns=lo)
        )
        if what and call.finish is not None:
            start = max(call.finish.lo_ns, call.decision.lo_ns)
            slow = _slow(call, spec)
            found.append(
                Token(
                    here + 1,
                    "O",
                    index,
                    start - slack,
                    _later(call.finish.hi_ns, slack),
                    what,
                    unsure or what == "any",
                    order.lonely(start, call.finish.hi_ns, what, slow=slow is not False),
                    here,
                    slow=slow,
                    begun_ns=lo,
                )
            )


def _of_nobody(track: Track, slack: int, found: list[Token]) -> None:
    """Traffic that may have been this breaker's, and need not."""

    def maybe(number: int, begin: Interval, end: Interval, what: str) -> None:
        for kind, at in (("A", begin), ("O", end)):
            lo, hi = at.lo_ns - slack, _later(at.hi_ns, slack)
            mate = len(found) - 1 if kind == "O" else len(found) + 1
            found.append(
                Token(
                    len(found),
                    kind,
                    -1 - number,
                    lo,
                    hi,
                    what if kind == "O" else "",
                    optional=True,
                    mate=mate,
                )
            )

    for number, stray in enumerate(track.strays):
        what = "any" if stray.failed is None else "failure" if stray.failed else "success"
        maybe(number, stray.at, stray.done or stray.at, what)
    for number, orphan in enumerate(track.orphans, start=len(track.strays)):
        whole = Interval(orphan.start.lo_ns, orphan.end.hi_ns if orphan.end else FOREVER_NS)
        maybe(number, whole, whole, "any")


def _later(ns: int, slack: int) -> int:
    return ns if ns >= FOREVER_NS else ns + slack


def _beside(found: list[Token], spots: Sequence[Interval]) -> list[Token]:
    """The tokens outside the blind spots; a decision or an outcome that reaches into one may have happened beside it."""
    shown: list[Token] = []
    for token in list(found):
        pieces = _outside(token, spots)
        if pieces == [(token.lo_ns, token.hi_ns)]:
            shown.append(token)
        elif token.kind in "AO":
            for lo, hi in pieces:
                piece = token._replace(lo_ns=lo, hi_ns=hi, optional=True, lonely=False)
                if (lo, hi) == pieces[0]:
                    found[token.number] = piece
                else:
                    piece = piece._replace(number=len(found))
                    found.append(piece)
                shown.append(piece)
    return shown


def _outside(token: Token, spots: Sequence[Interval]) -> list[tuple[int, int]]:
    """The parts of a token's interval that lie in no blind spot."""
    pieces: list[tuple[int, int]] = []
    lo = token.lo_ns
    for spot in spots[bisect_left(spots, lo, key=lambda spot: spot.hi_ns) :]:
        if spot.lo_ns > token.hi_ns:
            break
        if lo < spot.lo_ns:
            pieces.append((lo, spot.lo_ns - 1))
        lo = spot.hi_ns + 1
    if lo <= token.hi_ns:
        pieces.append((lo, token.hi_ns))
    return pieces


def _outcome(call: CallEvidence) -> str:
    """success, failure, neutral, "any" where it is unknown, "" where the call never ended."""
    if call.kind == "running":
        return ""
    return "any" if call.kind == "unknown" else call.kind


def _slow(call: CallEvidence, spec: BreakerSpec) -> bool | None:
    """Whether a call took so long that its specification calls it slow; None where that cannot be told."""
    if spec.slow_ns is None or spec.slow_ratio is None or call.finish is None:
        return False
    if call.finish.lo_ns - call.decision.hi_ns - spec.delta_ns > spec.slow_ns:
        return True
    return None if call.finish.hi_ns - call.decision.lo_ns + spec.delta_ns > spec.slow_ns else False


class _Order:
    """Which outcomes have no other near them whose order with them could matter."""

    def __init__(self, track: Track, spec: BreakerSpec, slack: int) -> None:
        self._slack = slack
        good: list[tuple[int, int]] = []
        bad: list[tuple[int, int]] = []
        for c in track.calls:
            if c.finish is None or c.admitted is False:
                continue
            ends = (max(c.finish.lo_ns, c.decision.lo_ns) - slack, c.finish.hi_ns + slack)
            harmless = c.kind == "success" and c.admitted and _slow(c, spec) is False
            (good if harmless else bad).append(ends)
        bad += [(s.at.lo_ns - slack, (s.done or s.at).hi_ns + slack) for s in track.strays]
        bad += [
            (o.start.lo_ns - slack, (o.end.hi_ns if o.end else FOREVER_NS) + slack) for o in track.orphans
        ]
        # A count that was read tells whether an outcome came before or after.
        bad += [(p.at.lo_ns - slack, p.at.hi_ns + slack) for p in track.states if p.failures is not None]
        self._bad = _Spans(bad)
        self._good = _Spans(good)

    def lonely(self, lo: int, hi: int, what: str, *, slow: bool) -> bool:
        """Whether nothing disturbs an outcome in [lo, hi]: a failure by none at all, a success by no failure."""
        lo, hi = lo - self._slack, hi + self._slack
        if what == "success" and not slow:
            return not self._bad.overlapping(lo, hi, 1)
        if what in {"failure", "success"}:
            return not self._bad.overlapping(lo, hi, 2) and not self._good.overlapping(lo, hi, 1)
        return False


class _Spans:
    """Intervals that can be asked whether so many of them overlap another one."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(spans)
        self._lo = [lo for lo, _ in ordered]
        self._hi = [hi for _, hi in ordered]
        self._reach: list[int] = []
        for hi in self._hi:
            self._reach.append(max(hi, self._reach[-1]) if self._reach else hi)

    def overlapping(self, lo: int, hi: int, least: int) -> bool:
        """Whether at least `least` (1 or 2) of the intervals overlap [lo, hi]."""
        until = bisect_right(self._lo, hi)
        begin = bisect_left(self._reach, lo, 0, until)
        if least == 1:
            return begin < until
        return until - begin > 1 and sum(1 for end in self._hi[begin:until] if end >= lo) >= least
