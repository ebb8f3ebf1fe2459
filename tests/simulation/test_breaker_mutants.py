"""Faulty breakers, one mistake each: every one is caught with a witness by the evidence that can see it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from breaker_stimulus import CORRECT, MUTANTS, spec_for, stimulus
from breaker_world import only

from resilience.breaker.history import Arrival, Call, Observation, State, Transition
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

# What the wire alone cannot tell, with the reason. Whatever is not listed is caught by the wire alone.
WIRE_SURVIVORS = {
    "stale_success_closes": "closing early lets nothing in that a half-open breaker would not have",
    "cancel_is_success": "closing one success early shows only under a failure that comes just then",
    "gauge_wrong": "only a reader of the gauge sees it",
    "timer_entry": "half-open without a call is not on the wire",
}
# What the transitions alone show: their order and their distance.
CAUGHT_BY_EVENTS = {
    "wait_short",
    "wait_from_call_start",
    "open_to_closed",
    "stale_success_closes",
    "backoff_forgotten",
}


@cache
def judge(bug: str | None, *kinds: type, hop_ms: int = 0) -> BreakerReport:
    """Verdicts on one mutant (None: the correct breaker) by some kinds of evidence (none named: by all)."""
    changes = MUTANTS[bug] if bug else {}
    model = replace(CORRECT, **changes, bugs=frozenset({bug} if bug else ()))
    history: list[Observation] = stimulus(model, hop_ms=hop_ms).run()
    spec = BreakerSpec.from_mapping(spec_for(model))
    return verify(only(history, *kinds) if kinds else history, spec)


def failed(report: BreakerReport) -> set[str]:
    """Ids of the failing rules; each must have a witness that a person can read."""
    rules = [rule for instance in report.instances for rule in instance.rules.values()]
    assert not [rule for rule in rules if "checker error" in rule.reason]
    bad = [rule for rule in rules if rule.verdict is Verdict.FAIL]
    for rule in bad:
        assert rule.witness is not None
        assert 0 < len(rule.witness.lines) <= 12
    return {rule.rule for rule in bad}


@pytest.mark.parametrize("hop_ms", [0, 5])
def test_breaker_mutants_spare_the_correct_one(hop_ms: int) -> None:
    """The workload that exposes every mutant finds nothing wrong with a correct breaker, under jitter too."""
    assert failed(judge(None, hop_ms=hop_ms)) == set()


def test_breaker_stimulus_exercises_every_rule() -> None:
    """No rule that applies is left unexercised by the workload."""
    report = judge(None)
    silent = {r.rule for r in report.instances[0].rules.values() if r.verdict is not Verdict.PASS}
    assert silent == {"R18", "R19", "R20"}  # no back-off, no budget, no fleet


@pytest.mark.parametrize("bug", MUTANTS)
def test_breaker_mutant_is_caught_by_all_evidence(bug: str) -> None:
    """Wire, events and polls together catch every mutant."""
    assert failed(judge(bug))


@pytest.mark.parametrize("bug", MUTANTS)
def test_breaker_mutant_is_caught_by_the_wire_alone_unless_listed(bug: str) -> None:
    """What callers and tap saw catches all mutants but those that it cannot see."""
    caught = bool(failed(judge(bug, Call, Arrival)))
    assert caught == (bug not in WIRE_SURVIVORS), WIRE_SURVIVORS.get(bug)


@pytest.mark.parametrize("bug", MUTANTS)
def test_breaker_mutant_is_caught_by_events_alone_where_listed(bug: str) -> None:
    """Transitions alone catch what breaks the order or the distance of transitions."""
    assert bool(failed(judge(bug, Transition))) == (bug in CAUGHT_BY_EVENTS)


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        ("opens_early", "R2"),
        ("opens_late", "R3"),
        ("leaks", "R4"),
        ("wait_short", "R5"),
        ("wait_long", "R6"),
        ("rejection_restarts_wait", "R7"),
        ("one_probe_more", "R8"),
        ("slot_leaks", "R9"),
        ("closes_early", "R10"),
        ("failure_ignored", "R11"),
        ("count_survives", "R12"),
        ("stale_failure_reopens", "R13"),
        ("cancel_is_failure", "R14"),
        ("gauge_wrong", "R17"),
        ("backoff_forgotten", "R18"),
    ],
)
def test_breaker_mutant_fails_the_rule_it_breaks(bug: str, rule: str) -> None:
    """The rule that a mutant breaks is among those that fail."""
    assert rule in failed(judge(bug))


def test_breaker_blame_names_the_parameter_that_explains() -> None:
    """A breaker with another threshold is told by its threshold."""
    report = judge("opens_late", Call, Arrival)
    assert report.instances[0].rules["R3"].blame == ("holds if failures = 4",)


def test_breaker_slow_rejections_fail_fast_failure() -> None:
    """Rejections that all take longer than the bound fail R15, and no other rule."""
    world = stimulus(CORRECT)
    world.slow_rejection_ns = 200_000_000
    report = verify(world.run(), BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert failed(report) == {"R15"}


def test_breaker_missing_fallback_fails_fallback() -> None:
    """Rejections without the fallback's answer fail R16."""
    world = stimulus(CORRECT)
    world.fallback_missing = True
    report = verify(world.run(), BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert failed(report) == {"R16"}


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_breaker_missing_event_fails(lost: int) -> None:
    """A transition that was not reported is noticed: the next one does not start where the last ended."""
    world = stimulus(CORRECT)
    world.drop_events = frozenset({lost})
    report = verify(world.run(), BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert failed(report) & {"R1", "R17"}


def test_breaker_polls_alone_decide_nothing_they_cannot_see() -> None:
    """Polls alone leave every rule about calls open."""
    rules = judge(None, State).instances[0].rules
    assert rules["R4"].verdict is Verdict.UNKNOWN
    assert rules["R8"].verdict is Verdict.UNKNOWN
