"""Judging a history inside a test: an AssertionError says which rule, why, and shows the window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resilience.breaker.observation import Fault, Interval, Observation
from resilience.breaker.report import BreakerReport, InstanceReport, RuleVerdict, Verdict, label, rule_order
from resilience.breaker.trace import trace_reason, trace_verdict
from resilience.breaker.verify import verify
from resilience.pytest_plugin.specs import Written, read_spec
from resilience.pytest_plugin.timeline import Violation

_WITNESS_LINES = 8


@dataclass(frozen=True, slots=True)
class JudgedHistory:
    """A history, what it was held to, and the verifier's report: what a record keeps, so that all of it can be had again."""

    history: Sequence[Observation]
    spec: Written
    report: BreakerReport


def judged(
    history: Sequence[Observation],
    spec: Written,
    *,
    require: Iterable[str] = (),
    strict: bool = False,
    faults: Iterable[Fault] = (),
) -> JudgedHistory:
    """The verifier on a history, faults included; ValueError for a rule that does not exist."""
    whole = (*history, *faults)
    return JudgedHistory(whole, spec, verify(whole, read_spec(spec), required=require, strict=strict))


class Assertable:
    """A breaker that a test can hold to a specification: what a watched object and a recorded history share."""

    written: Written
    violations: tuple[Violation, ...]
    asserted: JudgedHistory | None

    def report(
        self, *, require: Iterable[str] = (), strict: bool = False, spec: Written | None = None
    ) -> BreakerReport:
        """The verifier's report on all that was observed so far."""
        return self._held_to(require, strict=strict, spec=spec).report

    def assert_conforms(
        self, *, require: Iterable[str] = (), strict: bool = False, spec: Written | None = None
    ) -> BreakerReport:
        """Assert that it keeps to its specification; every rule of `require` must be settled. Gives the report."""
        __tracebackhide__ = True
        self.asserted = self._held_to(require, strict=strict, spec=spec)
        raise_unless_passed(self.asserted.report)
        return self.asserted.report

    def record(self) -> JudgedHistory:
        """As the test asserted last; where it asserted nothing, all of it by its own specification."""
        if self.asserted is not None:
            return self.asserted
        history, faults = self._evidence()
        return judged(history, self.written, faults=faults)

    def _evidence(self) -> tuple[Sequence[Observation], Iterable[Fault]]:
        """What was observed of it so far, and the faults meanwhile where they are not among that."""
        raise NotImplementedError

    def _held_to(self, require: Iterable[str], *, strict: bool, spec: Written | None) -> JudgedHistory:
        history, faults = self._evidence()
        held_to = self.written if spec is None else spec
        found = judged(history, held_to, require=require, strict=strict, faults=faults)
        self.violations = tuple(violations_of(found.report))
        return found


def assert_conforms(
    breaker: Any,
    spec: Written | None = None,
    *,
    require: Iterable[str] = (),
    strict: bool = False,
) -> BreakerReport:
    """Assert that a watched breaker, or a recorded history, keeps to its specification; gives the report.

    `breaker` is what `chaos.watch` or `run.breaker` gave, or a sequence of observations (then `spec` is needed). Each rule
    of `require` must be settled: one that the history did not exercise enough fails, and says what it would have needed.
    Without `require`, a history that exercised no rule at all (of some instance) fails.
    """
    __tracebackhide__ = True
    if hasattr(breaker, "assert_conforms"):
        found: BreakerReport = breaker.assert_conforms(require=require, strict=strict, spec=spec)
        return found
    if spec is None:
        raise TypeError("a history alone has no specification: give spec=")
    report = judged(breaker, spec, require=require, strict=strict).report
    raise_unless_passed(report)
    return report


def raise_unless_passed(report: BreakerReport) -> None:
    """AssertionError in words for a person, unless some rule of each instance is settled and none is broken."""
    __tracebackhide__ = True
    verdict, reason = trace_verdict(report), trace_reason(report)
    if verdict == "pass":
        return
    lines = [reason]
    for instance, rule in _rules(report):
        if rule.verdict is Verdict.FAIL:
            lines += _failure(instance, rule)
    if verdict == "unknown":
        lines = [f"the evidence does not suffice: {reason}"]
    spec = report.spec
    lines.append(
        f"  held to: dialect {spec['dialect']}, {spec['failures']} failures, wait {spec['wait_ns'] / 1e9:g} s"
        f"{', strict' if report.strict else ''}"
    )
    raise AssertionError("\n".join(lines))


def violations_of(report: BreakerReport) -> list[Violation]:
    """The windows of the rules that failed, for the timeline."""
    return [
        Violation(rule.rule, Interval(rule.witness.window.lo_ns, rule.witness.window.hi_ns))
        for _, rule in _rules(report)
        if rule.verdict is Verdict.FAIL and rule.witness is not None
    ]


def _rules(report: BreakerReport) -> list[tuple[InstanceReport, RuleVerdict]]:
    return [
        (instance, instance.rules[name])
        for instance in report.instances
        for name in sorted(instance.rules, key=rule_order)
    ]


def _failure(instance: InstanceReport, rule: RuleVerdict) -> list[str]:
    lines = [f"  {rule.rule} {rule.title} ({label(instance.breaker, instance.instance)}): {rule.reason}"]
    lines += [f"     {cause}" for cause in rule.blame]
    if rule.witness is not None:
        shown = rule.witness.lines[:_WITNESS_LINES]
        lines += [f"     | {line}" for line in shown]
        if len(rule.witness.lines) > len(shown):
            lines.append(f"     | ... and {len(rule.witness.lines) - len(shown)} more")
    return lines
