"""`chaos-spike history` and `compare`: runs over time, and two runs side by side.

`run` adds every judged run by itself; a job that keeps its records elsewhere adds, merges and exports with these commands.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.table import Table
from rich.text import Text

from resilience.cli.remembered import HistoryFile, history_file, meant, runs_of, started_since, stored_run
from resilience.cli.scenarios import fail_usage
from resilience.cli.terminal import Terminal
from resilience.history.figures import Figure
from resilience.history.nights import comparable
from resilience.history.store import History, HistoryError, StoredRun
from resilience.run.ending import EXIT_CODES, Verdict
from resilience.run.record import RecordError

if TYPE_CHECKING:  # it imports numpy: `--help` stays fast
    from resilience.history.trend import Night, Trend

history_app = typer.Typer(
    no_args_is_help=True, help="Runs over time: list, trend, accept a change, merge, export."
)


@history_app.command("add")
def add(
    runs: Annotated[list[Path], typer.Argument(help="Folders of judged runs.")], history: HistoryFile = None
) -> None:
    """Add runs that were made elsewhere; one that is there already is left as it is."""
    try:
        found = [stored_run(folder) for folder in runs]
        with History(history_file(history)) as opened:
            added = opened.merge(found)
    except (HistoryError, RecordError) as error:
        fail_usage(str(error))
    typer.echo(f"added {added} of {len(found)} runs")


@history_app.command("merge")
def merge(
    other: Annotated[Path, typer.Argument(help="Another history, for example last night's artifact.")],
    history: HistoryFile = None,
) -> None:
    """Take over every run of another history that is not here yet."""
    try:
        with History(other, create=False) as theirs, History(history_file(history)) as ours:
            added = ours.merge(theirs.runs())
    except HistoryError as error:
        fail_usage(str(error))
    typer.echo(f"added {added} runs")


@history_app.command("list")
def list_runs(
    plan: Annotated[str | None, typer.Argument(help="Only runs of this plan.")] = None,
    history: HistoryFile = None,
) -> None:
    """List runs, oldest first."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "started", "plan", "verdict", "stack", "note"):
        table.add_column(column, overflow="fold", no_wrap=column in ("run", "verdict"))
    for run in runs_of(history, plan):
        note = f"reference begins here: {run.note}" if run.reference_from else run.note
        table.add_row(
            *(Text(word) for word in (run.run_id, run.started, run.plan, run.verdict, run.stack, note))
        )
    Terminal().print(table)


@history_app.command("plans")
def list_plans(
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z"],
            metavar="TIME",
            help="Only plans of runs that were started then or later, such as 2026-01-31T02:17:00Z.",
        ),
    ] = None,
    history: HistoryFile = None,
) -> None:
    """Name every plan that has runs, one a line, for loops of a job."""
    begun = since and (since if since.tzinfo is not None else since.replace(tzinfo=UTC))
    for name in sorted({run.plan for run in runs_of(history, None) if started_since(run, begun)}):
        typer.echo(name)


