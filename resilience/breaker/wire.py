"""From a run record to a history: which calls a breaker admitted and which it rejected, read off the wire.

A call is known from its row (the caller's side: sent, answered, by which instance, with or without the fallback) and
from the tap in front of the dependency (a request with the same id arrived, or did not). What follows:

    arrived                           admitted; decided within [sent, arrival]
    answered by the fallback, no
      arrival, sooner than a time-out rejected; decided within [sent, answered]
    anything else without arrival     unknown ("confounded"): a cache, a bulkhead, an overload, a time-out before
                                      sending or a connection that just broke explain it as well

A call that is sent on a pooled connection at the moment at which that connection dies fails without having
arrived. So no rejection is inferred within `_BROKEN_NS` of a fault's beginning or of a connection that the wire saw die,
nor while a fault stands and the breaker says that it may let calls through.

The outcome of an admitted call reached the breaker between the end seen on the wire and the answer seen by the
caller. A caller that gave up (its side closed first) timed out; it told the breaker when its own timer rang, which
may be long before a busy tap saw it close: no earlier than the time-out after sending, less `_CLOSE_LAG_NS`.

A caller that goes away sees no end. Then only the wire tells how the call ended, and the breaker was told at most `_TOLD_NS`
later: "cancelled" where its service gave the call up, too, before its own time-out can have rung, else what the dependency answered.

Pure: takes decoded lines of the run record, gives observations. Times stay on the record's monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from resilience.breaker.observation import (
    Arrival,
    Call,
    Counter,
    Fault,
    Gap,
    Interval,
    Observation,
    State,
    Transition,
)
from resilience.load.identity import DEFAULT, call_id

_CLOSE_LAG_NS: Final = 30_000_000
_BROKEN_NS: Final = 50_000_000
_TOLD_NS: Final = 250_000_000
_NO_ANSWER: Final = frozenset({
    "connect", "timeout", "reset", "protocol", "dropped", "unfinished", "cancelled",
})  # fmt: skip

_EXACT: Final = Interval(0, 0)

Line: TypeAlias = Mapping[str, Any]


def from_record(
    *,
    breaker: str,
    run_id: str,
    calls: Iterable[Line],
    wire: Iterable[Line] = (),
    transitions: Iterable[Line] = (),
    polls: Iterable[Line] = (),
    totals: Iterable[Line] = (),
    faults: Sequence[Fault] = (),
    gaps: Iterable[Line] = (),
    timeout_ns: int | None = None,
    correlate: str = DEFAULT,
    errors: Sequence[Interval] = (),
) -> list[Observation]:
    """The history of one breaker.

    `calls` are the load workers' "call" messages, `wire` the tap's records of the proxy that the breaker stands
    before, `transitions`, `polls` and `totals` the lines "breaker.transition", "breaker.state" and "breaker.total" (lines about other
    breakers are left out), `gaps` the lines "gap". `timeout_ns` is the breaker's per-call time-out: an answer without arrival that
    took as long proves no rejection. `correlate` is the header by which the tap knows calls. `errors` says by how much
    the callers' stamps may be ahead of the record's clock: call i was made by caller i mod len(errors). Raises KeyError or ValueError on lines that break the record's format.
    """
    history: list[Observation] = []
    arrivals = _arrivals(breaker, wire)
    by_id: dict[str | None, list[Arrival]] = {}
    for arrival, _ in arrivals:
        by_id.setdefault(arrival.id, []).append(arrival)
        history.append(arrival)
    ends = dict(arrivals)
    told = _transitions(breaker, transitions)
    broken = _Breaks(ends, faults)
    trying = _trying(told, faults)
    for message in calls:
        if message.get("kind") != "call":
            continue
        for row in message["rows"]:
            known_as = call_id(run_id, message["load"], row[0], correlate)
            error = errors[row[0] % len(errors)] if errors else _EXACT
            history.append(
                _call(
                    breaker, known_as, row, by_id.get(known_as, []), ends, (broken, trying), timeout_ns, error
                )
            )
    history.extend(told)
    history.extend(_poll(line) for line in polls if line.get("breaker") == breaker)
    history.extend(_total(line) for line in totals if line.get("breaker") == breaker)
    history.extend(faults)
    history.extend(_gap(line) for line in gaps)
    return history


def _poll(line: Line) -> State:
    return State(
        line["breaker"],
        line["instance"],
        line["state"],
        _interval(line.get("at", line.get("t"))),
        line.get("boot"),
        source=line.get("source", "poll"),
    )


def _total(line: Line) -> Counter:
    return Counter(
        line["breaker"],
        line["instance"],
        line["name"],
        int(line["value"]),
        _interval(line["at"]),
        line.get("boot"),
        source=line.get("observer") or line.get("source", "metrics"),
        others=bool(line.get("others")),
    )


def _trying(told: Sequence[Transition], faults: Sequence[Fault]) -> dict[Any, list[Interval]]:
    """Per instance: while a fault stands, the times at which its breaker says that it may let calls through.

    A dependency that refuses connections may do so before a request is read, and such a call leaves no arrival. Only
    while the breaker itself says "open" is a rejection then the better explanation.
    """
    spans: dict[Any, list[Interval]] = {}
    windows = [
        Interval(f.on.lo_ns - _BROKEN_NS, f.off.hi_ns + _BROKEN_NS if f.off else 1 << 62) for f in faults
    ]
    for instance in {event.instance for event in told}:
        since = 0
        own = [event for event in told if event.instance == instance]
        for event in own:
            if event.from_state == "open":
                since = event.at.lo_ns
            elif event.to_state == "open":
                _overlaps(spans.setdefault(instance, []), windows, since, event.at.hi_ns)
        if own and own[-1].to_state != "open":
            _overlaps(spans.setdefault(instance, []), windows, since, 1 << 62)
    return spans


def _overlaps(spans: list[Interval], windows: Sequence[Interval], from_ns: int, to_ns: int) -> None:
    for window in windows:
        lo, hi = max(from_ns, window.lo_ns), min(to_ns, window.hi_ns)
        if lo <= hi:
            spans.append(Interval(lo, hi))


class _Breaks:
    """When connections behind the breaker broke: at faults' beginnings, and where the wire saw it."""

    def __init__(self, ends: Mapping[Arrival, str | None], faults: Sequence[Fault]) -> None:
        spans = [fault.on for fault in faults]
        spans += [a.done for a, how in ends.items() if how == "upstream_closed" and a.done is not None]
        self._spans = sorted(span.widened(_BROKEN_NS, _BROKEN_NS) for span in spans)
        self._begins = [span.lo_ns for span in self._spans]
        self._widest = max((span.hi_ns - span.lo_ns for span in self._spans), default=0)

    def between(self, from_ns: int, to_ns: int) -> bool:
        """Whether a connection may have broken in [from_ns, to_ns]."""
        begin = bisect_left(self._begins, from_ns - self._widest)
        until = bisect_right(self._begins, to_ns)
        return any(span.hi_ns >= from_ns for span in self._spans[begin:until])


