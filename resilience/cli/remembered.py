"""The user's history as the commands use it: which file it is, a judged run in its form, and the runs that are meant by a word.

Whatever is wrong with what a user has named ends in one message and exit code 2; a run that cannot be remembered costs no verdict.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from resilience.cli.scenarios import fail_usage
from resilience.cli.terminal import complain
from resilience.history.figures import environment_fingerprint, figures_of, plan_hash
from resilience.history.store import History, HistoryError, StoredRun, default_history_file
from resilience.plan.problems import nearest
from resilience.run.record import RecordError, RunReader

HistoryFile = Annotated[
    Path | None,
    typer.Option(
        "--history", help="The history (default: $CHAOS_SPIKE_HISTORY, else the state directory's)."
    ),
]


def remember(folder: Path) -> None:
    """Add a judged run to the user's history; where that cannot be done it is said, and changes no verdict."""
    try:
        with History(history_file(None)) as history:
            history.add(stored_run(folder))
    except (HistoryError, RecordError) as error:
        complain(error)


def history_file(named: Path | None) -> Path:
    """The file that is meant."""
    from faults.journal import default_state_dir

    return named or default_history_file(default_state_dir())


def stored_run(folder: Path) -> StoredRun:
    """A judged run as the history keeps it; RecordError where the folder holds none."""
    reader = RunReader(folder)
    verdict = reader.verdict()
    if not verdict:
        raise RecordError(f"{folder} has no verdict.json; judge it first: chaos-spike judge {folder}")
    return _stored(reader, verdict)


def past_runs(reader: RunReader, verdict: dict[str, Any]) -> tuple[list[StoredRun], StoredRun]:
    """The history up to a run, and the run itself, which need not be in it yet; later runs are not of its past."""
    last = _stored(reader, verdict)
    try:
        with History(history_file(None), create=False) as opened:
            known = opened.runs(last.plan)
    except HistoryError:  # none yet; one that is broken is complained of when this run is added
        known = []
    mine = next((run for run in known if run.run_id == last.run_id), last)
    last = replace(last, reference_from=mine.reference_from, note=mine.note)
    before = [run for run in known if run.started <= last.started and run.run_id != last.run_id]
    return [*before, last], last


def _stored(reader: RunReader, verdict: dict[str, Any]) -> StoredRun:
    folder, environment = reader.path, reader.environment()
    return StoredRun(
        run_id=str(environment.get("run_id") or folder.name),
        plan=str(verdict.get("plan", "")),
        plan_hash=plan_hash(reader.plan_text()),
        fingerprint=environment_fingerprint(environment),
        started=str(verdict.get("started") or environment.get("started") or ""),
        verdict=str(verdict.get("verdict", "")),
        stack=str(verdict.get("stack") or ""),
        seed=str(verdict.get("seed", "")),
        folder=str(folder.resolve()),
        reference_from=False,
        note="",
        figures=figures_of(verdict),
    )


def runs_of(history: Path | None, plan: str | None) -> list[StoredRun]:
    """All runs, or those of a plan. Exits with 2 where there is no history, or no run of that plan in it."""
    try:
        with History(history_file(history), create=False) as opened:
            runs = opened.runs(plan)
            known = [] if runs else sorted({run.plan for run in opened.runs()})
    except HistoryError as error:
        fail_usage(str(error))
    if plan is not None and not runs:
        fail_usage(f"no runs of {plan!r} in the history{nearest(plan, known)}")
    return runs


def meant(word: str, history: Path | None) -> StoredRun:
    """The run of a folder, or of an id in the history; HistoryError or RecordError where there is none."""
    if Path(word).is_dir():
        return stored_run(Path(word))
    with History(history_file(history), create=False) as opened:
        return opened.find(word)


def started_since(run: StoredRun, since: datetime | None) -> bool:
    """Whether a run was started then or later; one that does not say when was not."""
    if since is None:
        return True
    try:
        started = datetime.fromisoformat(run.started)
    except ValueError:
        return False
    return (started if started.tzinfo is not None else started.replace(tzinfo=UTC)) >= since
