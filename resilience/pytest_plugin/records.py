"""What a chaos test leaves on disk: its histories in the public format, its verdicts, its timeline, and a page of it all.

A breaker stands in it as the test asserted on it last: that history, that specification, those required rules. It can be judged again by
`chaos-spike verify-trace history-NAME.jsonl --spec spec-NAME.yaml`, with the options that the page shows.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from resilience.breaker.history import dump_jsonl
from resilience.breaker.report import BreakerReport, rule_order
from resilience.breaker.trace import trace_reason, trace_verdict
from resilience.pytest_plugin.asserting import JudgedHistory
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.judging import JudgedBreaker
from resilience.pytest_plugin.specs import written_of
from resilience.pytest_plugin.watching import Watched
from resilience.report.tested import RuleFinding, TestedBreaker, render_test_page


def write_record(folder: Path, title: str, chaos: Chaos, timeline: str, *, failure: str = "") -> Path:
    """Write a test's record into `folder`; the page's path. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("# Records of chaos tests; made by chaos-spike.\n*\n", encoding="utf-8")
    tested: list[TestedBreaker] = []
    verdicts: dict[str, Any] = {}
    breakers: dict[str, Watched | JudgedBreaker] = {**chaos.watched, **chaos.judged}
    for name, breaker in breakers.items():
        safe = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
        held = breaker.record()
        (folder / f"history-{safe}.jsonl").write_text(dump_jsonl(held.history), encoding="utf-8")
        again = _write_spec(folder, safe, held)
        verdicts[name] = {
            **held.report.to_json(),
            "verdict": trace_verdict(held.report),
            "reason": trace_reason(held.report),
            "asserted": breaker.asserted is not None,
        }
        tested.append(_tested(name, held.report, again, asserted=breaker.asserted is not None))
    (folder / "timeline.txt").write_text(timeline + "\n", encoding="utf-8")
    (folder / "verdict.json").write_text(json.dumps(verdicts, indent=1), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(
        render_test_page(
            title,
            outcome="fail" if failure else "pass",
            seed=chaos.seed,
            timeline=timeline,
            failure=failure,
            breakers=tested,
        ),
        encoding="utf-8",
    )
    return page


def folder_of(nodeid: str) -> str:
    """A folder's name for a test."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", nodeid).strip("_")[-150:]


def _write_spec(folder: Path, safe: str, held: JudgedHistory) -> str:
    """Beside its history; how to judge it again, or why that cannot be done."""
    path = folder / f"spec-{safe}.yaml"
    try:
        path.write_text(json.dumps(dict(written_of(held.spec)), indent=1), encoding="utf-8")
    except ChaosSetupError as error:
        path.unlink(missing_ok=True)
        return str(error)
    required = "".join(f" --require {rule}" for rule in sorted(held.report.required, key=rule_order))
    strict = " --strict" if held.report.strict else ""
    return f"chaos-spike verify-trace history-{safe}.jsonl --spec {path.name}{required}{strict}"


def _tested(name: str, report: BreakerReport, again: str, *, asserted: bool) -> TestedBreaker:
    """A breaker as the page shows it."""
    return TestedBreaker(
        name=name,
        verdict=trace_verdict(report),
        how="the test's own assertion" if asserted else "the test asserted nothing of it",
        reason=trace_reason(report),
        again=again,
        rules=tuple(
            RuleFinding(
                rule.rule,
                rule.title,
                rule.verdict.value.lower(),
                rule.reason or rule.margin or f"exercised {rule.exercised} times",
            )
            for instance in report.instances
            for rule in instance.rules.values()
        ),
    )
