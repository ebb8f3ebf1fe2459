"""Breakers with one mistake each, and what must become of them: the rule that they break, and who can see it.

The specification follows the model, never the mistake. `blind` names the kinds of evidence that cannot see a mistake, with the
reason; every other kind must see it. The polls of these worlds come each 40 ms; the wire is what callers and tap saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from breaker_stimulus import CORRECT, mixed, spec_for, stimulus
from breaker_world import MS, Model, S, World, only

from resilience.breaker.history import Arrival, Call, Counter, Observation, State, Transition
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

EVIDENCE: dict[str, tuple[type, ...]] = {
    "wire": (Call, Arrival),
    "events": (Transition,),
    "polls": (State,),
    "wire, events": (Call, Arrival, Transition),
    "all": (Call, Arrival, Transition, State, Counter),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: what it does, the rule (one of them) that must fail by all evidence, and how the world is set up."""

    name: str
    does: str
    rule: str
    model: Mapping[str, Any] = field(default_factory=dict)
    world: Mapping[str, Any] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)
    play: Callable[..., World] = stimulus
    bug: bool = True  # False: the mistake is not in the breaker but in what surrounds it
    replicas: bool = False  # one correct instance beside it


_COUNT = {"window": 10, "ratio": 0.5, "minimum": 5, "successes": 1}
_TIME = {"window_ns": S, "ratio": None, "failures": 4, "successes": 1}
_TOTAL = {"permitted": 3, "probes": "total", "close_ratio": 0.5, "successes": 1}

MUTANTS: tuple[Mutant, ...] = (
    Mutant("opens_late", "needs one failure more", "R3"),
    Mutant("opens_early", "needs one failure less", "R2"),
    Mutant("never_opens", "never opens", "R3"),
    Mutant("cumulative", "a success does not break the row of failures", "R2"),
    Mutant("retries_count_once", "failures in quick succession count as one", "R3"),
    Mutant("ignores_minimum", "trips before the least number of calls", "R2", {"window": 6, "ratio": 0.5, "minimum": 5}),
    Mutant("ratio_off", "trips at one and a half times the ratio", "R3", _COUNT, play=mixed),
    Mutant("strictness_off", "exceeding the ratio trips it, reaching it does not", "R3", {**_COUNT, "window": 4, "minimum": 4}, play=mixed),
    Mutant("slow_ignored", "slow calls do not count as slow", "R3", {**_COUNT, "slow_ns": 50 * MS, "slow_ratio": 0.5}, play=mixed),
    Mutant("never_forgets", "failures older than the time window count", "R2", _TIME, play=mixed),
    Mutant("period_forgotten", "the row is not begun anew each period", "R2", {"window_ns": 400 * MS, "tumbling": True, "ratio": None, "failures": 4}, play=mixed),
    Mutant("wait_short", "stays open for four fifths of the wait", "R5"),
    Mutant("wait_long", "stays open for a third longer", "R6"),
    Mutant("wait_from_call_start", "the wait counts from the start of the call that tripped it", "R5"),
    Mutant("wall_clock", "the wait is measured on a clock that was set forward", "R5", {"clock_step": (20 * S, 600 * MS)}),
    Mutant("rejection_restarts_wait", "a rejection starts the wait anew", "R7"),
    Mutant("late_failure_restarts_wait", "a late failure while open starts the wait anew", "R7"),
    Mutant("leaks", "lets one call pass in the middle of the wait", "R4"),
    Mutant("never_half_opens", "stays open for ever", "R6"),
    Mutant("open_to_closed", "skips half-open", "R1"),
    Mutant("timer_entry", "is half-open by a timer where a call should begin it", "R17"),
    Mutant("one_probe_more", "lets one probe more pass", "R8"),
    Mutant("unlimited_probes", "lets every probe pass", "R8"),
    Mutant("race_at_expiry", "calls within 2 ms of the first probe pass, too", "R8"),
    Mutant("permits_come_back", "a permit of a total comes back with its result", "R8", _TOTAL),
    Mutant("slot_leaks", "an ended probe keeps its slot", "R9"),
    Mutant("slot_leaks_on_cancelled", "a cancelled probe keeps its slot", "R9"),
    Mutant("slot_leaks_on_excluded", "a probe with an excluded outcome keeps its slot", "R9"),
    Mutant("hung_probe_sticks", "a probe that timed out is waited for, for ever", "R11"),
    Mutant("dwell_forgotten", "the longest stay in half-open is not kept", "R9", {"dwell_ns": 100 * MS, "permitted": 2}),
    Mutant("closes_early", "closes one success early", "R10"),
    Mutant("closes_late", "closes one success late", "R10"),
    Mutant("never_closes", "stays half-open for ever", "R10"),
    Mutant("failure_ignored", "a failing probe changes nothing", "R11"),
    Mutant("successes_survive", "the successes before a reopening count after it", "R10"),
    Mutant("stale_success_closes", "a success from before the opening closes it", "R13"),
    Mutant("stale_failure_reopens", "a failure from before the opening reopens it", "R13"),
    Mutant("cancel_is_failure", "a cancelled call counts as a failure", "R14"),
    Mutant("cancel_is_success", "a cancelled call counts as a success", "R14"),
    Mutant("exclude_is_failure", "an excluded outcome counts as a failure", "R14"),
    Mutant("exclude_is_success", "an excluded outcome counts as a success", "R14"),
    Mutant("count_survives", "after closing, one failure opens it", "R12"),
    Mutant("window_survives", "closing does not empty the window", "R12", _COUNT, play=mixed),
    Mutant("backoff_forgotten", "every wait is the first one's", "R18", {"backoff": 2.0}),
    Mutant("backoff_twice", "the factor is applied twice", "R18", {"backoff": 2.0}),
    Mutant("gauge_wrong", "its gauge reads closed for ever", "R17"),
    Mutant("slow_rejections", "a rejection takes 200 ms", "R15", world={"slow_rejection_ns": 200 * MS}, bug=False),
    Mutant("fallback_missing", "rejections are not answered by the fallback", "R16", world={"fallback_missing": True}, bug=False),
    Mutant("event_missing", "one transition is not reported", "R1", world={"drop_events": frozenset({4})}, bug=False),
    Mutant("event_twice", "one transition is reported twice", "R1", world={"double_events": frozenset({4})}, bug=False),
    Mutant("event_late", "one transition is stamped 400 ms late", "R17", world={"late_events": {4: 400 * MS}}, bug=False),
    Mutant("total_wrong", "the total of rejections counts every second one", "R17", world={"totals": True, "total_wrong": True}, bug=False),
    Mutant("flapping", "opens more often than its budget", "R19", spec={"openings_max": 2, "horizon_ms": 10_000}, bug=False),
    Mutant("replica_stuck", "one of two instances never closes again", "R20", replicas=True),
)  # fmt: skip


