"""Totals that were read: what they prove beside calls and events, and what they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from resilience.breaker.history import (
    Arrival,
    Boot,
    Call,
    Counter,
    Gap,
    Interval,
    Observation,
    Transition,
    dump_jsonl,
    parse_jsonl,
)
from resilience.breaker.report import RuleVerdict, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify
from resilience.breaker.wire import from_record

MS = 1_000_000
THREE = {"failures": 3, "wait_ms": 1000}


def span(lo_ms: float, hi_ms: float | None = None) -> Interval:
    """[lo, hi], or an instant."""
    return Interval(round(lo_ms * MS), round((lo_ms if hi_ms is None else hi_ms) * MS))


def calls(*outcomes: str, begin_ms: int = 10, attempts: int = 1) -> list[Observation]:
    """Calls 20 ms apart, each 5 ms long; those let in are seen to arrive."""
    found: list[Observation] = []
    for number, how in enumerate(outcomes):
        at = begin_ms + 20 * number
        name = f"{begin_ms}-{number}"
        found.append(
            Call(
                "b", "i", name, span(at), span(at + 5), how, fallback=how != "ok", finish=span(at + 4, at + 5)
            )
        )
        if how != "rejected":
            found += [Arrival("b", "i", name, span(at + 1 + n), span(at + 4)) for n in range(attempts)]
    return found


def total(name: str, *reads: tuple[int, int], others: bool = True) -> list[Observation]:
    """A total read at (ms, value)."""
    return [Counter("b", "i", name, value, span(at, at + 1), others=others) for at, value in reads]


def rule(history: Sequence[Observation], which: str, **more: Any) -> RuleVerdict:
    """What a rule says of it."""
    (instance,) = verify(
        [Boot("i", span(0), "1"), *history], BreakerSpec.from_mapping({**THREE, **more})
    ).instances
    return instance.rules[which]


@pytest.mark.parametrize(
    ("name", "value", "others", "verdict"),
    [
        ("succeeded", 2, True, Verdict.PASS),
        ("succeeded", 1, True, Verdict.FAIL),
        ("succeeded", 3, True, Verdict.PASS),  # somebody else may have called
        ("succeeded", 3, False, Verdict.FAIL),
        ("failed", 1, True, Verdict.PASS),
        ("failed", 0, True, Verdict.FAIL),
        ("admitted", 3, False, Verdict.PASS),
        ("admitted", 2, False, Verdict.FAIL),
    ],
)
def test_breaker_total_holds_what_was_seen(name: str, value: int, others: bool, verdict: Verdict) -> None:
    """Too small is too small; too large is wrong only of a total that counts nothing but these calls."""
    seen = calls("ok", "failure", "ok")
    found = rule([*seen, *total(name, (1, 5), (200, 5 + value), others=others)], "R17")
    assert found.verdict is verdict, found.reason
    if verdict is Verdict.FAIL:
        assert f"the total of {name} grew by {value}" in found.reason


def test_breaker_total_of_calls_at_its_edge_may_be_either() -> None:
    """A call that ended while the total was read may be in it or not."""
    seen = calls("ok", "ok")
    for value in (1, 2):
        assert rule([*seen, *total("succeeded", (1, 0), (34, value))], "R17").verdict is Verdict.PASS


def test_breaker_total_of_attempts_inside_a_call_is_nobodys_to_say() -> None:
    """Two attempts on the wire may have been one call of the breaker, or two, one of them turned away."""
    seen = [*calls("ok"), *calls("failure", begin_ms=100, attempts=2)]
    for value in (0, 1, 2):
        assert (
            rule([*seen, *total("failed", (1, 0), (300, value), others=False)], "R17").verdict is Verdict.PASS
        )


def test_breaker_total_that_fell_leaves_the_question_open() -> None:
    """Whoever counts anew was started anew, and this history does not tell when."""
    found = rule([*calls("ok"), *total("succeeded", (1, 7), (200, 1))], "R17")
    assert found.verdict is Verdict.UNKNOWN
    assert "fell" in found.reason


def test_breaker_total_that_began_anew_takes_its_others_with_it() -> None:
    """Two were counted, the service was started anew, and has counted three of six by the next read: another total of it tells."""
    seen = calls(*["ok"] * 6)
    grown = total("succeeded", (1, 2), (400, 3))
    assert rule([*seen, *grown], "R17").verdict is Verdict.FAIL
    found = rule([*seen, *grown, *total("rejected", (2, 9), (401, 0))], "R17")
    assert found.verdict is Verdict.UNKNOWN, found.reason


@pytest.mark.parametrize(
    ("at", "verdict"), [(span(150, 180), Verdict.UNKNOWN), (span(900, 950), Verdict.FAIL)]
)
def test_breaker_total_that_could_not_be_read_may_have_begun_anew(at: Interval, verdict: Verdict) -> None:
    """Whoever did not answer between two reads may have been started in between; what happened later is no excuse."""
    history = [*calls(*["ok"] * 6), *total("succeeded", (1, 2), (400, 3)), Gap("totals", at, 1, "b", "i")]
    found = rule(history, "R17")
    assert found.verdict is verdict, found.reason
    if verdict is Verdict.UNKNOWN:
        assert "anew" in found.reason


def test_breaker_totals_of_two_sources_are_not_mixed() -> None:
    """A sidecar counts from another beginning than the service does: the difference of the two is nobody's growth."""
    far = [replace(each, source="envoy") for each in total("succeeded", (2, 100), (401, 106))]
    assert (
        rule([*calls(*["ok"] * 6), *total("succeeded", (1, 0), (400, 6)), *far], "R17").verdict
        is Verdict.PASS
    )
    opened = [
        *total("opened", (0, 1), (900, 1)),
        *(replace(e, source="envoy") for e in total("opened", (5, 7), (905, 7))),
    ]
    assert rule(opened, "R19", openings_max=2, horizon_ms=2000).verdict is Verdict.PASS


