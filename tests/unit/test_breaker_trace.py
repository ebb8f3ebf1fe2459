"""`verify_trace`: a history on paper to a report and an exit code; and the documents that describe both."""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from resilience.breaker.dialects import DIALECTS
from resilience.breaker.history import HistoryError
from resilience.breaker.report import Verdict, rule_order
from resilience.breaker.rules import ALL
from resilience.breaker.spec import KEYS, BreakerSpec, SpecError
from resilience.breaker.trace import render, verify_trace
from resilience.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
SPEC = {"failures": 2, "wait_ms": 1000}


def trace(*, leak: bool = False) -> str:
    """Two failures open it at 1.2 s; one probe closes it at 2.31 s; perhaps a call leaks at 1.5 s."""
    calls = [(0.5, 0.51, "ok"), (1.0, 1.1, "failure"), (1.15, 1.2, "failure"), (1.3, 1.301, "rejected")]
    calls += [(1.5, 1.51, "ok" if leak else "rejected"), (2.1, 2.101, "rejected"), (2.25, 2.31, "ok")]
    calls += [(2.28, 2.281, "rejected"), (2.5, 2.51, "ok"), (2.6, 2.61, "failure"), (2.7, 2.71, "ok")]
    lines = ['{"kind":"boot","instance":"i","at":0}']
    for number, (start, end, outcome) in enumerate(calls):
        call = f'{{"kind":"call","breaker":"b","instance":"i","id":{number},"start":{start},"end":{end}'
        lines.append(f'{call},"outcome":"{outcome}","fallback":true}}')
        if outcome != "rejected":
            lines.append(f'{{"kind":"arrival","breaker":"b","instance":"i","id":{number},"at":{start}}}')
    for before, after, at in (
        ("closed", "open", 1.2),
        ("open", "half_open", 2.25),
        ("half_open", "closed", 2.31),
    ):
        whose = '{"kind":"transition","breaker":"b","instance":"i"'
        lines.append(f'{whose},"from":"{before}","to":"{after}","at":{at}}}')
    return "\n".join(lines)


def test_breaker_trace_passes_a_healthy_breaker() -> None:
    """Exit code 0, a healthy path, and evidence of events and wire for every step after the first."""
    report, code = verify_trace(trace(), SPEC, required=["R1", "R4", "R5", "R10", "R15"])
    assert code == 0, render(report)
    (instance,) = report.instances
    assert instance.healthy_path
    assert all(step.events and step.wire and step.wire["supports"] for step in instance.path)
    assert "pass: every required rule holds" in render(report)


def test_breaker_trace_fails_a_leak_with_a_witness() -> None:
    """Exit code 1; the leaked call is named."""
    report, code = verify_trace(trace(leak=True), SPEC)
    assert code == 1
    text = render(report)
    assert "FAIL     R4" in text
    assert "| call 4: started 1.500 s, admitted by 1.500 s" in text


@pytest.mark.parametrize("text", ["", '{"kind":"boot","instance":"i","at":0}'])
def test_breaker_trace_without_evidence_is_unknown(text: str) -> None:
    """Silence is not health: exit code 3."""
    assert verify_trace(text, SPEC)[1] == 3


def test_breaker_trace_requires_what_it_is_told_to() -> None:
    """A required rule that was not exercised: exit code 3, and the missing stimulus in words."""
    report, code = verify_trace(trace(), SPEC, required=["R14"])
    assert code == 3
    assert "cancelled or excluded calls" in report.reason()


def test_breaker_trace_refuses_bad_input() -> None:
    """Lines, keys and rules that do not exist are errors, not verdicts."""
    with pytest.raises(HistoryError, match="line 2"):
        verify_trace('{"kind":"boot","instance":"i","at":0}\n{"kind":"bot"}', SPEC)
    with pytest.raises(SpecError, match="wait_ms"):
        verify_trace("", {"wait": 1})
    with pytest.raises(ValueError, match="R99"):
        verify_trace("", SPEC, required=["R99"])


