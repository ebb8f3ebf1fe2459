"""A correct breaker, half of whose callers have a clock that jumps: what the clock leaves open is open and says so, and nothing is held against the breaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from breaker_stimulus import CORRECT, spec_for, stimulus
from breaker_world import MS

from resilience.analysis.clocks import judged_by_clocks
from resilience.breaker.history import Call, Interval, Observation, Transition
from resilience.breaker.report import BreakerReport, Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify
from resilience.metrics.clocks import WorkerClock

JUMP_NS = 300 * MS
SPEC = BreakerSpec.from_mapping(spec_for(CORRECT))
TRUE = [e for e in stimulus(CORRECT, hop_ms=2, seed=1).run() if not isinstance(e, Transition)]
MIDDLE_NS = sorted(e.start.lo_ns for e in TRUE if isinstance(e, Call))[len(TRUE) // 4]
HERE = WorkerClock(0, "tcp://a:1 on a", 0, (-MS, MS), 0)
THERE = WorkerClock(1, "tcp://b:1 on b", 0, (-JUMP_NS - MS, MS), 1)


def stamped(entry: Observation) -> Observation:
    """As the callers stamp it: from the middle on those of worker 1 are 300 ms behind."""
    if not isinstance(entry, Call) or int(entry.id) % 2 == 0 or entry.start.lo_ns < MIDDLE_NS:
        return entry
    return moved(entry, -JUMP_NS, -JUMP_NS)


def moved(call: Call, least_ns: int, most_ns: int) -> Call:
    """A call some time later, between so much and so much."""
    end = call.end and Interval(call.end.lo_ns + least_ns, call.end.hi_ns + most_ns)
    return replace(call, start=Interval(call.start.lo_ns + least_ns, call.start.hi_ns + most_ns), end=end)


def judge(history: Sequence[Observation], errors: Sequence[Interval]) -> BreakerReport:
    """The verdict where call i was stamped by clock i mod n, which is ahead by something within its error."""

    def widened(entry: Observation) -> Observation:
        if not isinstance(entry, Call) or not errors:
            return entry
        error = errors[int(entry.id) % len(errors)]
        return moved(entry, -error.hi_ns, -error.lo_ns)

    return verify([widened(entry) for entry in history], SPEC, origin_ns=0)


def rules(report: BreakerReport, verdict: Verdict) -> set[str]:
    """The rules with a verdict."""
    return {rule.rule for each in report.instances for rule in each.rules.values() if rule.verdict is verdict}


def test_clocks_known_well_cost_no_rule() -> None:
    """Of two workers elsewhere, each known to a millisecond, rules are settled as of callers here."""
    here = judge(TRUE, ())
    clocks = [HERE, replace(THERE, error_ns=(-MS, MS), jumps=0)]
    there = judged_by_clocks(lambda errors: judge(TRUE, errors), clocks)
    assert rules(here, Verdict.FAIL) == rules(there, Verdict.FAIL) == set()
    assert "R4" in rules(there, Verdict.PASS)


def test_clock_that_jumped_leaves_rules_open_and_is_named() -> None:
    """Stamps as wide as the clock is unsure leave rules open, by name, and convict nobody."""
    wrong = [stamped(entry) for entry in TRUE]
    report = judged_by_clocks(lambda errors: judge(wrong, errors), [HERE, THERE])
    assert rules(report, Verdict.FAIL) == set()
    (instance,) = report.instances
    named = {name for name, rule in instance.rules.items() if rule.reason.startswith("undecidable: ")}
    assert "R15" in named, "how long a rejection took"
    for name in named:
        assert instance.rules[name].verdict is Verdict.UNKNOWN
        assert (
            "worker 1 (tcp://b:1 on b) is known within 302.0 ms only, and jumped"
            in instance.rules[name].reason
        )
