"""Long histories are judged stretch by stretch: the same verdicts, whatever it is cut into, in memory that does not grow with it."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from breaker_mutants import MUTANTS, Mutant, history_of
from breaker_random import random_world, spec_of
from breaker_repeated import Repeated
from breaker_world import MS, Answer, Model, S, World

from resilience.breaker.history import Arrival, Boot, Call, Counter, Gap, Interval, Observation, Transition
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.stretches import stretches, survey
from resilience.breaker.verify import verify

MODEL = Model(failures=3, wait_ns=500 * MS)
SPEC = BreakerSpec.from_mapping(spec_of(MODEL, 300))
PERIOD_NS = 8 * S


def episode(model: Model = MODEL) -> list[Observation]:
    """Seven seconds: calm, an outage that opens the breaker, a recovery, calm."""

    def dependency(number: int, now: int) -> Answer:
        ill = 2 * S < now < 3 * S
        return Answer((5 + number % 20) * MS, "failure" if ill else "ok")

    calls = [number * 20 * MS for number in range(350)]
    return World(model, dependency, calls, timeout_ns=300 * MS, hop_ns=(0, MS), poll_ns=250 * MS).run()


def cuts(history: list[Observation], spec: BreakerSpec, most: int) -> int:
    """How many stretches a history is judged in."""
    return len(list(stretches(history, spec, survey(history), most)))


def outline(report: BreakerReport) -> dict[tuple[str, str | None, str | None], tuple[object, ...]]:
    """Of each life: its path, its counts, and what the rules say."""
    return {
        (i.breaker, i.instance, i.boot): (
            i.states,
            i.observations,
            {name: rule.verdict for name, rule in i.rules.items()},
        )
        for i in report.instances
    }


def test_breaker_stretches_lead_to_the_verdict_on_the_whole() -> None:
    """Path, counts, verdicts and margins of six outages are those of one piece."""
    history = list(Repeated(episode(), times=6, period_ns=PERIOD_NS))
    assert cuts(history, SPEC, 600) >= 5
    whole, cut = verify(history, SPEC), verify(history, SPEC, most=600)
    assert outline(cut) == outline(whole)
    (before,), (after,) = whole.instances, cut.instances
    assert [step.at for step in after.path] == [step.at for step in before.path]
    assert after.path[-1].wire == before.path[-1].wire
    # A stretch begins with every state that a breaker can be in: more explanations for a moment, which R17 counts.
    margins = [{n: r.margin for n, r in i.rules.items() if n != "R17"} for i in (before, after)]
    assert margins[0] == margins[1]


@pytest.mark.parametrize(("every", "verdict"), [(1, Verdict.FAIL), (3, Verdict.PASS)])
def test_breaker_stretches_count_a_total_of_openings_over_the_whole(every: int, verdict: Verdict) -> None:
    """A total that grows by one in each stretch overruns a budget of two a horizon; one that grows in each third does not."""
    spec = BreakerSpec.from_mapping({**spec_of(MODEL, 300), "openings_max": 2, "horizon_ms": 8000})
    history: list[Observation] = [Boot("i1", Interval(0, 0), "b1")]
    for number in range(1000):
        at = number * 20 * MS
        started, ended = Interval(at, at), Interval(at + 5 * MS, at + 5 * MS)
        history.append(Call("b", "i1", str(number), started, ended, "ok"))
        history.append(Arrival("b", "i1", str(number), started, ended))
        if number % 50 == 0:
            value = number // 100 // every
            history.append(Counter("b", "i1", "opened", value, Interval(at, at + MS), "b1"))
    assert cuts(history, spec, 200) >= 5
    for most in (10_000, 200):
        (found,) = verify(history, spec, most=most).instances
        assert found.rules["R19"].verdict is verdict, (most, found.rules["R19"].reason)


@pytest.mark.parametrize("seed", [101, 110, 123])
def test_breaker_stretches_of_a_correct_breaker_find_no_fault(seed: int) -> None:
    """Whatever a random history is cut into: nothing fails, and nothing passes that the whole leaves open."""
    world, mapping = random_world(seed, calls_most=400)
    history, spec = world.run(), BreakerSpec.from_mapping(mapping)
    whole, cut = verify(history, spec), verify(history, spec, most=120)
    assert outline(whole).keys() == outline(cut).keys()
    for before, after in zip(whole.instances, cut.instances, strict=True):
        assert after.states == before.states
        for name, rule in after.rules.items():
            assert rule.verdict is not Verdict.FAIL, (name, rule.reason)
            assert rule.verdict is not Verdict.PASS or before.rules[name].verdict is Verdict.PASS


@pytest.mark.parametrize("mutant", MUTANTS[::12], ids=lambda mutant: mutant.name)
def test_breaker_stretches_catch_what_the_whole_catches(mutant: Mutant) -> None:
    """A mistake between two calm places is found between them."""
    history, spec = history_of(mutant)
    if verify(history, spec).verdict() == "fail":
        assert verify(history, spec, most=150).verdict() == "fail"


def test_breaker_stretches_keep_instances_apart() -> None:
    """A call that names nobody is nobody's, although only one instance is heard of in its stretch."""
    first = list(Repeated(episode(), times=2, period_ns=PERIOD_NS))
    other = replace_instance(Repeated(episode(), times=2, period_ns=PERIOD_NS), by_ns=2 * PERIOD_NS)
    nobody = [
        replace(entry, instance=None)
        if isinstance(entry, (Call, Arrival)) and entry.id.startswith("1.")
        else entry
        for entry in first
    ]
    report = verify([*nobody, *other], SPEC, most=600)
    assert report.verdict() != "fail"
    assert sum(i.observations["unattributed_calls"] for i in report.instances) >= 350