@history_app.command("trend")
def trend(
    plan: Annotated[str | None, typer.Argument(help="The plan (default: that of the last run).")] = None,
    history: HistoryFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold the last three runs of a plan against those before them; exit code 1 if they got worse for certain."""
    from resilience.history.trend import judge_trend

    runs = runs_of(history, plan)
    if not runs:
        fail_usage("no runs in the history")
    last = runs[-1]
    nights = comparable(runs, last)
    night = judge_trend([{figure.name: figure for figure in run.figures} for run in nights])
    if as_json:
        typer.echo(json.dumps(_night_json(last, night), indent=1))
    else:
        _print_night(last, night, nights)
    raise typer.Exit(EXIT_CODES[Verdict.FAIL] if night.state == "fail" else 0)


@history_app.command("accept")
def accept(
    run: Annotated[str, typer.Argument(help="The first run after the change: its id, or the folder's name.")],
    note: Annotated[str, typer.Option(help="Why the change was meant.")],
    history: HistoryFile = None,
) -> None:
    """Accept a change: from this run on the reference begins anew."""
    try:
        with History(history_file(history), create=False) as opened:
            found = opened.find(run)
            opened.begin_reference(found.run_id, note)
    except HistoryError as error:
        fail_usage(str(error))
    typer.echo(f"the reference of {found.plan} begins anew with {found.run_id} ({found.started})")


@history_app.command("export")
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to (default: standard output).")] = None,
    plan: Annotated[str | None, typer.Option(help="Only runs of this plan.")] = None,
    history: HistoryFile = None,
) -> None:
    """Write CSV: one line a run and figure; an infinite value is written as inf."""
    runs = runs_of(history, plan)
    if file is None:
        _write_csv(sys.stdout, runs)
        return
    try:
        with file.open("x", encoding="utf-8", newline="") as stream:
            _write_csv(stream, runs)
    except OSError as error:
        fail_usage(f"{file} cannot be written: {error.strerror}")


def _write_csv(stream: TextIO, runs: Sequence[StoredRun]) -> None:
    lines = csv.writer(stream)
    columns = (
        "run",
        "started",
        "plan",
        "plan_hash",
        "fingerprint",
        "verdict",
        "figure",
        "value",
        "unit",
        "worse",
    )
    lines.writerow(columns)
    for run in runs:
        who = (run.run_id, run.started, run.plan, run.plan_hash, run.fingerprint, run.verdict)
        lines.writerows((*who, each.name, repr(each.value), each.unit, each.worse) for each in run.figures)


def compare(
    first: Annotated[str, typer.Argument(help="A run: its folder, or its id in the history.")],
    second: Annotated[str, typer.Argument(help="The run to hold against it.")],
    history: HistoryFile = None,
) -> None:
    """Show the figures of two runs side by side; says so where they may not be compared."""
    try:
        one, two = meant(first, history), meant(second, history)
    except (HistoryError, RecordError) as error:
        fail_usage(str(error))
    terminal = Terminal()
    if (one.plan, one.plan_hash) != (two.plan, two.plan_hash):
        terminal.print("! the plans differ: figures may differ for that reason alone", markup=False)
    if one.fingerprint != two.fingerprint:
        terminal.print(
            "! the machines or stacks differ: figures may differ for that reason alone", markup=False
        )
    table = Table("figure", one.run_id, two.run_id, "change", box=None, pad_edge=False)
    table.add_row("verdict", one.verdict, two.verdict, "")
    theirs = {figure.name: figure for figure in two.figures}
    names = [figure.name for figure in one.figures]
    for figure in one.figures:
        other = theirs.get(figure.name)
        table.add_row(
            figure.name, _shown(figure), _shown(other), "" if other is None else _change(figure, other)
        )
    for figure in (each for each in two.figures if each.name not in names):
        table.add_row(figure.name, _shown(None), _shown(figure), "")
    terminal.print(table)


def _print_night(last: StoredRun, night: Night, nights: Sequence[StoredRun]) -> None:
    from resilience.history.trend import RECENT, false_alarms

    terminal = Terminal()
    head = (
        f"{last.plan}: {night.state.upper()}, last {RECENT} runs against {night.reference_nights} before them"
    )
    terminal.print(head, highlight=False, markup=False)
    # What `accept` takes: the log of a nightly job is often all that there is of its history.
    judged = ", ".join(run.run_id for run in nights[-RECENT:])
    if judged:
        terminal.print(f"  the last, oldest first: {judged}", highlight=False, markup=False, soft_wrap=True)
    if night.note:
        terminal.print(f"  {night.note}", highlight=False, markup=False)
    if not night.trends:
        return
    table = Table("", "figure", "before", "now", "p", "visible from", box=None, pad_edge=False)
    for each in night.trends:
        mark = {"fail": "✘", "warn": "!", "ok": " "}.get(each.state, "?")
        visible = "" if each.visible is None else f"{each.visible - 1:+.0%}"
        table.add_row(
            mark,
            each.name,
            _value(each.reference, each.unit),
            _value(each.recent, each.unit),
            _p(each),
            visible,
        )
    terminal.print(table)
    terminal.print(
        f"  p is for the whole night; {false_alarms(night.reference_nights)}.", highlight=False, markup=False
    )


def _night_json(last: StoredRun, night: Night) -> dict[str, object]:
    return {
        "v": 1,
        "plan": last.plan,
        "run": last.run_id,
        "state": night.state,
        "note": night.note,
        "reference_runs": night.reference_nights,
        "figures": [
            {
                "name": each.name,
                "unit": each.unit,
                "state": each.state,
                "before": _finite(each.reference),
                "now": _finite(each.recent),
                "p": each.p,
                "visible_factor": each.visible,
            }
            for each in night.trends
        ],
    }


def _finite(value: float | None) -> float | str | None:
    return "inf" if value is not None and math.isinf(value) else value


def _p(each: Trend) -> str:
    return "" if each.p is None else f"{each.p:.4f}"


def _shown(figure: Figure | None) -> str:
    return "-" if figure is None else _value(figure.value, figure.unit)


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if math.isinf(value):
        return "not seen"
    return f"{value:.1%}" if unit == "share" else f"{value:.3g} {unit}"


def _change(one: Figure, two: Figure) -> str:
    if math.isinf(one.value) or math.isinf(two.value):
        return ""
    if one.unit == "share":
        return f"{100 * (two.value - one.value):+.1f} points"
    return f"{two.value / one.value - 1:+.0%}" if one.value else ""
