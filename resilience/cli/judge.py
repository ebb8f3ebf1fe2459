"""`chaos-spike judge` and `chaos-spike report`: the same verdict, the same page, from a record, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from resilience.cli.scenarios import fail_usage
from resilience.run.ending import exit_code

RunFolder = Annotated[Path, typer.Argument(help="The folder of a run.")]


def judge(
    run: RunFolder,
    strict: Annotated[
        bool | None,
        typer.Option("--strict/--declared", help="Judge breakers without, or with, declared deviations."),
    ] = None,
) -> None:
    """Judge a run's record again; the exit code is the run's, 130 and 143 included.

    With other strictness than the run asked for, the files are verdict-strict.json, report-strict.html and
    junit-strict.xml (or -declared) beside the run's own.
    """
    from resilience.cli.finish import finish
    from resilience.plan import PlanInvalid
    from resilience.run.record import RecordError, RunReader

    try:
        verdict, signal = finish(run, strict=strict), RunReader(run).signal
    except (RecordError, PlanInvalid) as error:
        fail_usage(str(error))
    raise typer.Exit(exit_code(verdict, signal))


def report(run: RunFolder) -> None:
    """Write the page and JUnit file of a judged run again."""
    from resilience.cli.finish import render
    from resilience.run.record import RecordError, RunReader

    try:
        reader = RunReader(run)
        verdict = reader.verdict()
        if not verdict:
            fail_usage(f"{run} has no verdict.json; judge it first: chaos-spike judge {run}")
        render(reader, verdict)
    except RecordError as error:
        fail_usage(str(error))
