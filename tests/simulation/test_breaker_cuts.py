"""Where a long history must not be cut: what the whole of it explains, no part of it may call a fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from breaker_world import MS, S

from resilience.breaker.history import Arrival, Boot, Call, Counter, Gap, Interval, Observation, Transition
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.stretches import begin_of, stretches, survey
from resilience.breaker.verify import verify

WRITTEN = {"failures": 3, "wait_ms": 500, "permitted": 1, "successes": 1}
SPEC = BreakerSpec.from_mapping(WRITTEN)


def at(ns: int) -> Interval:
    """An instant that is known exactly."""
    return Interval(ns, ns)


def call(name: str, start: int, outcome: str = "ok", *, lasts: int = 5 * MS, instance: str = "a") -> Call:
    """One call; by default a good one that takes 5 ms."""
    return Call("b", instance, f"{instance}.{name}", at(start), at(start + lasts), outcome)


def calm(name: str, start: int, n: int = 100, **more: Any) -> list[Call]:
    """Good calls, one every 20 ms."""
    return [call(f"{name}{i}", start + i * 20 * MS, **more) for i in range(n)]


def episode(
    number: int, start: int, *, instance: str = "a", told: Sequence[int] = (0, 1, 2), late: int = 0
) -> list[Observation]:
    """Calm for 2 s, three failures, open for half a second, a probe, calm for 2 s; `told`: which of its three changes are reported."""
    ill = start + 2 * S
    probe = ill + 560 * MS
    history: list[Observation] = [*calm(f"{number}.c", start, instance=instance)]
    history += [call(f"{number}.f{i}", ill + i * 20 * MS, "failure", instance=instance) for i in range(3)]
    history += [
        call(f"{number}.r{i}", ill + (60 + i * 20) * MS, "rejected", lasts=MS, instance=instance)
        for i in range(22)
    ]
    history += [call(f"{number}.p", probe, instance=instance)]
    history += calm(f"{number}.d", probe + 20 * MS, instance=instance)
    changes = (
        ("closed", "open", ill + 45 * MS),
        ("open", "half_open", probe),
        ("half_open", "closed", probe + 5 * MS),
    )
    history += [
        Transition("b", instance, before, after, at(when + late), seq=3 * number + place)
        for place, (before, after, when) in enumerate(changes)
        if place in told
    ]
    return history


def of_life(entry: Observation, boot: str) -> Observation:
    """The same, said by an instance that tells its lives apart."""
    assert isinstance(entry, (Call, Transition))
    return replace(entry, boot=boot)


def judged(
    history: Sequence[Observation], spec: BreakerSpec, most: int, *, least: int = 2
) -> tuple[BreakerReport, BreakerReport]:
    """The report on the whole, and that on the same cut into at least so many stretches."""
    history = sorted(history, key=begin_of)
    assert len(list(stretches(history, spec, survey(history), most))) >= least
    return verify(history, spec), verify(history, spec, most=most)


def faults(report: BreakerReport) -> list[tuple[str | None, str]]:
    """Which rules failed in which instance."""
    return [
        (i.instance, n) for i in report.instances for n, r in i.rules.items() if r.verdict is Verdict.FAIL
    ]


def test_breaker_cut_leaves_no_call_out_that_ends_in_the_trouble_after_it() -> None:
    """A good call of five seconds ends between failures and breaks their row, wherever it began."""
    history: list[Observation] = [*calm("c", 0, 300), call("long", S, lasts=5 * S + 25 * MS)]
    history += [call(f"f{i}", 6 * S + after * MS, "failure") for i, after in enumerate((0, 10, 40))]
    history += calm("d", 6 * S + 60 * MS, 300)
    whole, cut = judged(history, SPEC, 250)
    assert faults(whole) == faults(cut) == []


def test_breaker_cut_never_comes_between_a_change_and_its_late_report() -> None:
    """Reports may come three seconds late, and come two: the calm in between is not without a change."""
    spec = BreakerSpec.from_mapping({**WRITTEN, "event_delay_ms": 3000})
    history = [*episode(0, 0, late=2 * S), *calm("x", 5 * S, 400), *episode(1, 14 * S, late=2 * S)]
    whole, cut = judged(history, spec, 150)
    assert faults(whole) == faults(cut) == []


def test_breaker_cut_asks_no_reports_of_an_instance_whose_peer_makes_them() -> None:
    """Only one of two instances is listened to: the other one's openings are judged by its calls, in stretches as in one piece."""
    history = [*episode(0, 0), *episode(1, 6 * S)]
    history += [*episode(0, 100 * MS, instance="z", told=()), *episode(1, 6100 * MS, instance="z", told=())]
    whole, cut = judged(history, SPEC, 500)
    assert faults(whole) == faults(cut) == []
    assert [i.rules["R4"].verdict for i in cut.instances] == [Verdict.PASS, Verdict.PASS]