def _arrivals(breaker: str, wire: Iterable[Line]) -> list[tuple[Arrival, str | None]]:
    """Arrivals joined to their "done" by the tap's request number, each with how it ended."""
    begun: dict[Any, Line] = {}
    done: dict[Any, Line] = {}
    for record in wire:
        what = record.get("what", record.get("kind"))  # "what" once it is a line of the run record
        if what == "arrival":
            begun[record["n"]] = record
        elif what == "done":
            done[record["n"]] = record
    found: list[tuple[Arrival, str | None]] = []
    for number, record in begun.items():
        end = done.get(number)
        at = _interval(record["at"])
        finished = _interval(end["at"]) if end else None
        arrival = Arrival(breaker, None, record.get("id"), at, finished, failed=_failed(end))
        found.append((arrival, end.get("end") if end else None))
    return found


def _failed(end: Line | None) -> bool | None:
    """What the wire says of an answer: an error or none at all is a failure, anything else a success."""
    if end is None:
        return None
    if end.get("end") != "response":
        return True
    status = end.get("status")
    return None if status is None else status >= 500


def _call(
    breaker: str,
    call_id: str,
    row: Sequence[Any],
    arrivals: Sequence[Arrival],
    ends: Mapping[Arrival, str | None],
    confounders: tuple[_Breaks, Mapping[Any, Sequence[Interval]]],
    timeout_ns: int | None,
    error: Interval,
) -> Call:
    _, _, start_ns, sent_ns, _, done_ns, status, outcome, instance = row[:9]
    stamp = sent_ns if sent_ns is not None else start_ns
    start = Interval(stamp - error.hi_ns, stamp - error.lo_ns)
    end = Interval(done_ns - error.hi_ns, done_ns - error.lo_ns) if done_ns is not None else None
    # From here on the earliest instant at which it can have been sent, and the latest at which it can have ended.
    sent, done_ns = start.lo_ns, end.hi_ns if end is not None else None
    fallback: bool | None = None if outcome in _NO_ANSWER else outcome == "degraded"
    if arrivals and outcome in _NO_ANSWER:
        verdict, finish, note = _left(sent, outcome, arrivals, ends, timeout_ns)
    elif arrivals:
        verdict, finish, note = _admitted(sent, done_ns, outcome, arrivals, ends, timeout_ns)
    else:
        verdict, finish, note = _absent(sent, done_ns, outcome, status, timeout_ns)
        broken, trying = confounders
        # The breaker was told at some time before the caller: how long an answer takes on its way back nobody knows.
        whole = Interval(sent, done_ns) if done_ns is not None else None
        if verdict == "rejected" and done_ns is not None and broken.between(sent, done_ns):
            verdict, finish, note = "unknown", whole, "confounded: connections were breaking"
        elif (
            verdict == "rejected"
            and done_ns is not None
            and any(span.lo_ns <= done_ns and span.hi_ns >= sent for span in trying.get(instance, ()))
        ):
            verdict, finish, note = "unknown", whole, "confounded: the dependency may have been unreachable"
    return Call(breaker, instance, call_id, start, end, verdict, fallback, finish=finish, note=note)