def history_of(mutant: Mutant | None, *, hop_ms: int = 0) -> tuple[list[Observation], BreakerSpec]:
    """What all witnesses saw of a mutant (None: of the correct breaker), and the specification that it claims to keep."""
    if mutant is None:
        return stimulus(CORRECT, hop_ms=hop_ms).run(), BreakerSpec.from_mapping(spec_for(CORRECT))
    bug = "never_half_opens" if mutant.replicas else mutant.name
    sound: Model = replace(CORRECT, **mutant.model)
    model = replace(sound, bugs=frozenset({bug} if mutant.bug else ()))
    world = mutant.play(model, hop_ms=hop_ms)
    for name, value in mutant.world.items():
        setattr(world, name, value)
    history = world.run()
    if mutant.replicas:
        healthy = mutant.play(sound, hop_ms=hop_ms)
        healthy.instance = "i2"
        history = history + [_renamed(entry) for entry in healthy.run()]
    return history, BreakerSpec.from_mapping({**spec_for(model), **mutant.spec})


def _renamed(entry: Observation) -> Observation:
    """The same of the other instance: no two calls share an id."""
    return replace(entry, id=f"i2-{entry.id}") if isinstance(entry, (Call, Arrival)) else entry


def judge(mutant: Mutant | None, evidence: str, *, hop_ms: int = 0) -> BreakerReport:
    """Verdicts by one kind of evidence."""
    history, spec = history_of(mutant, hop_ms=hop_ms)
    return verify(only(history, *EVIDENCE[evidence]), spec)


def failed(report: BreakerReport) -> set[str]:
    """Ids of the failing rules; each must have a witness that a person can read."""
    rules = [rule for instance in report.instances for rule in instance.rules.values()]
    assert not [rule for rule in rules if "checker error" in rule.reason]
    bad = [rule for rule in rules if rule.verdict is Verdict.FAIL]
    for rule in bad:
        assert rule.witness is not None
        assert 0 < len(rule.witness.lines) <= 12
    return {rule.rule for rule in bad}
