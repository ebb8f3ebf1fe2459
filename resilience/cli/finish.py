"""After a run, and for `judge` and `report`: verdict, page and JUnit from the record, then the verdict on the terminal."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resilience.cli.remembered import past_runs
from resilience.cli.terminal import Terminal, complain
from resilience.report.console import print_console
from resilience.report.headline import one_line
from resilience.report.html import render_html
from resilience.report.junit import render_junit
from resilience.report.model import build_model
from resilience.report.prometheus import render_prometheus
from resilience.report.values import Past, ReportModel
from resilience.run.ending import Ending, Verdict
from resilience.run.judge import judge_record
from resilience.run.record import RecordError, RunReader, write_whole

log = logging.getLogger("chaos_spike.finish")


def finish(folder: Path, ending: Ending | None = None, *, strict: bool | None = None) -> Verdict:
    """Judge a record, print the verdict, then write `verdict.json`, `junit.xml` and `report.html`.

    Where `strict` differs from what the run asked for, they are `verdict-strict.json` and so on (or `-declared`).

    `ending` is what the runner knows and may not have been able to write down (a full disk). Once there is a verdict
    it is returned, also where it cannot be shown or written: then that is said. Raises `RecordError` or `PlanInvalid`
    where the record cannot be read.
    """
    reader = RunReader(folder)
    verdict = judge_record(reader, strict=strict, ending=ending)
    with _said():
        model = build_model(reader, verdict, _past(reader, verdict))
        with _said():
            print_console(model, Terminal())
            _print_last_lines(model, verdict)
        with _said():
            write_whole(
                folder / model.file("verdict", "json"), json.dumps(verdict, indent=1, default=str) + "\n"
            )
            _write_pages(folder, model)
            write_whole(folder / model.file("metrics", "prom"), render_prometheus(verdict))
    return Verdict(verdict["verdict"])


def render(reader: RunReader, verdict: dict[str, Any]) -> None:
    """Print a verdict, and write its page and its JUnit file. Raises `RecordError` where that cannot be done."""
    model = build_model(reader, verdict, _past(reader, verdict))
    print_console(model, Terminal())
    _write_pages(reader.path, model)


def _past(reader: RunReader, verdict: dict[str, Any]) -> Past | None:
    """What the history says of this run's figures; a page without it is still the page of this run."""
    try:
        from resilience.report.past import past_of

        return past_of(*past_runs(reader, verdict))
    except Exception:
        log.exception("the history is left out of the page")
        return None


def _write_pages(folder: Path, model: ReportModel) -> None:
    write_whole(folder / model.file("junit", "xml"), render_junit(model))
    write_whole(folder / model.file("report", "html"), render_html(model))


def _print_last_lines(model: ReportModel, verdict: dict[str, Any]) -> None:
    """Say the verdict once more, where the eye rests, and answer a newcomer's next question: how to see it fail."""
    terminal = Terminal()
    terminal.print(one_line(model), highlight=False, markup=False)
    if verdict["verdict"] == Verdict.INVALID:
        terminal.print(
            "what to do:  this says nothing about the system. Run it again on a quieter machine (exit 3 may be retried), or lower "
            "the load, for example --set load.NAME.rate.default=10/s",
            highlight=False,
        )
    own = verdict["plan"] == "breaker" and verdict["stack"] in ("embedded", "compose")
    if own and verdict["verdict"] == Verdict.PASS:
        stack = "" if verdict["stack"] == "embedded" else f" STACK={verdict['stack']}"
        terminal.print(
            f"watch it fail:  CHAOS_SPIKE_LAB_BREAKER=none make chaos-spike{stack}", highlight=False
        )


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What fails in here is said and costs no verdict."""
    try:
        yield
    except RecordError as error:
        complain(error)
    except Exception:
        log.exception("the verdict stands, but it could not be shown or written in full")
