"""The conformance page: what each library's breaker did under the same stimulus, in figures and in the words of the verifier. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from resilience.breaker.report import rule_order
from tests.conformance.candidates import Asked, Candidate
from tests.conformance.runs import ASKED, Judged, instance_of, open_rules

LANGUAGES: Final = {"python": "Python", "node": "npm", "go": "Go", "java": "Java"}
_MARKS: Final = {"PASS": "✔", "FAIL": "✘", "DECLARED": "D", "UNKNOWN": "·"}
_APPLIES_TO_NONE: Final = frozenset({"R18", "R19", "R20"})
"""Back-off, budgets of openings and fleets: nothing here has any."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A library that was not run, and why."""

    candidate: Candidate
    why: str


Outcome = Judged | Missing


def page(outcomes: Sequence[Outcome], *, asked: Asked = ASKED, machine: str = "") -> str:
    """The whole page in Markdown."""
    runs = [outcome for outcome in outcomes if isinstance(outcome, Judged)]
    lines = [
        "# Real breakers under one stimulus",
        "",
        "<!-- Written by `make conformance`: every figure and every witness is of a run. Do not edit. -->",
        "",
        "Each library's breaker runs behind a small HTTP service and is put through the same script of calls by",
        "`chaos-spike run conformance --stack external` ([external.md](external.md)); the services stand in `tests/conformance`. What was",
        "recorded of a run is judged twice: under the library's own *dialect*, where known deviations are declared, and *strictly*, where",
        "each of them is a failure ([breakers.md](breakers.md) has the rules and the dialects).",
        "",
        f"Asked of every breaker, as nearly as it can be told to: {asked.failures} failures in a row open it for {asked.wait_ms} ms, one",
        f"probe is let in, its success closes. A call may take {asked.timeout_ms} ms. All verdicts hold for the versions named and for",
        f"this use of them.{f' Measured on {machine}.' if machine else ''}",
        "",
        "## Verdicts",
        "",
        *_verdicts(outcomes),
        "",
        "*At once*: the most probes that were certainly in half-open at one instant. *Shortest wait*: the shortest time for which the breaker",
        "certainly was open before half-open.",
        "",
        "## Rules",
        "",
        "Under the own dialect: ✔ kept, `D` deviates as declared (strictly: a failure), ✘ broken, `·` not settled by this run or not",
        "applicable.",
        "",
        *_matrix(runs),
        "",
        "## Library by library",
        "",
    ]
    for run in runs:
        lines += [*_section(run, asked), ""]
    return "\n".join(lines).rstrip() + "\n"


def _verdicts(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "| library | version | | own dialect | strict | fails strictly | at once | shortest wait | calls | let in | openings |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for outcome in outcomes:
        candidate = outcome.candidate
        begin = f"| {candidate.name} | {candidate.version()} | {LANGUAGES[candidate.language]} |"
        if isinstance(outcome, Missing):
            why = outcome.why.splitlines()[0].replace("|", "/")
            yield f"{begin} not run: {why} | | | | | | | |"
            continue
        instance = instance_of(outcome.own)
        seen = instance.get("observations", {})
        openings = sum(state == "open" for state in instance.get("states", []))
        failing = ", ".join(_with(outcome.strict_rules, "FAIL")) or "none"
        yield (
            f"{begin} {outcome.own['verdict']} | {outcome.strict['verdict']} | {failing} "
            f"| {_figure(outcome.strict_rules, 'R8')} | {_figure(outcome.own_rules, 'R5')} "
            f"| {seen.get('calls', 0)} | {seen.get('arrivals', 0)} | {openings} |"
        )


def _figure(rules: Mapping[str, Any], rule: str) -> str:
    """The number in a rule's margin, such as "5" or "1004.3 ms"."""
    found = re.search(r"[0-9][0-9.]*( ms)?", str(rules.get(rule, {}).get("margin") or ""))
    return found[0] if found else ""


def _matrix(runs: Sequence[Judged]) -> Iterator[str]:
    rules = sorted({rule for run in runs for rule in run.own_rules} - _APPLIES_TO_NONE, key=rule_order)
    yield f"| | {' | '.join(rules)} |"
    yield f"|---|{'---|' * len(rules)}"
    for run in runs:
        marks = [_MARKS[run.own_rules[rule]["verdict"]] if rule in run.own_rules else "" for rule in rules]
        yield f"| {run.candidate.name} | {' | '.join(marks)} |"


def _section(run: Judged, asked: Asked) -> Iterator[str]:
    candidate = run.candidate
    yield f"### {candidate.name} {candidate.version()}"
    yield ""
    spec = ", ".join(f"{key}: {_yaml(value)}" for key, value in candidate.spec(asked).items())
    yield f"`{{{spec}}}`{f': {candidate.how}' if candidate.how else ''}"
    yield ""
    yield f"**Own dialect: {run.own['verdict']}**{_reason(run.own)} **Strict: {run.strict['verdict']}**{_reason(run.strict)}"
    for rule in _with(run.own_rules, "FAIL"):
        yield from _shown(f"{rule} broken", run.own_rules[rule])
    for rule in _with(run.strict_rules, "FAIL"):
        if run.own_rules[rule]["verdict"] != "FAIL":
            yield from _shown(f"{rule}, strictly", run.strict_rules[rule])
    for rule, why in open_rules(run.own).items():
        yield ""
        yield f"{rule} {run.own_rules[rule]['title']} is required, and open: {why}."


def _reason(verdict: Mapping[str, Any]) -> str:
    return "." if verdict["verdict"] in {"pass", "fail", "unknown"} else f": {verdict['reason']}."


def _shown(heading: str, rule: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{heading} ({rule['title']}): {rule['reason']}"
    witness = rule.get("witness")
    lines = [*(witness["lines"] if witness else ()), *rule.get("blame", ())]
    if lines:
        yield ""
        yield "```"
        yield from lines
        yield "```"


def _with(rules: Mapping[str, Any], verdict: str) -> list[str]:
    return [rule for rule in sorted(rules, key=rule_order) if rules[rule]["verdict"] == verdict]


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
