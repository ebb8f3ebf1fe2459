"""What the verifier concludes: verdicts by rule with their witnesses, and the path of states with its evidence.

Values only; `to_json` gives what verdict.json carries. Three verdicts speak of the breaker (PASS, FAIL, UNKNOWN);
DECLARED says that it deviates exactly as its dialect is known to. A verdict over many rules composes as
false beats unknown beats true, where UNKNOWN counts only for rules that somebody requires.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from resilience.breaker.observation import NS_PER_S, Interval

HEALTHY_PATH: Final = "closed ((open half_open)+ closed)+"
_HEALTHY: Final = re.compile(r"closed(( open half_open)+ closed)+")


class Verdict(StrEnum):
    """What a rule says of a breaker."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"
    DECLARED = "DECLARED"


@dataclass(frozen=True, slots=True)
class Witness:
    """The smallest window that shows a violation, and the observations in it, one line each."""

    window: Interval
    lines: tuple[str, ...]

    def to_json(self, origin_ns: int) -> dict[str, Any]:
        """For verdict.json; times are seconds since `origin_ns`."""
        return {"window_s": relative(self.window, origin_ns), "lines": list(self.lines)}

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """One rule's verdict. `exercised` counts the situations that tested it, `unsettled` those that stay open."""

    rule: str
    title: str
    verdict: Verdict
    reason: str = ""
    exercised: int = 0
    unsettled: int = 0
    witness: Witness | None = None
    blame: tuple[str, ...] = ()
    margin: str | None = None
    rank: int = 0  # the lower, the tighter the margin
    share: tuple[int, int] = (0, 0)  # so many of so many, where a rule is about a share

    def to_json(self, origin_ns: int) -> dict[str, Any]:
        """For verdict.json; times are seconds since `origin_ns`."""
        return {
            "title": self.title,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "exercised": self.exercised,
            "unsettled": self.unsettled,
            "witness": self.witness.to_json(origin_ns) if self.witness else None,
            "blame": list(self.blame),
            "margin": self.margin,
        }


@dataclass(frozen=True, slots=True)
class PathStep:
    """A state that was entered within `at`; evidence from the breaker's events and from the wire, where there is any."""

    state: str
    at: Interval
    events: dict[str, Any] | None = None
    wire: dict[str, Any] | None = None

    def to_json(self, origin_ns: int) -> dict[str, Any]:
        """For verdict.json; times are seconds since `origin_ns`."""
        return {
            "state": self.state,
            "at_s": relative(self.at, origin_ns),
            "at_ns": [self.at.lo_ns, self.at.hi_ns],
            "evidence": {"events": self.events, "wire": self.wire},
        }


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """Everything about one breaker in one instance during one boot."""

    breaker: str
    instance: str | None
    boot: str | None
    path: tuple[PathStep, ...]
    rules: dict[str, RuleVerdict]
    observations: dict[str, int] = field(default_factory=dict)

    @property
    def states(self) -> tuple[str, ...]:
        """The path as names, e.g. ("closed", "open", "half_open", "closed")."""
        return tuple(step.state for step in self.path)

    @property
    def healthy_path(self) -> bool:
        """Whether it opened, and each time recovered: `closed (open half_open)+ closed`, once or more often."""
        return bool(_HEALTHY.fullmatch(" ".join(self.states)))

    def to_json(self, origin_ns: int) -> dict[str, Any]:
        """For verdict.json; times are seconds since `origin_ns`."""
        return {
            "breaker": self.breaker,
            "instance": self.instance,
            "boot": self.boot,
            "path": [step.to_json(origin_ns) for step in self.path],
            "states": list(self.states),
            "healthy_path": self.healthy_path,
            "healthy_path_is": HEALTHY_PATH,
            "rules": {name: verdict.to_json(origin_ns) for name, verdict in self.rules.items()},
            "observations": dict(self.observations),
        }


@dataclass(frozen=True, slots=True)
class BreakerReport:
    """The verdicts on every instance of the breakers in one history."""

    instances: tuple[InstanceReport, ...]
    spec: dict[str, Any]
    strict: bool
    origin_ns: int
    required: frozenset[str] = frozenset()

    def verdict(self, required: Iterable[str] | None = None) -> str:
        """pass, fail or unknown, where each rule of `required` (default: as verified) must be settled."""
        needed = self.required if required is None else frozenset(required)
        judged = [rule for instance in self.instances for rule in instance.rules.values()]
        if any(rule.verdict is Verdict.FAIL for rule in judged):
            return "fail"
        if needed and not self.instances:
            return "unknown"
        settled = {Verdict.PASS, Verdict.DECLARED}
        for instance in self.instances:
            for name in needed:
                if name not in instance.rules or instance.rules[name].verdict not in settled:
                    return "unknown"
        return "pass"

    def reason(self, required: Iterable[str] | None = None) -> str:
        """One sentence for the verdict: the first failing rule, or the required rules that are open."""
        needed = self.required if required is None else frozenset(required)
        named = [(i, r) for i in self.instances for r in i.rules.values()]
        for instance, rule in named:
            if rule.verdict is Verdict.FAIL:
                return (
                    f"{label(instance.breaker, instance.instance)}: {rule.rule} {rule.title}: {rule.reason}"
                )
        missing = [
            f"{label(i.breaker, i.instance)}: {r.rule} {r.reason}"
            for i, r in named
            if r.rule in needed and r.verdict is Verdict.UNKNOWN
        ]
        if missing:
            return "; ".join(missing)
        return "no breaker was observed" if needed and not self.instances else "every required rule holds"

    @property
    def declared(self) -> dict[str, str]:
        """Deviations that were seen and that the dialect declares: rule -> reason."""
        return {
            r.rule: r.reason
            for i in self.instances
            for r in i.rules.values()
            if r.verdict is Verdict.DECLARED
        }

    def to_json(self) -> dict[str, Any]:
        """For verdict.json."""
        return {
            "verdict": self.verdict(),
            "reason": self.reason(),
            "strict": self.strict,
            "required": sorted(self.required, key=rule_order),
            "declared": self.declared,
            "spec": self.spec,
            "origin_ns": self.origin_ns,
            "instances": [instance.to_json(self.origin_ns) for instance in self.instances],
        }


def label(breaker: str, instance: str | None) -> str:
    """How a person names a breaker, e.g. `pricing@gateway-1`."""
    return f"{breaker}@{instance}" if instance else breaker


def rule_order(rule: str) -> tuple[int, str]:
    """Sort key that puts R2 before R10."""
    digits = rule[1:]
    return (int(digits) if digits.isdigit() else 0, rule)


def relative(interval: Interval, origin_ns: int) -> list[float]:
    """[lo, hi] in seconds since the origin, to the microsecond."""
    return [round((end - origin_ns) / NS_PER_S, 6) for end in (interval.lo_ns, interval.hi_ns)]
