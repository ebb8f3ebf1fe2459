"""The shortest forms of a verdict: sign and word, one line for logs and notifications, and the chips of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from resilience.report.values import BreakerLane, Chip, Expectation, FaultLane, ReportModel, RuleRow, Validity

SIGNS = {"pass": "✔", "fail": "✘", "unknown": "?", "skipped": "-", "declared": "≈", "told": "·"}
"""A sign beside each word, so that a verdict does not stand on colour alone."""


def sign(verdict: str) -> str:
    """Give the sign of a verdict; what is neither passed nor failed gets an exclamation mark."""
    return SIGNS.get(verdict, "!")


def word(verdict: str) -> str:
    """Give a verdict as a heading says it."""
    return verdict.replace("_", " ").upper()


def one_line(model: ReportModel) -> str:
    """Give name, verdict and the one sentence that matters, without line breaks."""
    return f"{word(model.verdict)} {model.name}: {model.sentence}"


def chips(
    expectations: Sequence[Expectation], faults: Sequence[FaultLane], breakers: Sequence[BreakerLane],
    rules: Sequence[RuleRow], validity: Validity | None,
) -> tuple[Chip, ...]:  # fmt: skip
    """Give the small facts of the verdict strip; without `validity` the run goes on, and nothing is judged."""
    held = sum(each.verdict == "pass" for each in expectations)
    found = [
        Chip(
            "expectations",
            f"{held} of {len(expectations)} hold",
            _worst(each.verdict for each in expectations),
        )
    ]
    if faults:
        proven = sum(each.verified for each in faults)
        absent = sum(each.actual is None and not each.verified for each in faults)
        if proven == len(faults):
            clean_up = "pass"
        else:  # what was never put in is no leftover, but no proof of anything either
            clean_up = "fail" if validity and proven + absent < len(faults) else "unknown"
        told = f"{proven} of {len(faults)} healed and verified" if absent < len(faults) else "none injected"
        found.append(Chip("faults", told, clean_up))
    if rules or breakers:
        broken = list(dict.fromkeys(each.rule for each in rules if each.verdict == "fail"))
        verdict = f"{', '.join(broken)} broken" if broken else "no rule broken" if rules else "not judged"
        followed = sum(not each.note for each in breakers)
        lanes_seen = f"{followed} instance{'s' if followed != 1 else ''}" if followed else "none was followed"
        found.append(
            Chip("breakers", f"{verdict}, {lanes_seen}", "fail" if broken else "pass" if rules else "unknown")
        )
    found += [
        Chip("recovery", f"{each.recovery.text} after {each.id}", _recovery_state(each, expectations))
        for each in faults
        if each.recovery
    ]
    if validity is None:
        return tuple(found[1:])
    state = {"valid": "pass", "invalid": "fail"}.get(validity.state, "unknown")
    found.append(Chip("measurement", validity.state, state))
    return tuple(found)


def _recovery_state(fault: FaultLane, expectations: Sequence[Expectation]) -> str:
    """Give what became of what is expected of this recovery. Where nothing is, one that never came breaks no promise: it is told."""
    asked = [
        each.verdict for each in expectations if each.expected.startswith(f"time to recover from {fault.id} ")
    ]
    return _worst(asked) if asked else "pass" if fault.recovery and fault.recovery.recovered else "told"


def _worst(states: Iterable[str]) -> str:
    seen = set(states)
    return next((state for state in ("fail", "unknown") if state in seen), "pass" if seen else "unknown")
