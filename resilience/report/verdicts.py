"""What the verdict says, in the words and rows that a report shows.

The verdict dictionary is the judge's; nothing here judges again. The first broken expectation is the failed one with
the earliest time, those without a time after those with one, in the plan's order. Its witness is the verifier's where
a breaker rule broke, else the events of the run around that time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resilience.report.texts import (
    at,
    clean,
    lines,
    mapping,
    number,
    seconds_since,
    sequence,
    text,
)
from resilience.report.values import (
    Breakage,
    BreakerStep,
    Expectation,
    Moment,
    RuleRow,
    Span,
)

AROUND_S = 3.0
"""Seconds of events shown before and after the moment at which an expectation broke."""

LEAST_MOMENTS, MOST_MOMENTS = 4, 10
_PREPARING = (" planned", " journaled", " armed")
"""Ends of the lines on a fault before it is in place."""

JSON = Mapping[str, Any]


def expectation_rows(verdict: JSON) -> tuple[Expectation, ...]:
    """Give a row an expectation in the order of the verdict."""
    return tuple(
        Expectation(
            id=text(each.get("id"), f"expectation-{place}"),
            expected=text(each.get("expected")),
            observed=text(each.get("observed")),
            margin=text(each.get("margin")),
            verdict=text(each.get("verdict"), "unknown"),
            at_s=number(each.get("at_s")),
            evidence=lines(each.get("evidence")),
        )
        for place, each in enumerate(map(mapping, sequence(verdict.get("expectations"))), 1)
    )


def instance_reports(verdict: JSON) -> Iterator[tuple[str, str, JSON]]:
    """Walk the breaker reports: breaker, instance (with its boot where one is told), and what was found."""
    for name, report in mapping(verdict.get("breakers")).items():
        instances = mapping(report).get("instances")
        found = instances.items() if isinstance(instances, Mapping) else enumerate(sequence(instances))
        for key, each in found:
            entry = mapping(each)
            yield (
                text(entry.get("breaker"), clean(str(name))),
                text(entry.get("instance"), key if isinstance(key, str) else ""),
                entry,
            )


def rule_rows(verdict: JSON, epoch_ns: int) -> tuple[RuleRow, ...]:
    """Give a row for each rule that was judged, for each breaker and instance."""
    shifts = {
        clean(str(name)): ((number(mapping(report).get("origin_ns")) or epoch_ns) - epoch_ns) / 1e9
        for name, report in mapping(verdict.get("breakers")).items()
    }
    return tuple(
        RuleRow(
            breaker=breaker,
            instance=instance,
            rule=clean(str(rule)),
            title=text(mapping(found).get("title")),
            verdict=text(mapping(found).get("verdict"), "unknown").lower(),
            exercised=text(mapping(found).get("exercised")),
            reason=text(mapping(found).get("reason")),
            margin=text(mapping(found).get("margin")),
            witness=lines(mapping(mapping(found).get("witness")).get("lines", mapping(found).get("witness"))),
            window=_window(mapping(mapping(found).get("witness")).get("window_s"), shifts.get(breaker, 0.0)),
            blame=lines(mapping(found).get("blame")),
        )
        for breaker, instance, entry in instance_reports(verdict)
        for rule, found in mapping(entry.get("rules")).items()
    )


def _window(value: Any, shift_s: float) -> Span | None:
    ends = [found for each in sequence(value) if (found := number(each)) is not None]
    return (ends[0] + shift_s, ends[1] + shift_s) if len(ends) == 2 else None


def breaker_steps(verdict: JSON, epoch_ns: int) -> tuple[BreakerStep, ...]:
    """Give a row for each step of each instance's path, with the interval and evidence that the verifier gives."""
    rows: list[BreakerStep] = []
    for breaker, instance, entry in instance_reports(verdict):
        before = ""
        for step in sequence(entry.get("path")):
            known = mapping(step)
            state = text(known.get("state", known.get("to"))) if known else text(step)
            shown = f"{before} → {state}" if before else state
            moment = seconds_since(known.get("at_ns"), epoch_ns) or known.get("at_s")
            rows.append(
                BreakerStep(
                    breaker, instance, shown, _interval(moment), _evidence(mapping(known.get("evidence")))
                )
            )
            before = state
    return tuple(rows)


def _evidence(told: JSON) -> str:
    """Put what events and wire say of a step into words; identifiers and clock readings are for verdict.json."""
    events, wire = mapping(told.get("events")), mapping(told.get("wire"))
    found = []
    if events:
        found.append("the state it began with" if events.get("initial") else "its event")
    counts = [
        (text(wire.get(key)), key) for key in ("admitted", "rejected", "failed") if number(wire.get(key))
    ]
    if counts:
        agrees = "" if wire.get("supports") is not False else ", which do not bear it out"
        found.append(f"calls {', '.join(f'{count} {word}' for count, word in counts)}{agrees}")
    return "; ".join(found)


