"""What clocks of load workers elsewhere leave undecided. Pure.

Calls that workers of a cluster made are stamped by clocks that are known within an interval (`resilience.metrics.clocks`). Rules see each
of those stamps as wide as that, so they can only err towards "unknown". Where a clock is known badly a reader wants to know
which rules that cost: those that would be settled if the stamps were exact say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from resilience.analysis.evidence import RunEvidence
from resilience.breaker.observation import Interval
from resilience.breaker.report import BreakerReport, InstanceReport, RuleVerdict, Verdict
from resilience.metrics.clocks import COARSE_NS, WorkerClock, worker_clocks


def callers_clocks(evidence: RunEvidence, load: str) -> tuple[WorkerClock, ...]:
    """The clocks by which a load's calls were stamped, by stripe; empty where that was this machine's own."""
    # A stimulus is played by the runner itself, whatever drives the loads.
    return worker_clocks(evidence.workers) if load in evidence.plan.load else ()


def widened_notes(
    notes: Iterable[Mapping[str, Any]], clocks: Sequence[WorkerClock]
) -> Iterator[Mapping[str, Any]]:
    """Notes of calls with `at` as wide as it may have been, and sockets as open as they surely were.

    Whoever asks "did this begin after that had ended?" or "was it open then?" is told yes only where it is certain.
    """
    for note in notes:
        number = note.get("i")
        if not clocks or not isinstance(number, int):
            yield note
            continue
        least, most = clocks[number % len(clocks)].error_ns
        moved = dict(note)
        if note.get("at") is not None:
            moved["at"] = [note["at"][0] - most, note["at"][1] - least]
        if note.get("what") == "socket":
            for key, error in (("opened", least), ("welcomed", least), ("left", most)):
                if note.get(key) is not None:
                    moved[key] = note[key] - error
        yield moved


def judged_by_clocks(
    judge: Callable[[Sequence[Interval]], BreakerReport], clocks: Sequence[WorkerClock]
) -> BreakerReport:
    """What `judge` says of stamps with these errors; rules that a clock leaves open name it."""
    report = judge([Interval(*clock.error_ns) for clock in clocks])
    coarse = [clock for clock in clocks if clock.width_ns > COARSE_NS]
    if not coarse:
        return report
    why = "; ".join(map(str, coarse))
    try:
        exact = {(i.breaker, i.instance, i.boot): i.rules for i in judge(()).instances}
    except ValueError:
        exact = (
            None  # a clock went back while a call was under way: taken for exact, it ended before it began
        )
    return replace(
        report,
        instances=tuple(
            _said(
                instance,
                why,
                None
                if exact is None
                else exact.get((instance.breaker, instance.instance, instance.boot), {}),
            )
            for instance in report.instances
        ),
    )


def _said(instance: InstanceReport, why: str, exact: Mapping[str, RuleVerdict] | None) -> InstanceReport:
    def blamed(name: str, rule: RuleVerdict) -> bool:
        if rule.verdict is not Verdict.UNKNOWN:
            return False
        if exact is None:
            # Nobody can tell what exact stamps would have settled; that there was something to settle.
            return rule.exercised + rule.unsettled > 0
        return name in exact and exact[name].verdict is not Verdict.UNKNOWN

    rules = {
        name: replace(rule, reason=f"undecidable: {why}") if blamed(name, rule) else rule
        for name, rule in instance.rules.items()
    }
    return replace(instance, rules=rules)