def replace_instance(history: Repeated, by_ns: int) -> Iterator[Observation]:
    """The same of another instance, later."""
    for entry in history:
        name = {} if isinstance(entry, Boot) else {"boot": "b2"}
        at = entry.start if isinstance(entry, Call) else entry.at  # type: ignore[union-attr]
        moved = Interval(at.lo_ns + by_ns, at.hi_ns + by_ns)
        if isinstance(entry, Call):
            assert entry.end is not None
            ends = {
                key: Interval(value.lo_ns + by_ns, value.hi_ns + by_ns)
                for key in ("end", "decision", "finish")
                if (value := getattr(entry, key)) is not None
            }
            yield replace(entry, instance="i2", id=f"o{entry.id}", start=moved, **name, **ends)
        elif isinstance(entry, Arrival):
            done = entry.done and Interval(entry.done.lo_ns + by_ns, entry.done.hi_ns + by_ns)
            yield replace(entry, instance="i2", id=f"o{entry.id}", at=moved, done=done, **name)
        elif isinstance(entry, Boot):
            yield replace(entry, instance="i2", at=moved, boot="b2")
        else:
            yield replace(entry, instance="i2", at=moved, **name)


def test_breaker_stretches_remember_what_was_lost() -> None:
    """Records lost in one of many stretches leave the rules open as they do in one piece."""
    history = list(Repeated(episode(), times=4, period_ns=PERIOD_NS))
    hole = Interval(2 * PERIOD_NS + 2 * S, 2 * PERIOD_NS + 2 * S + 100 * MS)
    kept = [e for e in history if not (isinstance(e, Transition) and hole.lo_ns <= e.at.lo_ns <= hole.hi_ns)]
    report = verify([*kept, Gap("events", hole)], SPEC, most=600)
    assert report.verdict() != "fail", report.reason()
    (instance,) = report.instances
    assert instance.rules["R2"].verdict is Verdict.UNKNOWN
    assert "truncated" in instance.rules["R2"].reason


def test_breaker_history_that_can_be_read_once_is_judged_like_any_other() -> None:
    """A generator is not taken for an empty history."""
    report = verify((entry for entry in episode()), SPEC)
    assert outline(report) == outline(verify(episode(), SPEC))
    assert report.instances


def test_breaker_stretches_keep_memory_from_growing() -> None:
    """Eight times as long a history, read from its source, takes no more memory than when the garbage is collected makes a difference of."""
    once = episode()

    def peak(times: int) -> int:
        gc.collect()
        tracemalloc.start()
        report = verify(Repeated(once, times, PERIOD_NS), SPEC, most=700)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert report.verdict() == "pass", report.reason()
        return most

    assert peak(16) < 2 * peak(2)