def probes(entry: JSON, epoch_ns: int) -> tuple[float, ...]:
    """Give when calls were let through half-open, from the steps of an instance's path, in seconds."""
    found = (
        seconds_since(each, epoch_ns)
        for step in sequence(entry.get("path"))
        for each in sequence(mapping(mapping(mapping(step).get("evidence")).get("wire")).get("probes_ns"))
    )
    return tuple(sum(each) / 2 for each in found if each is not None)


def _interval(value: Any) -> str:
    """Show a moment in seconds, or an interval by its two ends."""
    ends = sequence(value) or (value,)
    known = [found for each in ends if (found := number(each)) is not None]
    if not known:
        return text(value)
    low, high = min(known), max(known)
    return f"{low:.3f} s" if high - low < 0.0005 else f"{low:.3f} to {high:.3f} s"


def first_breakage(
    verdict: JSON, expectations: Sequence[Expectation], rules: Sequence[RuleRow], moments: Sequence[Moment]
) -> Breakage | None:
    """Say what fails first and why, or None where nothing failed."""
    failed = [each for each in expectations if each.verdict == "fail"]
    if not failed:
        return None
    first = min(failed, key=lambda each: float("inf") if each.at_s is None else each.at_s)
    raw = next((mapping(each) for each in sequence(verdict.get("expectations"))
                if text(mapping(each).get("id")) == first.id), {})  # fmt: skip
    rule = _rule_behind(first, mapping(raw.get("evidence")), rules)
    at_s = rule.window[1] if first.at_s is None and rule and rule.window else first.at_s
    when = "" if at_s is None else f" at {at(at_s)}"
    where = f" ({rule.rule} {rule.title}".rstrip() + f" on {rule.label})" if rule else ""
    return Breakage(
        expectation=first.id,
        sentence=f"{first.id}{where} broke{when}: expected {first.expected or 'it to hold'},"
        f" observed {first.observed or 'otherwise'}",
        rule=f"{rule.rule} {rule.title}".strip() if rule else "",
        instance=rule.label if rule else text(mapping(raw.get("evidence")).get("instance")),
        at_s=at_s,
        explanations=_explanations(first, raw, rule),
        proof=rule.witness if rule else (),
        witness=_around(at_s, f"{first.id} broke here", _relevant(moments, rule)),
    )


def _rule_behind(first: Expectation, evidence: JSON, rules: Sequence[RuleRow]) -> RuleRow | None:
    """Find the broken breaker rule that an expectation's evidence or observed text points to, if any does."""
    broken = [each for each in rules if each.verdict == "fail"]
    for key, field in (("breaker", "breaker"), ("instance", "instance"), ("rule", "rule")):
        wanted = text(evidence.get(key))
        broken = [each for each in broken if not wanted or getattr(each, field) == wanted]
    if evidence.get("rule"):
        return broken[0] if broken else None
    words = set(f"{first.observed} {' '.join(first.evidence)}".replace(",", " ").replace(":", " ").split())
    return next((each for each in broken if each.rule in words), None)


def _explanations(first: Expectation, raw: JSON, rule: RuleRow | None) -> tuple[str, ...]:
    told = [*lines(mapping(raw.get("evidence")).get("blame")), *lines(raw.get("blame"))]
    if rule:
        told += [rule.reason, *rule.blame]
    if not rule and not told:
        # The sentence has expected and observed; what is left is what they were measured on.
        told += [f"expected {first.expected}", f"observed {first.observed}", "; ".join(first.evidence)]
    return tuple(dict.fromkeys(line for line in told if line))[:6]


def _relevant(moments: Sequence[Moment], rule: RuleRow | None) -> list[Moment]:
    """Leave out how a fault was prepared, and other breakers' transitions where one instance broke a rule: they bury it."""
    others = "breaker.transition"
    return [
        each
        for each in moments
        if not (each.kind == "fault" and each.text.endswith(_PREPARING))
        and (not rule or each.kind != others or each.text.startswith(f"{rule.label}:"))
    ]


def _around(at_s: float | None, broken: str, moments: Sequence[Moment]) -> tuple[Moment, ...]:
    """Give the moments nearest to the breakage and itself, in order of time; without a time, the first of the run."""
    if at_s is None:
        return tuple(moments[:MOST_MOMENTS])
    nearest = sorted(moments, key=lambda each: abs(each.at_s - at_s))[:MOST_MOMENTS]
    close = [
        each
        for place, each in enumerate(nearest)
        if place < LEAST_MOMENTS or abs(each.at_s - at_s) <= AROUND_S
    ]
    return tuple(sorted([*close, Moment(at_s, "broken", broken)], key=lambda each: each.at_s))


def sentence(verdict: JSON, breakage: Breakage | None, expectations: Sequence[Expectation]) -> str:
    """Put the verdict in one sentence: what broke first and when, or that all held, or why nothing can be said."""
    state, reason = text(verdict.get("verdict"), "unknown"), text(verdict.get("reason"))
    if state == "fail" and breakage:
        return breakage.sentence
    if state == "pass":
        return reason or f"all {len(expectations)} expectations hold"
    open_ones = ", ".join(each.id for each in expectations if each.verdict == "unknown")
    return reason or (
        f"no verdict on {open_ones}" if open_ones else f"the run ended {state.replace('_', ' ')}"
    )
