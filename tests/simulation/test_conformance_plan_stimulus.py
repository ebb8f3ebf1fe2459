"""The active stimulus on virtual time: it exercises every rule, ends on its own, and exposes every mutant, adaptively."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from breaker_random import spec_of
from breaker_world import MS, Model, S
from stimulus_world import Stage

from resilience.breaker.history import Arrival, Call
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify
from resilience.load.stimulus import stimulus

CORRECT = Model(failures=3, wait_ns=S, permitted=1, successes=2)
SLOW_LIMIT_MS = 1500
# Mistakes of the model breaker, and what lets some of them show.
MISTAKES = [
    "opens_late",
    "opens_early",
    "never_opens",
    "cumulative",
    "wait_short",
    "wait_long",
    "wait_from_call_start",
    "rejection_restarts_wait",
    "late_failure_restarts_wait",
    "leaks",
    "never_half_opens",
    "open_to_closed",
    "one_probe_more",
    "unlimited_probes",
    "slot_leaks",
    "slot_leaks_on_cancelled",
    "closes_early",
    "closes_late",
    "never_closes",
    "failure_ignored",
    "successes_survive",
    "stale_success_closes",
    "stale_failure_reopens",
    "cancel_is_failure",
    "cancel_is_success",
    "count_survives",
    "gauge_wrong",
    "timer_entry",
    "ignores_minimum",
    "backoff_forgotten",
]
NEEDED: dict[str, dict[str, Any]] = {
    "ignores_minimum": {"window": 6, "ratio": 0.5, "minimum": 5},
    "backoff_forgotten": {"backoff": 2.0},
}
# What only the wire's siblings can see; the same three as under any other traffic.
WIRE_SURVIVORS = {"cancel_is_success", "gauge_wrong", "timer_entry"}


def played(
    model: Model, timeout_ms: int | None = SLOW_LIMIT_MS, *, wire: bool = False, **stage: Any
) -> tuple[Stage, BreakerReport]:
    """The stimulus made for a specification, played against a model that may break it, and the verdicts."""
    spec = BreakerSpec.from_mapping(spec_of(replace(model, bugs=frozenset()), timeout_ms))
    scene = Stage(model, timeout_ns=None if timeout_ms is None else timeout_ms * MS, **stage)
    history = scene.play(stimulus(spec))
    return scene, verify([e for e in history if not wire or isinstance(e, (Call, Arrival))], spec)


def rules(report: BreakerReport, verdict: Verdict) -> set[str]:
    """Ids of the rules with a verdict."""
    return {r.rule for i in report.instances for r in i.rules.values() if r.verdict is verdict}


@pytest.mark.parametrize("successes", [1, 2])
@pytest.mark.parametrize("failures", [1, 3])
@pytest.mark.parametrize("jitter_ms", [0, 3])
def test_stimulus_exercises_every_rule_on_the_wire_alone(
    failures: int, successes: int, jitter_ms: int
) -> None:
    """A correct breaker passes R2 to R16 without a single event or poll."""
    model = replace(CORRECT, failures=failures, successes=successes)
    _, report = played(model, wire=True, jitter_ns=jitter_ms * MS)
    assert rules(report, Verdict.FAIL) == set()
    open_ones = rules(report, Verdict.UNKNOWN) - {"R1", "R17", "R18", "R19", "R20"}
    # A breaker that opens at the first failure has no count that could survive, or be broken off by a cancelled call.
    assert open_ones <= ({"R12", "R14", "R9", "R13"} if failures == 1 else set())


def test_stimulus_takes_less_than_forty_seconds() -> None:
    """With a wait of one second; most of it is waiting for waits."""
    scene, _ = played(CORRECT)
    assert scene.now < 40 * S
    assert scene.sent < 600


@pytest.mark.parametrize("wait_ms", [100, 200, 400])
@pytest.mark.parametrize("standstills", [0, 2])
def test_stimulus_tells_short_waits_even_from_a_machine_that_stands_still(
    wait_ms: int, standstills: int
) -> None:
    """The end of the wait is crossed again until calls came about it: R5 and R6 are settled by the wire alone."""
    model = replace(CORRECT, wait_ns=wait_ms * MS)
    scene, report = played(model, 900, wire=True, standstills=standstills)
    assert scene.standstills == 0
    assert {"R5", "R6"} <= rules(report, Verdict.PASS)
    assert rules(report, Verdict.FAIL) == set()


def test_stimulus_says_what_a_short_time_limit_keeps_it_from() -> None:
    """A call cannot outlast the wait: those parts are skipped with the reason, and R13 stays open."""
    scene, report = played(CORRECT, 300)
    skipped = {part.name: part.skipped for part in scene.parts if part.skipped}
    assert set(skipped) == {
        "a slow success from closed to half-open",
        "a slow failure from closed to half-open",
    }
    assert all("time limit" in why for why in skipped.values())
    assert not any(part.ended_early for part in scene.parts)
    assert rules(report, Verdict.FAIL) == set()
    assert "R13" in rules(report, Verdict.UNKNOWN)


@pytest.mark.parametrize(
    "changes",
    [
        {"permitted": None, "stale": "counted", "successes": 1},
        {"window": 10, "ratio": 0.5, "minimum": 5, "permitted": 3},
        {"window": 4, "ratio": 1.0, "minimum": 4, "successes": 1},
        {"entry": "timer"},
        {"backoff": 2.0},
        {"cancelled_as": "failure"},
        {"late_failure_restarts_wait": True, "stale": "counted"},
    ],
    ids=str,
)
@pytest.mark.parametrize("cancels", [True, False])
def test_stimulus_spares_correct_breakers_of_every_kind(changes: dict[str, Any], cancels: bool) -> None:
    """Adaptive traffic, whatever the breaker, is no reason to fail it; also if its service ignores that a caller left."""
    scene, report = played(replace(CORRECT, **changes), cancels=cancels)
    assert rules(report, Verdict.FAIL) == set()
    assert scene.parts[-1].name == "recovery"


@pytest.mark.parametrize("bug", MISTAKES)
def test_stimulus_exposes_every_mutant(bug: str) -> None:
    """Each is caught, by the wire alone unless listed, and no mutant keeps the script from ending."""
    model = replace(CORRECT, **NEEDED.get(bug, {}), bugs=frozenset({bug}))
    scene, by_wire = played(model, wire=True)
    assert bool(rules(by_wire, Verdict.FAIL)) == (bug not in WIRE_SURVIVORS)
    assert scene.now < 70 * S
    if bug in WIRE_SURVIVORS - {"gauge_wrong"}:  # nobody polls here
        assert rules(played(model)[1], Verdict.FAIL)


def test_stimulus_ends_early_without_a_breaker() -> None:
    """What never opens is tried once, thoroughly, and not asked again."""
    scene, report = played(replace(CORRECT, bugs=frozenset({"never_opens"})), wire=True)
    assert scene.parts[-1].skipped == "the breaker was never seen to open"
    assert scene.parts[-1].ended_early
    assert "R3" in rules(report, Verdict.FAIL)


def test_stimulus_of_what_promises_never_to_open_comes_to_its_end() -> None:
    """It was given everything that there is to give: nothing is missing."""
    stage = Stage(replace(CORRECT, bugs=frozenset({"never_opens"})))
    stage.play(stimulus(BreakerSpec.from_mapping({"dialect": "none"})))
    assert stage.parts[-1].skipped == "the breaker was never seen to open"
    assert not stage.parts[-1].ended_early


def test_stimulus_gives_up_on_a_breaker_that_stays_shut() -> None:
    """What never half-opens is given time, also in silence, and then left alone."""
    scene, report = played(replace(CORRECT, bugs=frozenset({"never_half_opens"})), wire=True)
    assert "stays shut" in scene.parts[-1].skipped
    assert scene.parts[-1].ended_early
    assert rules(report, Verdict.FAIL)