def test_breaker_cut_asks_for_the_reports_of_a_life_that_made_some_elsewhere() -> None:
    """Who reported one opening and kept silent about the next one, in another stretch, failed to report it."""
    whole, cut = judged([*episode(0, 0), *episode(1, 6 * S, told=()), *calm("x", 12 * S)], SPEC, 250)
    assert ("a", "R17") in faults(whole)
    assert ("a", "R17") in faults(cut)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_breaker_cut_hides_no_missing_number_of_a_report(lost: int) -> None:
    """A report that was lost on its way is missing in the stretch where it was made, and not held against the breaker."""
    kept = [place for place in range(3) if place != lost]
    whole, cut = judged([*episode(0, 0), *episode(1, 6 * S, told=kept), *episode(2, 12 * S)], SPEC, 250)
    names = [*whole.instances[0].rules]
    assert faults(whole) == []
    assert [r.verdict for r in cut.instances[0].rules.values()] == [
        whole.instances[0].rules[n].verdict for n in names
    ]


def test_breaker_cut_never_comes_while_the_breaker_is_switched_off() -> None:
    """However calm it is: that it is switched off is why later failures do not open it."""
    off = Transition("b", "a", "closed", "disabled", at(107 * MS), manual=True)
    failures = [call(f"f{i}", 6 * S + i * 20 * MS, "failure") for i in range(10)]
    history: list[Observation] = [off, *calm("c", 0, 300), *failures, *calm("d", 6300 * MS, 300)]
    whole, cut = judged(history, SPEC, 250, least=1)
    assert faults(whole) == faults(cut) == []


@pytest.mark.parametrize("told", [True, False])
def test_breaker_cut_comes_again_after_a_life_that_ended_open(told: bool) -> None:
    """An instance that was restarted while it was open does not keep everything after it in memory, however we know of it."""
    first = [e for e in episode(0, 0, told=[0]) if begin_of(e) < 2400 * MS]
    second = calm("x", 3 * S, 800)
    if told:
        history: list[Observation] = [*first, Boot("a", at(2900 * MS)), *second]
    else:
        history = [of_life(entry, "1") for entry in first] + [of_life(entry, "2") for entry in second]
    judged(history, SPEC, 250, least=3)


@pytest.mark.parametrize("total", ["succeeded", "admitted"])
def test_breaker_cut_counts_calls_that_run_across_it_on_neither_side_alone(total: str) -> None:
    """Totals read while a call of the other stretch is running are not held against the calls of one stretch."""
    calls = [*calm("c", 0, 400, lasts=70 * MS), *calm("d", 8200 * MS, 300, lasts=70 * MS)]
    failed = [call(f"f{i}", 8100 * MS + i * 20 * MS, "failure") for i in range(2)]
    history: list[Observation] = [*calls, *failed]
    for now in range(11 * MS, 13 * S, 25 * MS):
        if total == "succeeded":
            value = sum(1 for c in calls if c.end is not None and c.end.hi_ns < now)
        else:
            value = sum(1 for c in (*calls, *failed) if c.start.lo_ns < now)
        history.append(Counter("b", "a", total, value, at(now)))
    whole, cut = judged(history, SPEC, 600)
    assert faults(whole) == faults(cut) == []
    wrong = [
        replace(e, value=e.value + 9) if isinstance(e, Counter) and e.at.lo_ns > 6 * S else e for e in history
    ]
    assert faults(judged(wrong, SPEC, 600)[1]) == [("a", "R17")]


def test_breaker_cut_passes_no_rule_that_is_tested_for_half_of_what_it_says() -> None:
    """Cancelled calls were told from failures in one stretch, excluded ones in none: what counts as a failure was not tested."""
    ill = 2 * S
    kinds = ("failure", "cancelled", "failure", "cancelled", "failure")
    first = [*calm("c", 0), *(call(f"f{i}", ill + i * 20 * MS, kind) for i, kind in enumerate(kinds))]
    first += [call(f"r{i}", ill + (100 + i * 20) * MS, "rejected", lasts=MS) for i in range(24)]
    first += [
        call("p", ill + 600 * MS, "cancelled"),
        call("q", ill + 610 * MS),
        *calm("d", ill + 640 * MS, 300),
    ]
    history = [*first, call("e", 10 * S, "excluded"), *calm("g", 10020 * MS, 300)]
    whole, cut = judged(first, SPEC, 200)
    assert [r.instances[0].rules["R14"].verdict for r in (whole, cut)] == [Verdict.PASS] * 2
    whole, cut = judged(history, SPEC, 200)
    assert [r.instances[0].rules["R14"].verdict for r in (whole, cut)] == [Verdict.UNKNOWN] * 2


def test_breaker_cut_leaves_each_arrival_with_its_call() -> None:
    """Stamps of the wire that may be earlier than the call's own lose no arrival to nobody, and no gap is counted twice."""
    calls = [
        e for number in range(3) for e in episode(number, number * 6 * S, told=()) if isinstance(e, Call)
    ]
    let_in = [c for c in calls if c.outcome != "rejected"]
    seen = [Arrival("b", "a", c.id, Interval(c.start.lo_ns - 2 * MS, c.start.lo_ns + 2 * MS)) for c in let_in]
    whole, cut = judged([*calls, *seen, Gap("polls")], SPEC, 250)
    assert cut.instances[0].observations == whole.instances[0].observations
    assert cut.instances[0].observations["arrivals"] == len(let_in)
    assert cut.instances[0].observations["gaps"] == 1
