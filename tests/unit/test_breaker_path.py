"""The path of states: what the wire says of each of its steps."""

from __future__ import annotations

from typing import Any

import pytest

from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation, Transition
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

MS = 1_000_000
SPEC = BreakerSpec.from_mapping({"failures": 2, "wait_ms": 1000, "permitted": 1, "successes": 1})


def span(lo_ms: float, hi_ms: float) -> Interval:
    """[lo, hi]."""
    return Interval(round(lo_ms * MS), round(hi_ms * MS))


def call(name: str, sent_ms: float, arrived_ms: float | None, told_ms: float, how: str) -> list[Observation]:
    """A call and, if it was let in, its arrival."""
    told = span(told_ms, told_ms)
    made = Call(
        "b",
        "i",
        name,
        span(sent_ms, sent_ms),
        told,
        how,
        fallback=how != "ok",
        finish=None if arrived_ms is None else told,
    )
    if arrived_ms is None:
        return [made]
    return [made, Arrival("b", "i", name, span(arrived_ms, arrived_ms), told)]


def recovered(probe: list[Observation]) -> list[dict[str, Any]]:
    """The path of a breaker that opened at 30 ms, was half-open within [1040, 1044] ms, and reopened at 1100 ms."""
    history: list[Observation] = [Boot("i", span(0, 0), "1")]
    history += [*call("ok", 5, 6, 9, "ok"), *call("bad", 10, 12, 20, "failure")]
    history += call("worse", 15, 17, 30, "failure")
    for sent in range(100, 1000, 100):
        history += call(f"no{sent}", sent, None, sent + 2, "rejected")
    history += probe
    for number, (before, after, at) in enumerate(
        [
            ("closed", "open", span(29, 31)),
            ("open", "half_open", span(1040, 1044)),
            ("half_open", "open", span(1098, 1102)),
        ]
    ):
        history.append(Transition("b", "i", before, after, at, "1", number + 1))
    history += call("no more", 1200, None, 1202, "rejected")
    report = verify(history, SPEC)
    assert report.verdict() == "pass", report.reason()
    return [step.to_json(0) for step in report.instances[0].path]


@pytest.mark.parametrize("sent_ms", [1039, 1025])
def test_breaker_path_wire_shows_the_call_that_half_open_began_with(sent_ms: int) -> None:
    """However long it was on its way: an open breaker lets nobody in, so it is the one."""
    steps = recovered(call("probe", sent_ms, 1042, 1100, "failure"))
    assert [step["state"] for step in steps] == ["closed", "open", "half_open", "open"]
    wire = steps[2]["evidence"]["wire"]
    assert wire is not None, steps[2]
    assert (wire["admitted"], wire["failed"], wire["supports"]) == (1, 1, True)
    assert wire["probes_ns"] == [[sent_ms * MS, 1042 * MS]]
    assert all(step["evidence"]["wire"]["supports"] for step in steps)


def test_breaker_path_wire_shows_no_call_that_may_have_come_before_the_opening() -> None:
    """What was sent before the breaker opened may have been let in before that: no evidence of half-open."""
    steps = recovered(call("probe", 28, 1042, 1100, "failure"))
    assert steps[2]["state"] == "half_open"
    assert steps[2]["evidence"]["wire"] is None
