"""After a run, and for `judge` and `report`: verdict, page and JUnit from the record, then the verdict on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from resilience.report.console import print_console
from resilience.report.html import render_html
from resilience.report.junit import render_junit
from resilience.report.model import build_model
from resilience.run.ending import Ending, Verdict
from resilience.run.judge import judge_record
from resilience.run.record import RunReader


def finish(folder: Path, ending: Ending | None = None, *, strict: bool | None = None) -> Verdict:
    """Judge a record, write `verdict.json`, `report.html` and `junit.xml`, print the verdict.

    `ending` is what the runner knows and may not have been able to write down (a full disk).
    """
    reader = RunReader(folder)
    verdict = judge_record(reader, strict=strict, ending=ending)
    write_atomically(folder / "verdict.json", json.dumps(verdict, indent=1, default=str) + "\n")
    render(reader, verdict)
    if verdict["verdict"] == Verdict.PASS and verdict["stack"] in ("embedded", "compose"):
        # A newcomer's next question: would it have noticed?
        stack = "" if verdict["stack"] == "embedded" else f" STACK={verdict['stack']}"
        Console().print(
            f"watch it fail:  CHAOS_SPIKE_LAB_BREAKER=none make chaos-spike{stack}", highlight=False
        )
    return Verdict(verdict["verdict"])


def render(reader: RunReader, verdict: dict[str, Any]) -> None:
    """Write the page and the JUnit file of a verdict, and print it."""
    model = build_model(reader, verdict)
    write_atomically(reader.path / "junit.xml", render_junit(model))
    write_atomically(reader.path / "report.html", render_html(model))
    print_console(model, Console())


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or leave the old one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