def test_breaker_total_of_one_instance_is_none_of_a_breaker_that_all_share() -> None:
    """What one instance counted leaves out the calls of the others."""
    one, two = calls("ok", "ok"), [replace(each, instance="j") for each in calls("ok", "ok", begin_ms=100)]
    report = verify(
        [*one, *two, *total("succeeded", (1, 0), (400, 2))],
        BreakerSpec.from_mapping({**THREE, "scope": "shared"}),
    )
    assert report.instances[0].rules["R17"].verdict is not Verdict.FAIL


def test_breaker_total_of_a_disabled_breaker_promises_nothing() -> None:
    """Resilience4j counts nothing while it is disabled."""
    switched = [
        Transition("b", "i", "closed", "disabled", span(5), "1", 1, manual=True),
        Transition("b", "i", "disabled", "closed", span(300), "1", 2, manual=True),
    ]
    found = rule([*switched, *calls("ok", "ok"), *total("succeeded", (6, 0), (200, 0))], "R17")
    assert found.verdict is not Verdict.FAIL, found.reason


def test_breaker_many_totals_are_compared_in_one_pass() -> None:
    """Every growth between two of two hundred reads is told right, and one that is wrong is found where it is."""
    seen = [entry for n in range(400) for entry in calls("ok", begin_ms=100 + 50 * n)]
    reads = [(95 + 100 * k, 2 * k) for k in range(201)]
    assert rule([*seen, *total("succeeded", *reads, others=False)], "R17").verdict is Verdict.PASS
    wrong = [(at, value - (k > 120)) for k, (at, value) in enumerate(reads)]
    found = rule([*seen, *total("succeeded", *wrong, others=False)], "R17")
    assert found.verdict is Verdict.FAIL
    assert found.witness is not None
    assert found.witness.window.lo_ns == (95 + 100 * 120) * MS


@pytest.mark.parametrize(
    ("reads", "verdict"),
    [
        ([(0, 3), (900, 6)], Verdict.FAIL),
        ([(0, 3), (900, 5)], Verdict.PASS),
        ([(0, 3), (500, 4), (900, 5), (1800, 7)], Verdict.FAIL),  # three within [500, 1801] ms
        ([(0, 3), (5000, 9)], Verdict.UNKNOWN),  # perhaps far from each other, and perhaps not
        ([(0, 3), (900, 5), (4000, 5), (4900, 7)], Verdict.PASS),  # two, and two long after
        ([(0, 9), (500, 0), (900, 2)], Verdict.PASS),  # it was started anew
    ],
)
def test_breaker_openings_that_a_total_counts_are_held_to_the_budget(
    reads: list[tuple[int, int]], verdict: Verdict
) -> None:
    """Three openings within two seconds, where two are allowed, whoever saw them: a total says that they were."""
    found = rule(total("opened", *reads), "R19", openings_max=2, horizon_ms=2000)
    assert found.verdict is verdict, found.reason
    if verdict is Verdict.FAIL:
        assert found.witness is not None
        assert "opened read at" in str(found.witness)


def test_breaker_total_lines_of_a_record_become_observations() -> None:
    """Only this breaker's, each by who told it; and that they could not be read for a while."""
    line = {
        "kind": "breaker.total",
        "breaker": "b",
        "instance": "i",
        "boot": None,
        "name": "rejected",
        "value": 3,
        "at": [1, 2],
        "source": "metrics",
        "others": True,
    }
    gap = {"kind": "gap", "source": "totals", "breaker": "b", "lost": 2, "at": [1, 2]}
    found = from_record(
        breaker="b",
        run_id="r",
        calls=[],
        totals=[line, {**line, "breaker": "c"}, {**line, "observer": "envoy"}],
        gaps=[gap],
    )
    told = Counter("b", "i", "rejected", 3, Interval(1, 2), others=True)
    assert found == [told, replace(told, source="envoy"), Gap("totals", Interval(1, 2), 2, "b")]
    assert parse_jsonl(dump_jsonl(found)) == found
