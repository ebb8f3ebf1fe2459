"""Lanes of the time line: when a fault was on, and which state a breaker was in.

Both are read from events. A fault's lane has three readings that must not be mixed up: the window that the plan asked
for, the stretch in which the fault was really on, and the moment at which its removal was *verified*. The stretch ends
at `healed`; between that and `verified` the fault may still have been there, and is drawn so. Behind it stands how long
the system took to be well again, where that was judged: its time counts from when fault *and* spike are over.

A transition observed in an interval [lo, hi] is drawn at its middle: the tables give the interval. A breaker is drawn
from its transitions; where no transition was seen, from polled states. Which transitions break a rule is the
verifier's business; what is marked here are edges that no breaker may take.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from resilience.report.texts import clean, mapping, number, seconds_since, sequence, text
from resilience.report.values import BreakerLane, FaultLane, Moment, Recovery, Span, StateSpan

MOST_SPANS = 1500
"""State spans drawn of one breaker; a breaker that flaps for hours must not fill the page."""

LEGAL_EDGES = frozenset(
    {("closed", "open"), ("open", "half_open"), ("half_open", "open"), ("half_open", "closed")}
)
MANUAL_STATES = frozenset({"forced_open", "disabled", "metrics_only"})

_NOW: Mapping[str, str] = {"never injected": "not yet", "not healed": "on"}
"""What a fault of a run that goes on is, by what it would be were the run over."""

Event = Mapping[str, Any]
LaneKey = tuple[str, str, str]


def fault_lanes(
    verdict: Mapping[str, Any],
    planned: Mapping[str, Span],
    events: Iterable[Event],
    epoch_ns: int,
    end_s: float,
) -> tuple[FaultLane, ...]:
    """Give a lane a fault: every fault that the plan, the verdict or an event names, in that order."""
    seen: dict[str, dict[str, Span]] = {}
    for event in events:
        moment = seconds_since(event.get("at", event.get("t")), epoch_ns)
        if event.get("kind") == "fault" and moment is not None:
            steps = seen.setdefault(str(event.get("id", event.get("fault_id"))), {})
            steps.setdefault(str(event.get("step")), moment)
    judged = {str(mapping(each).get("id")): mapping(each) for each in sequence(verdict.get("faults"))}
    running = verdict.get("verdict") == "running"
    recovery = mapping(verdict.get("recovery"))
    ids = dict.fromkeys([*planned, *judged, *seen])
    lanes = (
        _fault_lane(id_, judged.get(id_, {}), planned.get(id_), seen.get(id_, {}), epoch_ns, end_s)
        for id_ in ids
    )
    return tuple(
        replace(
            lane,
            recovery=_recovery(mapping(recovery.get(id_)), lane.actual, end_s),
            note=_NOW.get(lane.note, lane.note) if running else lane.note,
        )
        for id_, lane in zip(ids, lanes, strict=True)
    )


def _recovery(found: Event, actual: Span | None, end_s: float) -> Recovery | None:
    """Read when the system was well again; None where nobody measured it."""
    told = mapping(found.get("time_to_recover_s"))
    begin = number(found.get("reference_s"))
    if begin is None:
        begin = actual[1] if actual else None
    middle, around = number(told.get("value")), number(told.get("plus_minus")) or 0.0
    censored = number(told.get("censored_above_s"))
    if begin is None or (middle is None and censored is None):
        return None
    if middle is None:
        return Recovery((begin, max(begin, end_s)), recovered=False, text=f"not within {censored:.1f} s")
    shown = f"≤ {middle + around:.1f} s" if middle <= around else f"{middle:.1f} ± {around:.1f} s"
    return Recovery((begin, begin + middle + around), recovered=True, text=shown)


def _fault_lane(
    id_: str, judged: Event, planned: Span | None, steps: Mapping[str, Span], epoch_ns: int, end_s: float
) -> FaultLane:
    on = steps.get("injected") or seconds_since(judged.get("injected"), epoch_ns)
    off = steps.get("healed") or steps.get("expired") or seconds_since(judged.get("healed"), epoch_ns)
    proof = steps.get("verified") or seconds_since(judged.get("verified_at"), epoch_ns)
    verified = judged.get("verified") is True or (proof is not None and "verified" not in judged)
    if on is None:
        note = "never injected"
    elif off is None:
        note = "not healed"
    elif not verified:
        note = "healed, but its removal could not be verified"
    else:
        note = "healed and verified"
    if judged.get("error"):
        note = f"{note}: {text(judged.get('error'))}"
    return FaultLane(
        id=clean(id_),
        kind=text(judged.get("kind"), "fault"),
        target=text(judged.get("target")),
        planned=planned,
        actual=None if on is None else (on[1], max(on[1], off[1] if off else end_s)),
        verified_s=proof[1] if proof else None,
        verified=verified,
        note=note,
        recovery=None,
    )


def breaker_lanes(
    events: Sequence[Event], problems: Mapping[str, Any], epoch_ns: int, end_s: float
) -> tuple[BreakerLane, ...]:
    """Give a lane for each breaker, instance and boot that any event names, and for those that could not be followed.

    `problems` says of a breaker why it could not be judged: one that is missing without a word would pass for none.
    """
    transitions: dict[LaneKey, list[tuple[float, str, str]]] = defaultdict(list)
    polls: dict[LaneKey, list[tuple[float, str]]] = defaultdict(list)
    for event in events:
        kind = event.get("kind")
        if kind not in {"breaker.transition", "breaker.state"}:
            continue
        moment = seconds_since(event.get("at", event.get("t")), epoch_ns)
        if moment is None:
            continue
        middle = (moment[0] + moment[1]) / 2
        key = _key(event)
        if kind == "breaker.transition":
            transitions[key].append((middle, text(event.get("from")), text(event.get("to"))))
        else:
            polls[key].append((middle, text(event.get("state"))))
    keys = sorted(set(transitions) | set(polls))
    seen = tuple(
        _lane(key, sorted(transitions.get(key, [])), sorted(polls.get(key, [])), end_s) for key in keys
    )
    named = {lane.breaker for lane in seen}
    return seen + tuple(
        BreakerLane(clean(str(name)), "", "", states=(), marks=(), probes_s=(), left_out=0, note=text(why))
        for name, why in problems.items()
        if clean(str(name)) not in named
    )


def _key(event: Event) -> LaneKey:
    return text(event.get("breaker")), text(event.get("instance")), text(event.get("boot"))


def _lane(
    key: LaneKey,
    transitions: Sequence[tuple[float, str, str]],
    polls: Sequence[tuple[float, str]],
    end_s: float,
) -> BreakerLane:
    marks: list[Moment] = []
    starts: list[tuple[float, str]] = []
    if transitions:
        starts.append((min(0.0, transitions[0][0]), transitions[0][1]))
        for at_s, before, after in transitions:
            wrong = _broken_edge(starts[-1][1], before, after)
            if wrong:
                marks.append(Moment(at_s, "illegal", wrong))
            starts.append((at_s, after))
    else:
        starts.extend(polls)
    return BreakerLane(*key, states=_spans(starts, end_s)[:MOST_SPANS], marks=tuple(marks[:MOST_SPANS]),
                       probes_s=(), left_out=max(0, len(starts) - MOST_SPANS))  # fmt: skip


def _spans(starts: Sequence[tuple[float, str]], end_s: float) -> tuple[StateSpan, ...]:
    spans: list[StateSpan] = []
    for at_s, state in starts:
        if spans and spans[-1].state == state:
            continue
        if spans:
            spans[-1] = StateSpan(spans[-1].state, spans[-1].start_s, at_s)
        spans.append(StateSpan(state, at_s, max(at_s, end_s)))
    return tuple(spans)


def _broken_edge(current: str, before: str, after: str) -> str:
    if {before, after} & MANUAL_STATES:
        return ""
    if before != after and (before, after) not in LEGAL_EDGES:
        return f"{before} to {after} is no legal transition"
    if current != before:
        return f"{before} to {after}, but the last state seen was {current}"
    return ""
