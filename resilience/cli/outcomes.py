"""What became of each plan of one command, and what is left when there were several: one table, one JUnit file, one JSON.

A nightly job reads one place: `OUT/STAMP-suite-ID/` with `junit.xml` (the test suites of all plans that left one; a plan
that left none is a test suite with one error), `suite.json`, and `summary.md` for the page of the job. Nothing is judged here; verdicts are only repeated.
Plans that a signal kept from starting are listed, too: a summary that leaves them out would look complete.
"""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from rich.table import Table
from rich.text import Text

from resilience.cli.terminal import Terminal, complain
from resilience.report.headline import sign, word
from resilience.run.ending import Verdict
from resilience.run.record import RecordError, write_whole

log = logging.getLogger("chaos_spike.outcomes")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One plan's end: the name or file it was asked for by, its verdict, and its folder if one was made."""

    plan: str
    verdict: Verdict
    folder: Path | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `folder` is null where there is none."""
        folder = None if self.folder is None else str(self.folder)
        return {"plan": self.plan, "verdict": self.verdict.value, "reason": self.reason, "folder": folder}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        """The inverse of `to_json`; KeyError or ValueError if `data` is not one."""
        folder = data["folder"]
        return cls(
            data["plan"], Verdict(data["verdict"]), None if folder is None else Path(folder), data["reason"]
        )


def reason_of(folder: Path) -> str:
    """The sentence of a judged run; empty where nothing was judged."""
    try:
        verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
        return str(verdict["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def with_unstarted(outcomes: Sequence[Outcome], asked: Sequence[str]) -> list[Outcome]:
    """The outcomes, and one for each plan that was asked for and not started any more: only a signal keeps one from it.

    Plans are started in the order of `asked`, so those are the last ones. They say nothing about the exit code.
    """
    why = "not started: stopped by a signal"
    return [*outcomes, *(Outcome(name, Verdict.ABORTED, reason=why) for name in asked[len(outcomes) :])]


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """One line a plan, in the order in which they were asked for."""
    terminal = Terminal()
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for each in outcomes:
        table.add_row(
            Text(f"{sign(each.verdict)} {word(each.verdict)}"),
            Text(each.plan),
            Text(each.reason if each.verdict is not Verdict.PASS else str(each.folder or ""), style="dim"),
        )
    terminal.print()
    terminal.print(Text("All plans", style="bold"))
    terminal.print(table)


def write_outcomes(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write `suite.json`, `junit.xml` and `summary.md` to `folder`; where that cannot be done it is said, and changes no verdict."""
    try:
        folder.mkdir(parents=True)
        listed = [each.to_json() for each in outcomes]
        write_whole(folder / "suite.json", json.dumps({"v": 1, "plans": listed}, indent=1) + "\n")
        write_whole(folder / "junit.xml", _junit(outcomes))
        write_whole(folder / "summary.md", _markdown(outcomes))
    except (OSError, RecordError) as error:
        complain(f"the summary of all plans could not be written to {folder}: {error}")


def _markdown(outcomes: Sequence[Outcome]) -> str:
    """A table for the page of a CI job. Reasons come from the target: nothing in them may become markup."""
    lines = ["| plan | verdict | why |", "|---|---|---|"]
    for each in outcomes:
        verdict = f"{sign(each.verdict)} {word(each.verdict)}"
        lines.append(f"| {_cell(each.plan)} | {verdict} | {_cell(each.reason)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    flat = html.escape(" ".join(text.split()))
    return re.sub(r"([\\`*_{}\[\]()#+!|~-])", r"\\\1", flat)


def _junit(outcomes: Sequence[Outcome]) -> str:
    root = ET.Element("testsuites")
    for each in outcomes:
        root.extend(_suites(each))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suites(outcome: Outcome) -> list[ET.Element]:
    if outcome.folder is not None:
        try:
            # Our own file of a moment ago, not somebody else's document.
            return list(ET.parse(outcome.folder / "junit.xml").getroot())  # noqa: S314 - see above
        except (OSError, ET.ParseError) as error:
            log.info("%s left no JUnit file: %s", outcome.plan, error)
    suite = ET.Element("testsuite", name=f"chaos-spike.{outcome.plan}", tests="1", errors="1", failures="0")
    case = ET.SubElement(suite, "testcase", classname=outcome.plan, name=f"run.{outcome.verdict}", time="0")
    ET.SubElement(
        case, "error", type=outcome.verdict.value, message=outcome.reason or "the run left no record"
    )
    return [suite]
