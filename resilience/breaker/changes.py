"""Breakers that differ from a specification in one thing: a parameter, or a habit.

They serve twice. Where a history has no explanation, the change that explains it is the blame ("holds if failures = 4"). And where it
has one, a rule was only tested if no breaker that breaks just this rule would explain the history as well.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from resilience.breaker.automaton import Automaton
from resilience.breaker.spec import BreakerSpec

_AGES_NS: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Change:
    """One thing different: the rule it belongs to, in words, and the automaton that assumes it."""

    rule: str
    words: str
    automaton: Automaton
    wider: bool = (
        False  # explains all that the specification does, and more: it can be blamed, but never refuted
    )


def alternatives(automaton: Automaton, outcomes: Collection[str] = ()) -> Iterator[Change]:
    """Breakers that differ in one parameter or one habit, nearest first; `outcomes`: the kinds that were seen."""
    if automaton.spec.trip == "never":
        return
    base = automaton.spec
    for change in _all(automaton, outcomes):
        same = change.automaton.spec == base and change.automaton.habit == automaton.habit
        if not same:
            yield change


def _all(automaton: Automaton, outcomes: Collection[str]) -> Iterator[Change]:
    spec = automaton.spec
    yield from _row(automaton) if spec.trip == "consecutive" else _window(automaton)
    yield _with(automaton, "R3", "it never opens", trip="never", window_survives=False)
    yield from _waits(automaton)
    yield from _half_open(automaton)
    if spec.stale != "either" and spec.probes != "serialised":
        flipped = "ignored" if spec.stale == "counted" else "counted"
        yield _with(automaton, "R13", f"stale outcomes are {flipped}", stale=flipped)
    if not spec.success_while_open_closes:
        words = "late successes may close it"
        late = _with(automaton, "R13", words, success_while_open_closes=True, stale="either")
        yield replace(late, wider=True)
    for outcome in ("cancelled", "excluded"):
        if outcome in outcomes:
            taken = getattr(spec, f"{outcome}_as")
            for kind in ("failure", "success", "neutral"):
                if taken not in {kind, "any"}:
                    yield _with(
                        automaton, "R14", f"{outcome} calls count as {kind}", **{f"{outcome}_as": kind}
                    )


def _with(automaton: Automaton, rule: str, words: str, **fields: Any) -> Change:
    return Change(rule, words, replace(automaton, spec=replace(automaton.spec, **fields)))


def _habit(automaton: Automaton, rule: str, words: str, habit: str) -> Change:
    return Change(rule, words, replace(automaton, habit=habit))


def _row(automaton: Automaton) -> Iterator[Change]:
    """Thresholds of failures in a row."""
    threshold = automaton.spec.failures
    for fewer in range(threshold - 1, max(0, threshold - 4), -1):
        yield _with(automaton, "R2", f"failures = {fewer}", failures=fewer)
    for more in range(threshold + 1, threshold + 4):
        yield _with(automaton, "R3", f"failures = {more}", failures=more)
    if threshold > 1:
        yield _habit(automaton, "R2", "successes do not break a row of failures", "cumulative")
    else:
        yield _habit(automaton, "R2", "a success opens it, too", "success_fails")


def _window(automaton: Automaton) -> Iterator[Change]:
    """Thresholds of a window."""
    spec = automaton.spec
    least = spec.least_calls
    if least > 1:
        yield _with(automaton, "R2", "minimum_calls = 1", minimum_calls=1)
        if spec.trip == "time" or least < spec.window:
            yield _with(automaton, "R3", f"minimum_calls = {least + 1}", minimum_calls=least + 1)
    for name in ("ratio", "slow_ratio"):
        value = getattr(spec, name)
        if value is not None:
            less, more = _beside(spec, value)
            yield _with(automaton, "R2", f"{name} = {less:g}", **{name: less})
            yield _with(automaton, "R3", f"{name} = {more:g}", **{name: more})
    if spec.ratio is None and spec.slow_ratio is None:
        if spec.failures > 1:
            yield _with(automaton, "R2", f"failures = {spec.failures - 1}", failures=spec.failures - 1)
        yield _with(automaton, "R3", f"failures = {spec.failures + 1}", failures=spec.failures + 1)


def _beside(spec: BreakerSpec, share: float) -> tuple[float, float]:
    """Shares below and above that make a difference: where only full windows count, by one call."""
    if spec.trip != "count" or spec.least_calls < spec.window:
        return round(share * 0.8, 4), min(1.0, round(share * 1.25, 4))
    needed = math.ceil(share * spec.window)
    return max(needed - 1, 0) / spec.window, min(needed + 1, spec.window) / spec.window


def _waits(automaton: Automaton) -> Iterator[Change]:
    """Waits shorter and longer, and what may set them back."""
    spec = automaton.spec
    # Both breakers have their timers' tolerance: nearer than twice that, the other one may keep the specification to the letter.
    most = spec.wait_max_ns if spec.wait_max_ns is not None else spec.wait_ns
    shorter = [
        min(round(spec.wait_ns * factor), spec.wait_ns - 2 * spec.eps_ns) for factor in (0.9, 0.75, 0.5)
    ]
    longer = [max(round(most * factor), most + 2 * spec.eps_ns) for factor in (1.1, 1.3, 2.0)]
    for rule, waits in (("R5", shorter), ("R6", longer)):
        for wait in dict.fromkeys(wait for wait in waits if wait > 0):
            yield _with(automaton, rule, f"wait = {wait / 1e6:.0f} ms", wait_ns=wait, wait_max_ns=None)
    # Not for ever, but for longer than any history lasts.
    yield _with(
        automaton,
        "R6",
        "it never half-opens",
        wait_ns=_AGES_NS,
        wait_max_ns=None,
        wait_cap_ns=None,
        backoff=1.0,
    )
    if spec.backoff != 1.0:
        yield _with(automaton, "R18", "there is no back-off", backoff=1.0)
        yield _with(automaton, "R18", f"backoff = {spec.backoff**2:g}", backoff=spec.backoff**2)
    if spec.probes != "serialised":  # behind a lock no call ends in another epoch than it began in
        late = spec.late_failure_restarts_wait
        words = f"late failures {'do not restart' if late else 'restart'} the wait"
        yield _with(automaton, "R7", words, late_failure_restarts_wait=not late)
    yield _habit(automaton, "R7", "rejections restart the wait", "rejection_restarts_wait")


def _half_open(automaton: Automaton) -> Iterator[Change]:
    """Probes, what resolves half-open, and what is left of the count after it."""
    spec = automaton.spec
    if spec.permitted is not None:
        for more in (spec.permitted + 1, spec.permitted + 2):
            yield _with(automaton, "R8", f"permitted = {more}", permitted=more)
        yield _with(automaton, "R8", "permitted is unbounded", permitted=None, close_ratio=None, results=None)
        yield _habit(automaton, "R9", "an ended probe keeps its slot", "slot_kept")
    if spec.dwell_ns is not None and spec.half_open_event != "none":
        yield _with(automaton, "R9", "the stay in half-open has no end", dwell_ns=None)
    if spec.close_ratio is not None:
        yield from _by_ratio(automaton, spec)
    elif spec.successes_of is not None:
        if spec.successes < spec.successes_of:
            yield _with(automaton, "R10", f"successes = {spec.successes + 1}", successes=spec.successes + 1)
        if spec.successes > 1:
            yield _with(automaton, "R10", f"successes = {spec.successes - 1}", successes=spec.successes - 1)
        yield _with(automaton, "R11", "the first failing probe reopens", successes_of=None)
    else:
        yield _with(automaton, "R10", f"successes = {spec.successes + 1}", successes=spec.successes + 1)
        if spec.successes > 1:
            yield _with(automaton, "R10", f"successes = {spec.successes - 1}", successes=spec.successes - 1)
        yield _with(
            automaton, "R11", "failing probes are ignored", reopen_on_failure=not spec.reopen_on_failure
        )
    if not spec.window_survives:
        yield _habit(automaton, "R12", "the count survives closing", "count_survives")


def _by_ratio(automaton: Automaton, spec: BreakerSpec) -> Iterator[Change]:
    """A breaker that closes by the share of failing probes."""
    assert spec.close_ratio is not None
    if (spec.results or spec.permitted or 1) > 1:
        yield _with(automaton, "R10", "the first successful probe closes it", close_ratio=None, successes=1)
    else:
        yield _with(automaton, "R10", "it takes 2 results", results=2)
    yield _with(automaton, "R11", "probes never reopen it", close_ratio=1.1)