def _admitted(
    sent: int,
    done_ns: int | None,
    outcome: str,
    arrivals: Sequence[Arrival],
    ends: Mapping[Arrival, str | None],
    timeout_ns: int | None,
) -> tuple[str, Interval | None, str | None]:
    """Outcome of a call that reached the dependency, and when the breaker was told of it."""
    last = max(arrivals, key=lambda arrival: arrival.at)
    how = ends.get(last)
    lo = last.done.lo_ns if last.done else last.at.lo_ns
    if how == "caller_closed":
        # A caller's timer does not wait for a busy tap: request and close may lie unread together.
        lo = sent if timeout_ns is None else min(lo, sent + timeout_ns) - _CLOSE_LAG_NS
    lo = max(lo, sent)
    finish = Interval(min(lo, done_ns), done_ns) if done_ns is not None else None
    if outcome == "ok" and last.failed is not True:
        return "ok", finish, None
    if how == "caller_closed" and outcome in {"degraded", "5xx", "shed"}:
        return "timeout", finish, None
    if last.failed and outcome in {"degraded", "5xx", "shed"}:
        return "failure", finish, None
    return "unknown", finish, f"caller saw {outcome}, the wire {how or 'no end'}"


def _left(
    sent: int,
    outcome: str,
    arrivals: Sequence[Arrival],
    ends: Mapping[Arrival, str | None],
    timeout_ns: int | None,
) -> tuple[str, Interval | None, str | None]:
    """Outcome of a call that reached the dependency, and whose caller saw no end of it."""
    last = max(arrivals, key=lambda arrival: arrival.at)
    if last.done is None:
        return "unknown", None, f"caller saw {outcome}, the wire no end"
    how = ends.get(last)
    finish = Interval(max(sent, last.done.lo_ns - _CLOSE_LAG_NS), last.done.hi_ns + _TOLD_NS)
    if how == "response" and last.failed is not None:
        return "failure" if last.failed else "ok", Interval(max(sent, last.done.lo_ns), finish.hi_ns), None
    rang = timeout_ns is not None and last.done.hi_ns - sent >= timeout_ns - _CLOSE_LAG_NS
    if how == "caller_closed" and outcome == "cancelled" and not rang:
        return "cancelled", finish, None
    return "unknown", finish, f"caller saw {outcome}, the wire {how or 'no end'}"


def _absent(
    sent: int, done_ns: int | None, outcome: str, status: int | None, timeout_ns: int | None
) -> tuple[str, Interval | None, str | None]:
    """Outcome of a call that never reached the dependency."""
    if done_ns is None or outcome in _NO_ANSWER:
        return "unknown", None, "confounded: no answer, and no request on the wire"
    whole = Interval(sent, done_ns)
    if outcome != "degraded":
        return "unknown", whole, f"confounded: answered {outcome} ({status}) without asking the dependency"
    if timeout_ns is not None and done_ns - sent >= timeout_ns:
        return "unknown", whole, "confounded: took as long as a time-out, and no request on the wire"
    return "rejected", None, None


def _transitions(breaker: str, lines: Iterable[Line]) -> list[Transition]:
    """Reported transitions; a report that a reconnecting stream repeated is taken once."""
    found: list[Transition] = []
    seen: set[tuple[Any, Any, Any]] = set()
    for line in lines:
        if line.get("breaker") != breaker:
            continue
        seq = line.get("seq")
        key = (line["instance"], line.get("boot"), seq)
        if seq is not None and key in seen:
            continue
        seen.add(key)
        found.append(
            Transition(
                breaker,
                line["instance"],
                line["from"],
                line["to"],
                _interval(line["at"]),
                line.get("boot"),
                seq,
                source=line.get("source", "events"),
            )
        )
    return found


_SOURCES: Final[Mapping[str, str]] = {"sse": "events", "tap": "wire", "poll": "polls"}


def _gap(line: Line) -> Gap:
    source = str(line.get("source", ""))
    at = line.get("at")
    return Gap(
        _SOURCES.get(source, source),
        _interval(at) if at is not None else None,
        line.get("lost"),
        line.get("breaker"),
        line.get("instance"),
    )


def _interval(value: Any) -> Interval:
    """[lo, hi] or one instant, in ns."""
    if isinstance(value, (list, tuple)):
        return Interval(int(value[0]), int(value[1]))
    return Interval(int(value), int(value))
