"""Properties over random correct breakers: no false alarm, and less certainty never makes a verdict worse than unknown.

BREAKER_RUNS in the environment sets how many breakers are tried at full length (default 12); many more are tried briefly, and
`make soundness` tries 10,000.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest
from breaker_mutants import MUTANTS, Mutant, history_of
from breaker_random import random_world
from breaker_world import MS, only

from resilience.breaker.history import Arrival, Call, Interval, Observation, State, Transition
from resilience.breaker.report import Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

RUNS = int(os.environ.get("BREAKER_RUNS", "12"))
EVIDENCE = {"all": (), "wire": (Call, Arrival), "events": (Transition, State)}


def verdicts(history: list[Observation], spec: BreakerSpec) -> dict[str, Verdict]:
    """Rule ids to verdicts of the only instance."""
    report = verify(history, spec)
    return {r.rule: r.verdict for i in report.instances for r in i.rules.values()}


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("batch", range(3))
def test_breaker_correct_never_fails(evidence: str, batch: int) -> None:
    """Random correct breakers under random workloads and jitter: no rule fails by any evidence, no checker crashes."""
    for seed in range(batch * RUNS // 3, (batch + 1) * RUNS // 3):
        world, mapping = random_world(seed)
        history = world.run()
        kinds = EVIDENCE[evidence]
        report = verify(only(history, *kinds) if kinds else history, BreakerSpec.from_mapping(mapping))
        for instance in report.instances:
            for rule in instance.rules.values():
                assert rule.verdict is not Verdict.FAIL, (seed, mapping, rule.reason, rule.witness)
                assert "checker error" not in rule.reason, (seed, rule.reason)


@pytest.mark.parametrize("batch", range(6))
def test_breaker_correct_never_fails_briefly(batch: int) -> None:
    """Hundreds of random correct breakers under sixty calls each."""
    for seed in range(100_000 + batch * 40, 100_000 + (batch + 1) * 40):
        world, mapping = random_world(seed, calls_most=60)
        history = world.run()
        for kinds in EVIDENCE.values():
            report = verify(only(history, *kinds) if kinds else history, BreakerSpec.from_mapping(mapping))
            wrong = [r for i in report.instances for r in i.rules.values() if r.verdict is Verdict.FAIL]
            assert wrong == [], (seed, mapping)


# Worlds that once made a rule fail: stalls that stretch calls, windows that trip on a success, few rejections.
REGRESSIONS = (3058, 4169, 5075, 6047, 6152)


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("seed", REGRESSIONS)
def test_breaker_correct_never_fails_again(evidence: str, seed: int) -> None:
    """Worlds that found a false alarm stay quiet."""
    world, mapping = random_world(seed)
    history = world.run()
    kinds = EVIDENCE[evidence]
    found = verdicts(only(history, *kinds) if kinds else history, BreakerSpec.from_mapping(mapping))
    assert [rule for rule, verdict in found.items() if verdict is Verdict.FAIL] == []


def widened(history: list[Observation], rng: random.Random, most_ns: int) -> list[Observation]:
    """The same history, known less exactly: every interval grows by random amounts."""

    def wide(at: Interval) -> Interval:
        return Interval(at.lo_ns - rng.randint(0, most_ns), at.hi_ns + rng.randint(0, most_ns))

    found: list[Observation] = []
    for entry in history:
        if isinstance(entry, Call):
            finish = wide(entry.finish) if entry.finish else None
            end = wide(entry.end) if entry.end else None
            found.append(replace(entry, start=wide(entry.start), end=end, finish=finish))
        elif isinstance(entry, Arrival):
            found.append(replace(entry, at=wide(entry.at), done=wide(entry.done) if entry.done else None))
        elif isinstance(entry, (Transition, State)):
            found.append(replace(entry, at=wide(entry.at)))
        else:
            found.append(entry)
    return found


BLURRED = {"dwell_forgotten", "exclude_is_success"}  # whose mistake a blur of 10 or 25 ms hides


@pytest.mark.parametrize(
    "mutant",
    [None, *MUTANTS[::9], *(m for m in MUTANTS if m.name in BLURRED)],
    ids=lambda m: m.name if m else "correct",
)
@pytest.mark.parametrize("most_ms", [3, 25])
def test_breaker_widening_only_moves_verdicts_to_unknown(mutant: Mutant | None, most_ms: int) -> None:
    """Knowing less, a rule keeps its verdict or becomes UNKNOWN: none appears, nothing gets certain.

    Only R17 may go from FAIL to PASS: it says whether the evidence contradicts itself, and blurred evidence may not.
    """
    history, spec = history_of(mutant)
    exact = verdicts(history, spec)
    loose = verdicts(widened(history, random.Random(7), most_ms * MS), spec)
    moved = {rule: (exact[rule], loose[rule]) for rule in exact if loose[rule] is not exact[rule]}
    odd = {rule for rule, (_, after) in moved.items() if after is not Verdict.UNKNOWN}
    assert odd <= ({"R17"} if moved.get("R17") == (Verdict.FAIL, Verdict.PASS) else set()), moved


def test_breaker_widening_without_end_leaves_everything_open() -> None:
    """Intervals as long as the history prove nothing: no rule about order or time passes or fails."""
    world, mapping = random_world(3)
    history = widened(world.run(), random.Random(1), 20_000 * MS)
    loose = verdicts(only(history, Transition), BreakerSpec.from_mapping(mapping))
    assert loose["R5"] is not Verdict.FAIL
    assert loose["R5"] is not Verdict.PASS