def test_breaker_docs_show_every_key_and_rule() -> None:
    """The tables of the specification and of the rules are complete."""
    text = (DOCS / "breakers.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in text] == []
    assert [rule.id for rule in ALL if f"| {rule.id} {rule.title} |" not in text] == []


def test_breaker_docs_example_specification_is_one() -> None:
    """It is read as it stands, and is what its comments say."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "breakers.md").read_text(encoding="utf-8"), re.DOTALL)
    spec = BreakerSpec.from_mapping(YAML(typ="safe").load(block))
    assert (spec.dialect, spec.failures, spec.wait_ns, spec.timeout_ns) == ("purgatory", 5, 10**9, 3 * 10**8)


def test_breaker_docs_example_history_gets_the_verdict_that_it_says() -> None:
    """The example of the history format is judged as the page says, and the change it suggests fails."""
    text = (DOCS / "history-format.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    report, code = verify_trace(block, SPEC)
    passed = [r.rule for r in report.instances[0].rules.values() if r.verdict is Verdict.PASS]
    assert (code, passed) == (
        0,
        ["R1", "R3", "R4", "R5", "R6", "R8", "R10", "R12", "R15", "R16", "R17"],
    )
    fifth = '"id":5,"start":2.250,"end":2.253,"outcome":"rejected"'
    assert fifth in block
    arrival = '{"kind":"arrival","breaker":"pricing","instance":"gw-1","id":5,"at":2.251}\n'
    report, code = verify_trace(block.replace(fifth, fifth.replace("rejected", "ok")) + arrival, SPEC)
    rule = report.instances[0].rules["R4"]
    assert (code, rule.verdict) == (1, Verdict.FAIL)
    assert "941" in rule.reason


def test_breaker_docs_show_every_dialect() -> None:
    """Each dialect stands in the table, with the rules that it declares."""
    text = (DOCS / "breakers.md").read_text(encoding="utf-8")
    for name, spec in DIALECTS.items():
        if name in {"strict", "none"}:
            continue
        (row,) = [
            line for line in text.splitlines() if line.startswith("| `") and f"`{name}`" in line.split("|")[1]
        ]
        declared = row.rstrip(" |").rpartition("|")[2].strip()
        assert declared == (", ".join(sorted(spec.deviations, key=rule_order)) or "none"), name


@pytest.mark.parametrize(
    ("text", "options", "verdict", "code"),
    [
        (trace(), ("--require", "R4"), "pass", 0),
        (trace(leak=True), (), "fail", 1),
        (trace(), ("--require", "R14"), "unknown", 3),
        ('{"kind":"boot","instance":"i","at":0}\n', (), "unknown", 3),
        (
            '{"kind":"call","breaker":"b","instance":"i","id":1,"start":0,"end":1,"outcome":"ok"}\n',
            (),
            "unknown",
            3,
        ),
    ],
    ids=["healthy", "leak", "required", "silent", "settles nothing"],
)
def test_breaker_trace_command_says_in_json_what_its_exit_code_says(
    tmp_path: Path, text: str, options: tuple[str, ...], verdict: str, code: int
) -> None:
    """`--json` and the terminal agree with the exit code, also where a history settles nothing."""
    (tmp_path / "trace.jsonl").write_text(text)
    (tmp_path / "spec.yaml").write_text("{failures: 2, wait_ms: 1000}")
    words = ["verify-trace", str(tmp_path / "trace.jsonl"), "--spec", str(tmp_path / "spec.yaml"), *options]
    shown = CliRunner().invoke(app, [*words, "--json"])
    assert (shown.exit_code, json.loads(shown.stdout)["verdict"]) == (code, verdict)
    told = CliRunner().invoke(app, words)
    assert told.exit_code == code
    assert told.stdout.splitlines()[-1].startswith(f"{verdict}: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"kind":"boot","instance":"i","at":0}\n{"kind":"bot"}\n', "line 2"),
        (b'{"kind":"boot"' + b" " * 1_000_100, "line 1: longer than"),
        (b"\xff\xfe\n", "not UTF-8"),
        (None, "cannot be read"),
    ],
    ids=["kind", "long", "binary", "missing"],
)
def test_breaker_trace_command_refuses_what_it_cannot_read(
    tmp_path: Path, text: bytes | None, said: str
) -> None:
    """Exit code 2 and one message that says where, never a traceback."""
    if text is not None:
        (tmp_path / "trace.jsonl").write_bytes(text)
    (tmp_path / "spec.yaml").write_text("{failures: 2, wait_ms: 1000}")
    found = CliRunner().invoke(
        app, ["verify-trace", str(tmp_path / "trace.jsonl"), "--spec", str(tmp_path / "spec.yaml")]
    )
    assert found.exit_code == 2
    assert said in found.output.replace("\n", " ")


def test_breaker_trace_command_reads_a_pipe(tmp_path: Path) -> None:
    """What can be read only once is judged like a file."""
    pipe, spec = tmp_path / "trace", tmp_path / "spec.yaml"
    os.mkfifo(pipe)
    spec.write_text("{failures: 2, wait_ms: 1000}")
    writer = threading.Thread(target=lambda: pipe.write_text(trace(leak=True)))
    writer.start()
    found = CliRunner().invoke(app, ["verify-trace", str(pipe), "--spec", str(spec)])
    writer.join()
    assert found.exit_code == 1, found.output
