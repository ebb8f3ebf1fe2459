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
from breaker_random import random_world, spec_of
from breaker_world import MS, Answer, Model, World, only

from resilience.breaker.history import (
    Arrival,
    Boot,
    Call,
    Counter,
    Gap,
    Interval,
    Observation,
    State,
    Transition,
)
from resilience.breaker.observation import COUNTERS
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


# Worlds that once made a rule fail: stalls that stretch calls (over the end of a period), windows that trip on a success, few rejections,
# a hand that opened it.
REGRESSIONS = (3058, 4169, 5075, 6047, 6152, 100_221, 202_086)


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("seed", REGRESSIONS)
def test_breaker_correct_never_fails_again(evidence: str, seed: int) -> None:
    """Worlds that found a false alarm stay quiet."""
    world, mapping = random_world(seed)
    history = world.run()
    kinds = EVIDENCE[evidence]
    found = verdicts(only(history, *kinds) if kinds else history, BreakerSpec.from_mapping(mapping))
    assert [rule for rule, verdict in found.items() if verdict is Verdict.FAIL] == []


def call(number: int, start_ms: int, finish_ms: tuple[int, int], kind: str = "ok") -> list[Observation]:
    """A call that was let in at `start_ms`, and whose outcome reached the breaker at some time of `finish_ms`."""
    start, end = Interval(start_ms * MS, start_ms * MS), Interval(finish_ms[1] * MS, finish_ms[1] * MS)
    finish = Interval(finish_ms[0] * MS, finish_ms[1] * MS)
    return [
        Call("b", "i1", str(number), start, end, kind, finish=finish),
        Arrival("b", "i1", str(number), start, finish),
    ]


def failing(history: list[Observation], **mapping: object) -> list[str]:
    """The rules that fail, for a breaker that was made at 0."""
    found = verdicts([Boot("i1", Interval(0, 0), "b1"), *history], BreakerSpec.from_mapping(mapping))
    return [rule for rule, verdict in found.items() if verdict is Verdict.FAIL]


def test_breaker_failure_before_a_later_call_is_weighed_then() -> None:
    """A failure that came at 950 ms stood beside three successes, though it may seem to have come after the call of 1200 ms."""
    history = [entry for n in range(3) for entry in call(n, 10 * n + 10, (10 * n + 12, 10 * n + 13))]
    history += call(3, 900, (940, 941), "failure") + call(4, 905, (950, 1500), "failure")
    history += call(5, 1200, (1600, 1601))
    history.append(State("b", "i1", "closed", Interval(1505 * MS, 1507 * MS), "b1"))
    window = {"trip": "time", "window_ms": 1000, "ratio": 0.5, "minimum_calls": 1}
    assert failing(history, **window, wait_ms=5000) == []


def test_breaker_success_of_the_period_before_is_not_counted_in_the_next() -> None:
    """Of two successes that may have come in either order, the first belongs to the period that the second ended."""
    history = call(0, 80, (100, 450)) + call(1, 300, (415, 420)) + call(2, 460, (480, 485), "failure")
    history.append(Transition("b", "i1", "closed", "open", Interval(483 * MS, 483 * MS), "b1"))
    window = {"trip": "time", "window_ms": 300, "tumbling": True, "ratio": 0.5, "minimum_calls": 2}
    assert failing(history, **window, wait_ms=5000) == []


