"""Several instances, lost records, hands on the switch: what is not known for certain only ever weakens a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest
from breaker_random import random_world
from breaker_stimulus import CORRECT, spec_for, stimulus
from breaker_world import MS, Answer, Model, S, World

from resilience.breaker.history import Arrival, Boot, Call, Gap, Interval, Observation, State, Transition
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify


def played(seed: int, name: str) -> list[Observation]:
    """One instance of a correct breaker under its own traffic; no two calls of the fleet share an id."""
    world = stimulus(CORRECT, hop_ms=2, seed=seed)
    world.instance = name
    return [replace(e, id=f"{name}-{e.id}") if isinstance(e, (Call, Arrival)) else e for e in world.run()]


def nameless(history: list[Observation]) -> list[Observation]:
    """The same behind one address: callers and tap do not know which instance it was."""
    return [
        replace(e, instance=None) if isinstance(e, (Call, Arrival, Transition, State)) else e for e in history
    ]


def verdicts(report: BreakerReport, verdict: Verdict) -> set[str]:
    """The rules with a verdict in any instance."""
    return {r.rule for i in report.instances for r in i.rules.values() if r.verdict is verdict}


FLEET = [*played(1, "i1"), *played(2, "i2")]


def test_breaker_two_attributed_instances_pass() -> None:
    """With their names two breakers are judged apart: no false alarm, and the fleet's rule is exercised."""
    report = verify(FLEET, BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert [i.instance for i in report.instances] == ["i1", "i2"]
    assert verdicts(report, Verdict.FAIL) == set()
    assert "R20" in verdicts(report, Verdict.PASS)


@pytest.mark.parametrize("told_by", ["boots", "specification", "events"])
def test_breaker_two_nameless_instances_are_unattributed(told_by: str) -> None:
    """Without names nothing fails and nothing passes: the reason says that calls cannot be given to an instance."""
    spec = spec_for(CORRECT)
    history = nameless(FLEET)
    if told_by == "specification":
        spec = {**spec, "instances": 2}
        history = [e for e in history if not isinstance(e, Boot)]
    elif told_by == "events":
        events = [e for e in FLEET if isinstance(e, Transition)]
        history = [e for e in history if not isinstance(e, (Boot, Transition, State))] + events
    report = verify(history, BreakerSpec.from_mapping(spec))
    assert verdicts(report, Verdict.FAIL) == set()
    decided = verdicts(report, Verdict.PASS)
    # Events that name their instance still speak for themselves.
    assert decided <= ({"R1", "R5", "R20"} if told_by == "events" else set())
    reasons = {i.rules["R4"].reason for i in report.instances} | {
        i.rules["R8"].reason for i in report.instances
    }
    assert any("unattributed" in reason for reason in reasons), reasons


def test_breaker_single_nameless_instance_is_judged() -> None:
    """One instance needs no name, even where its boot is told under one."""
    report = verify(nameless(played(1, "i1")), BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert verdicts(report, Verdict.FAIL) == set()
    assert {"R2", "R3", "R4", "R5"} <= verdicts(report, Verdict.PASS)


def test_breaker_fleet_counts_probes_of_all_instances() -> None:
    """Two instances that each let two probes pass are four at once where two are permitted."""
    bad = replace(CORRECT, bugs=frozenset({"unlimited_probes"}))
    history: list[Observation] = []
    for name in ("i1", "i2"):
        world = stimulus(bad)
        world.instance = name
        history += [
            replace(e, id=f"{name}-{e.id}") if isinstance(e, (Call, Arrival)) else e for e in world.run()
        ]
    rule = verify(history, BreakerSpec.from_mapping(spec_for(CORRECT))).instances[0].rules["R20"]
    assert rule.verdict is Verdict.FAIL
    assert "2 are permitted" in rule.reason


def lost(history: list[Observation], begin: int, end: int) -> list[Observation]:
    """Every record of calls and wire within a time is gone, and a gap says so."""
    kept = [
        e
        for e in history
        if not (isinstance(e, Call) and begin <= e.start.lo_ns <= end)
        and not (isinstance(e, Arrival) and begin <= e.at.lo_ns <= end)
    ]
    return [*kept, Gap("wire", Interval(begin, end)), Gap("calls", Interval(begin, end))]


@pytest.mark.parametrize("begin_ms", [400, 1500, 4000, 9000, 20_500])
def test_breaker_lost_records_leave_a_correct_breaker_without_blame(begin_ms: int) -> None:
    """Whatever was lost, nothing fails; rules over the whole history are open and name the time."""
    history = lost(stimulus(CORRECT, hop_ms=1).run(), begin_ms * MS, begin_ms * MS + 700 * MS)
    report = verify(history, BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert verdicts(report, Verdict.FAIL) == set()
    assert "truncated" in report.instances[0].rules["R3"].reason


def test_breaker_mistake_after_lost_records_is_still_found() -> None:
    """The history is explained anew after a gap: what follows it can fail."""
    wrong = replace(CORRECT, bugs=frozenset({"opens_late"}))
    history = lost(stimulus(wrong).run(), 100 * MS, 400 * MS)
    report = verify(history, BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert "R3" in verdicts(report, Verdict.FAIL)


@pytest.mark.parametrize("seed", range(6))
def test_breaker_random_losses_never_fail(seed: int) -> None:
    """Random correct breakers with a random gap in their records."""
    world, mapping = random_world(700 + seed)
    history = world.run()
    last = max(world.calls)
    begin = last * (seed + 1) // 8
    report = verify(lost(history, begin, begin + last // 10), BreakerSpec.from_mapping(mapping))
    assert verdicts(report, Verdict.FAIL) == set(), mapping


def by_hand(*hands: tuple[int, str]) -> World:
    """A correct breaker under steady traffic that somebody switches."""
    calls = [k * 20 * MS for k in range(1, 200)]
    return World(Model(failures=3), lambda *_: Answer(5 * MS, "ok"), calls, by_hand=hands)


def test_breaker_forced_open_and_disabled_are_followed() -> None:
    """Reported as made by hand, forced open turns every call away and disabled lets every call pass, unblamed."""
    world = by_hand((S, "forced_open"), (2 * S, "disabled"), (3 * S, "closed"))
    report = verify(world.run(), BreakerSpec.from_mapping({"failures": 3, "wait_ms": 1000}))
    assert verdicts(report, Verdict.FAIL) == set()
    assert {"R1", "R17"} <= verdicts(report, Verdict.PASS)


def test_breaker_switched_by_hand_without_a_report_is_inexplicable() -> None:
    """Unreported, the rejections of a forced-open breaker are held against it; declared possible, they are not judged."""
    history = [
        e for e in by_hand((S, "forced_open"), (2 * S, "closed")).run() if not isinstance(e, Transition)
    ]
    spec = {"failures": 3, "wait_ms": 500}
    assert "R17" in verdicts(verify(history, BreakerSpec.from_mapping(spec)), Verdict.FAIL)
    possible = verify(history, BreakerSpec.from_mapping({**spec, "manual": "possible"}))
    assert verdicts(possible, Verdict.FAIL) == set()
    assert "by hand" in possible.instances[0].rules["R2"].reason
