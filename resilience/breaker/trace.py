"""`verify-trace`: judge a history that somebody recorded elsewhere, in the public format, against a specification.

Nobody names required rules here, so silence must not look like health: a trace in which no rule of some instance was
settled is "unknown", as is one without any breaker in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from resilience.breaker.history import parse_jsonl
from resilience.breaker.observation import Observation
from resilience.breaker.report import BreakerReport, Verdict, label, rule_order
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

_EXIT_CODES: Final = {"pass": 0, "fail": 1, "unknown": 3}
_SILENCE: Final = "no rule was exercised by this history"


def verify_trace(
    trace: str | Iterable[Observation],
    spec: Mapping[str, Any],
    strict: bool = False,
    *,
    required: Iterable[str] = (),
) -> tuple[BreakerReport, int]:
    """Judge a JSON Lines history; give the report and the exit code (0 pass, 1 fail, 3 unknown).

    A trace that is not a text is iterated over several times (see `verify`).

    Raises HistoryError (with the line) or SpecError (with the key) for input that cannot be used, and ValueError for
    a required rule that does not exist: exit code 2, where there is a command line.
    """
    history = parse_jsonl(trace) if isinstance(trace, str) else trace
    report = verify(history, BreakerSpec.from_mapping(spec), required=required, strict=strict)
    return report, _EXIT_CODES[trace_verdict(report)]


def trace_verdict(report: BreakerReport) -> str:
    """pass, fail or unknown; a trace that settles nothing is unknown."""
    verdict = report.verdict()
    return "unknown" if verdict == "pass" and not _settled(report) else verdict


def trace_reason(report: BreakerReport) -> str:
    """One sentence for `trace_verdict`."""
    silent = report.verdict() == "pass" and not _settled(report)
    return _SILENCE if silent else report.reason()


def to_json(report: BreakerReport) -> dict[str, Any]:
    """The report for programs, with the verdict and the reason that a trace alone has."""
    return {**report.to_json(), "verdict": trace_verdict(report), "reason": trace_reason(report)}


def _settled(report: BreakerReport) -> bool:
    """Whether every instance had at least one rule that its history could speak about."""
    spoken = {Verdict.PASS, Verdict.DECLARED}
    return bool(report.instances) and all(
        any(rule.verdict in spoken for rule in instance.rules.values()) for instance in report.instances
    )


def render(report: BreakerReport, *, witness_lines: int = 12) -> str:
    """The report for a terminal: a line per instance and rule, and a witness under each failure."""
    lines: list[str] = []
    for instance in report.instances:
        boot = f" (boot {instance.boot})" if instance.boot else ""
        lines.append(
            f"{label(instance.breaker, instance.instance)}{boot}: {' > '.join(instance.states) or 'no path'}"
        )
        for name in sorted(instance.rules, key=rule_order):
            rule = instance.rules[name]
            extra = rule.reason or rule.margin or f"exercised {rule.exercised} times"
            lines.append(f"  {rule.verdict.value:<8} {name:<3} {rule.title}: {extra}")
            if rule.verdict is Verdict.FAIL:
                lines.extend(f"             {cause}" for cause in rule.blame)
                if rule.witness is not None:
                    lines.extend(f"           | {line}" for line in rule.witness.lines[:witness_lines])
    lines.append(f"{trace_verdict(report)}: {trace_reason(report)}")
    return "\n".join(lines)