@pytest.mark.parametrize("name", COUNTERS)
@pytest.mark.parametrize("counts", ["own", "others"])
def test_breaker_totals_prove_agreement_and_one_that_lost_a_fifth_the_contrary(
    counts: str, name: str
) -> None:
    """The totals of a correct breaker contradict nothing; those of one that forgets every fifth event fail it, whosoever they count."""
    model = Model(failures=3, wait_ns=200 * MS)
    ill = lambda _, at: Answer(5 * MS, "failure" if at % (1000 * MS) < 400 * MS else "ok")  # noqa: E731 - one line
    world = World(model, ill, [n * 10 * MS for n in range(600)], poll_ns=200 * MS, counts=counts)
    history = world.run()
    spec = BreakerSpec.from_mapping(spec_of(model))
    assert [rule for rule, verdict in verdicts(history, spec).items() if verdict is Verdict.FAIL] == []
    assert verdicts(history, spec)["R17"] is Verdict.PASS
    wrong = [
        replace(e, value=e.value * 4 // 5) if isinstance(e, Counter) and e.name == name else e
        for e in history
    ]
    assert verdicts(wrong, spec)["R17"] is Verdict.FAIL


@pytest.mark.parametrize("counts", ["kept", "anew", "next"])
@pytest.mark.parametrize(
    "hands",
    [((400 * MS, "half_open"),), ((1300 * MS, "forced_open"), (1500 * MS, "open"))],
    ids=["probed", "opened"],
)
def test_breaker_row_of_openings_after_a_hand_is_nobodys_promise(
    counts: str, hands: tuple[tuple[int, str], ...]
) -> None:
    """Whether the opening that follows a hand is the first of its row, one of the row or the next one: each is correct."""
    model = Model(failures=3, wait_ns=200 * MS, backoff=2.0, hand_counts=counts)
    ill = lambda number, at: Answer(5 * MS, "ok" if at < 450 * MS and number < 40 else "failure")  # noqa: E731 - one line
    world = World(model, ill, [n * 10 * MS for n in range(400)], by_hand=hands)
    spec = BreakerSpec.from_mapping({**spec_of(model), "manual": "possible"})
    history = world.run()
    assert any(entry.manual for entry in history if isinstance(entry, Transition))
    found = verdicts(history, spec)
    assert [rule for rule, verdict in found.items() if verdict is Verdict.FAIL] == []


def test_breaker_row_of_openings_ends_when_it_closes() -> None:
    """A breaker that goes on doubling its wait after it had closed breaks its promise, hand or no hand: no wait is explained by it."""
    model = Model(failures=3, wait_ns=200 * MS, backoff=2.0)
    ill = lambda _, at: Answer(5 * MS, "ok" if 600 * MS < at < 1200 * MS else "failure")  # noqa: E731 - one line
    world = World(model, ill, [n * 10 * MS for n in range(200)], by_hand=((1100 * MS, "open"),))
    history = world.run()
    spec = BreakerSpec.from_mapping({**spec_of(model), "manual": "possible"})
    assert [r for r, v in verdicts(history, spec).items() if v is Verdict.FAIL] == []
    opened = max(e.at.hi_ns for e in history if isinstance(e, Transition) and e.manual)
    late = [
        e
        for e in history
        if not isinstance(e, (Call, Arrival, Transition, State)) or at_of(e) <= opened + 10 * MS
    ]
    late += [
        Call("b", "i1", f"x{n}", Interval(at, at), Interval(at + MS, at + MS), "rejected", fallback=True)
        for n in range(40)
        for at in [opened + (20 + 10 * n) * MS]
    ]
    assert "R17" in [r for r, v in verdicts(late, spec).items() if v is Verdict.FAIL]


def at_of(entry: Call | Arrival | Transition | State) -> int:
    """When it began."""
    return entry.start.lo_ns if isinstance(entry, Call) else entry.at.lo_ns


def test_breaker_standstill_before_the_first_answer_is_not_its_slowness() -> None:
    """Callers that stand still from the first call on hear of 19 rejections late, of 71: the breaker answered at once."""
    world, mapping = random_world(303_148, calls_most=80)
    found = verdicts(world.run(), BreakerSpec.from_mapping(mapping))
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
        elif isinstance(entry, (Transition, State, Counter)):
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


@pytest.mark.parametrize("batch", range(2))
def test_breaker_widening_a_random_history_settles_nothing(batch: int) -> None:
    """The same of random correct breakers, by the wire alone and with all evidence: what was open stays open."""
    for seed in range(500 + 3 * batch, 503 + 3 * batch):
        world, mapping = random_world(seed, calls_most=60)
        history, spec = world.run(), BreakerSpec.from_mapping(mapping)
        for kinds in ((), (Call, Arrival)):
            shown = only(history, *kinds) if kinds else history
            exact = verdicts(shown, spec)
            loose = verdicts(widened(shown, random.Random(seed), 15 * MS), spec)
            settled = {rule for rule, before in exact.items() if before is Verdict.UNKNOWN is not loose[rule]}
            assert settled == set(), (seed, settled)


# Worlds that once made a rule fail: causes that lay across the border of the hole were left out, and what they brought about was not.
@pytest.mark.parametrize("seed", [701, 735, *range(740, 752)])
def test_breaker_correct_never_fails_where_records_were_lost(seed: int) -> None:
    """A hole anywhere in what was seen of a random correct breaker, declared as one, is held against nobody."""
    world, mapping = random_world(seed, calls_most=100)
    history = world.run()
    rng = random.Random(seed)
    calls = [entry for entry in history if isinstance(entry, Call)]
    middle = rng.choice(calls).start.lo_ns
    lost = {c.id: c for c in calls if abs(c.start.lo_ns - middle) < 100 * MS}
    until = max(c.end.hi_ns if c.end else c.start.hi_ns for c in lost.values())
    hole = Interval(min(c.start.lo_ns for c in lost.values()), until)
    kept = [e for e in history if not (isinstance(e, (Call, Arrival)) and e.id in lost)]
    found = verdicts([*kept, Gap("calls", hole)], BreakerSpec.from_mapping(mapping))
    assert [rule for rule, verdict in found.items() if verdict is Verdict.FAIL] == []


def test_breaker_widening_without_end_leaves_everything_open() -> None:
    """Intervals as long as the history prove nothing: no rule about order or time passes or fails."""
    world, mapping = random_world(3)
    history = widened(world.run(), random.Random(1), 20_000 * MS)
    loose = verdicts(only(history, Transition), BreakerSpec.from_mapping(mapping))
    assert loose["R5"] is not Verdict.FAIL
    assert loose["R5"] is not Verdict.PASS
