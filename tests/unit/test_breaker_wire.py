"""From a run record to a history: admitted, rejected, or not to be told."""

from __future__ import annotations

from typing import Any

import pytest

from resilience.breaker.history import Arrival, Call, Fault, Gap, Interval, Transition
from resilience.breaker.wire import from_record

MS = 1_000_000


def row(
    i: int, sent_ms: float, done_ms: float | None, outcome: str, instance: str | None = "g1"
) -> list[Any]:
    """A call row as the load engine writes it."""
    sent, done = round(sent_ms * MS), None if done_ms is None else round(done_ms * MS)
    return [i, sent, sent, sent, done, done, 200, outcome, instance]


def tap(
    n: int, call: str | None, at_ms: float, done_ms: float | None, end: str = "response", status: int = 200
) -> list[dict[str, Any]]:
    """The lines of one request on the wire."""
    lines: list[dict[str, Any]] = [
        {"kind": "wire", "what": "arrival", "n": n, "id": call, "at": [round(at_ms * MS), round(at_ms * MS)]}
    ]
    if done_ms is not None:
        done = [round(done_ms * MS)] * 2
        lines.append({"kind": "wire", "what": "done", "n": n, "status": status, "end": end, "at": done})
    return lines


def history(rows: list[list[Any]], wire: list[dict[str, Any]], **more: Any) -> list[Any]:
    """The history of breaker b in run r."""
    calls = [{"kind": "call", "load": "q", "rows": rows}]
    return from_record(breaker="b", run_id="r", calls=calls, wire=wire, timeout_ns=300 * MS, **more)


def only_call(*args: Any, **more: Any) -> Call:
    """The one call of such a history."""
    (call,) = [entry for entry in history(*args, **more) if isinstance(entry, Call)]
    return call


def test_breaker_wire_answered_call_was_admitted() -> None:
    """A call on the wire with an answer succeeded between the wire's end and the caller's."""
    call = only_call([row(1, 10, 20, "ok")], tap(1, "r-q-1", 12, 18))
    assert (call.outcome, call.finish, call.fallback) == ("ok", Interval(18 * MS, 20 * MS), False)


def test_breaker_wire_fallback_without_arrival_was_rejected() -> None:
    """The fallback at once and nothing on the wire is a rejection."""
    call = only_call([row(1, 10, 13, "degraded")], [])
    assert (call.outcome, call.fallback, call.finish) == ("rejected", True, None)


def test_breaker_wire_caller_that_gave_up_timed_out() -> None:
    """A request whose caller closed first is a time-out, perhaps a little before the tap saw it."""
    call = only_call([row(1, 0, 305, "degraded")], tap(1, "r-q-1", 2, 303, "caller_closed"))
    assert (call.outcome, call.finish) == ("timeout", Interval(270 * MS, 305 * MS))


@pytest.mark.parametrize(("end", "status"), [("refused", 0), ("upstream_closed", 0), ("response", 503)])
def test_breaker_wire_error_on_the_wire_is_a_failure(end: str, status: int) -> None:
    """No answer, or a bad one, is a failure."""
    call = only_call([row(1, 0, 5, "degraded")], tap(1, "r-q-1", 2, 4, end, status))
    assert call.outcome == "failure"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (row(1, 0, 5, "ok"), "answered ok"),
        (row(1, 0, 5, "shed"), "answered shed"),
        (row(1, 0, 5, "5xx"), "answered 5xx"),
        (row(1, 0, 301, "degraded"), "time-out"),
        (row(1, 0, None, "unfinished", None), "no answer"),
        (row(1, 0, 900, "timeout", None), "no answer"),
    ],
)
def test_breaker_wire_says_confounded_where_something_else_explains(made: list[Any], why: str) -> None:
    """Without an arrival only a quick fallback proves a rejection."""
    call = only_call([made], [])
    assert call.outcome == "unknown"
    assert call.note is not None
    assert call.note.startswith("confounded")
    assert why in call.note


def test_breaker_wire_infers_no_rejection_while_connections_break() -> None:
    """A call that was sent as the dependency was cut off may have died with its connection."""
    fault = Fault("cut", Interval(100 * MS, 101 * MS), Interval(9000 * MS, 9001 * MS))
    assert only_call([row(1, 120, 123, "degraded")], [], faults=[fault]).outcome == "unknown"
    assert only_call([row(1, 180, 183, "degraded")], [], faults=[fault]).outcome == "rejected"


def test_breaker_wire_infers_no_rejection_while_a_faulted_breaker_lets_calls_through() -> None:
    """A dependency that refuses may do so before the request is read: only "open" makes it a rejection."""
    fault = Fault("cut", Interval(0, 0), Interval(9000 * MS, 9001 * MS))
    told = [
        {
            "breaker": "b",
            "instance": "g1",
            "boot": "x",
            "from": a,
            "to": b,
            "at": [at * MS, at * MS],
            "seq": n,
        }
        for n, (a, b, at) in enumerate(
            [("closed", "open", 200), ("open", "half_open", 1200), ("half_open", "open", 1300)]
        )
    ]
    rows = [row(1, 500, 503, "degraded"), row(2, 1250, 1253, "degraded"), row(3, 1500, 1503, "degraded")]
    found = [c.outcome for c in history(rows, [], faults=[fault], transitions=told) if isinstance(c, Call)]
    assert found == ["rejected", "unknown", "rejected"]


def test_breaker_wire_takes_repeated_events_once_and_keeps_gaps() -> None:
    """A reconnecting stream repeats itself; what it lost is said."""
    event = {
        "breaker": "b",
        "instance": "g1",
        "boot": "x",
        "from": "closed",
        "to": "open",
        "at": [1, 2],
        "seq": 1,
    }
    other = {**event, "breaker": "c"}
    found = history(
        [], [], transitions=[event, event, other], gaps=[{"source": "tap", "lost": 2, "at": [1, 2]}]
    )
    assert [type(entry) for entry in found] == [Transition, Gap]
    assert found[1] == Gap("wire", Interval(1, 2), 2)


def test_breaker_wire_keeps_arrivals_of_unknown_origin() -> None:
    """Traffic that no call row explains stays in the history, unattributed."""
    found = history([], tap(1, None, 1, None))
    assert found == [Arrival("b", None, None, Interval(MS, MS))]


def test_breaker_wire_unreachable_dependency_may_have_failed_before_its_caller_was_answered() -> None:
    """While connections break a call may leave no arrival; when its breaker was told lies anywhere before the answer.

    A gateway that was starved answered 18 ms after its probe had failed and reopened the breaker: the reopening came first.
    """
    fault = Fault("down", Interval(0, 0), Interval(100 * MS, 100 * MS))
    call = only_call([row(1, 95, 124, "degraded")], [], faults=[fault], transitions=[
        {"breaker": "b", "instance": "g1", "from": "open", "to": "half_open", "at": [96 * MS, 97 * MS], "seq": 1},
        {"breaker": "b", "instance": "g1", "from": "half_open", "to": "open", "at": [106 * MS, 106 * MS], "seq": 2},
    ])  # fmt: skip
    assert (call.outcome, call.finish) == ("unknown", Interval(95 * MS, 124 * MS))


def test_breaker_wire_broken_connection_may_have_failed_before_its_caller_was_answered() -> None:
    """The same where a fault has just cut connections off, and nobody reports transitions."""
    fault = Fault("down", Interval(100 * MS, 100 * MS), Interval(900 * MS, 900 * MS))
    call = only_call([row(1, 95, 124, "degraded")], [], faults=[fault])
    assert (call.outcome, call.finish) == ("unknown", Interval(95 * MS, 124 * MS))
