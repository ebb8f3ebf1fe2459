"""`chaos-spike run`: run plans on a stack, judge them, leave a record and say where it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from resilience.cli.clusters import check_cluster
from resilience.cli.interposed import check_interposable, interposed_stack
from resilience.cli.jobs import Job, run_jobs
from resilience.cli.live import live_page
from resilience.cli.options import (
    Cluster,
    DryRun,
    FallbackTo,
    Jobs,
    Live,
    Notice,
    Out,
    OutcomeFile,
    Overlays,
    Plans,
    Seed,
    Settings,
    Stack,
    Strict,
    Target,
    Workers,
)
from resilience.cli.outcomes import Outcome, print_outcomes, reason_of, with_unstarted, write_outcomes
from resilience.cli.place import Place, StackKind, check_jobs, check_stack, placed
from resilience.cli.plan import print_timeline
from resilience.cli.remembered import remember
from resilience.cli.scenarios import expanded, load_or_exit
from resilience.cli.signals import Signals
from resilience.cli.terminal import complain
from resilience.cli.words import Words
from resilience.plan import LoadedPlan
from resilience.run.ending import Ending, Verdict, exit_code, worst

if TYPE_CHECKING:  # imported when it runs: `--help` stays fast
    from resilience.run.interpreter import RunOptions

log = logging.getLogger("chaos_spike.run")


def run(
    plans: Plans = None,
    stack: Stack = None,
    target: Target = None,
    fallback: FallbackTo = None,
    out: Out = Path("runs"),
    seed: Seed = None,
    workers: Workers = None,
    cluster: Cluster = None,
    jobs: Jobs = 1,
    live: Live = False,
    strict: Strict = False,
    dry_run: DryRun = False,
    overlay: Overlays = None,
    setting: Settings = None,
    outcome: OutcomeFile = None,
    notice: Notice = None,
) -> None:
    """Run plans and judge them.

    Exit codes: 0 pass; 1 fail; 2 usage or an invalid plan, nothing was started; 3 unknown or invalid; 4 aborted;
    5 a fault could not be healed; 6 set-up failed; 130 and 143 after healing on SIGINT and SIGTERM.
    """
    names = expanded(plans or ["breaker"], external=StackKind.EXTERNAL is stack)
    # Every plan is loaded before the first one runs: a typo in the last must not cost the time of the others.
    loaded = [load_or_exit(name, overlays=overlay or (), settings=setting or ()) for name in names]
    check_cluster(cluster, jobs, workers, loaded)
    place = placed(stack, target, fallback, dry_run=dry_run, notice=notice)
    if jobs > 1 and len(loaded) > 1:
        check_jobs(place, live=live)
    for plan in loaded:
        check_stack(plan, place)
        if not dry_run:
            check_interposable(plan)
    if dry_run:
        for plan in loaded:
            print_timeline(plan.timeline)
        return
    words = Words(
        place,
        random.SystemRandom().getrandbits(32) if seed is None else seed,
        workers or (0 if cluster else 2),
        strict,
        tuple(overlay or ()),
        tuple(setting or ()),
        out,
        cluster or "",
    )
    raise typer.Exit(_run_all(list(zip(names, loaded, strict=True)), words, jobs, live=live, outcome=outcome))


def _run_all(
    plans: Sequence[tuple[str, LoadedPlan]], words: Words, jobs: int, *, live: bool, outcome: Path | None
) -> int:
    """Run every plan, in turn or side by side, and tell what became of them; the exit code."""
    names = [name for name, _ in plans]
    with Signals() as signals:
        if jobs > 1 and len(names) > 1:
            outcomes = run_jobs([Job(name, words.again(name)) for name in names], jobs, signals)
        else:
            outcomes = _run_in_turn(plans, words, signals, live=live)
        if len(names) > 1:
            told = with_unstarted(outcomes, names)
            print_outcomes(told)
            write_outcomes(words.out / f"{_stamp()}-suite-{secrets.token_hex(3)}", told)
        if outcome is not None and outcomes:
            outcome.write_text(json.dumps(outcomes[0].to_json()), encoding="utf-8")
        return exit_code(worst(each.verdict for each in outcomes), signals.number)


def _run_in_turn(
    plans: Sequence[tuple[str, LoadedPlan]], words: Words, signals: Signals, *, live: bool
) -> list[Outcome]:
    """One plan after the other, until a signal; outcomes of those that were started."""
    outcomes: list[Outcome] = []
    for name, plan in plans:
        if signals.number:
            break
        options = _options(plan, words, name)
        with live_page(options.folder) if live else contextlib.nullcontext():
            outcomes.append(_run_one(name, plan, words.place, options, signals))
    return outcomes


def _options(loaded: LoadedPlan, words: Words, name: str) -> RunOptions:
    from faults.journal import default_state_dir
    from resilience.run.interpreter import RunOptions

    run_id = secrets.token_hex(3)
    return RunOptions(
        folder=words.out / f"{_stamp()}-{loaded.plan.name}-{run_id}",
        state_dir=default_state_dir(),
        seed=words.seed,
        run_id=run_id,
        workers=words.workers,
        cluster=words.cluster,
        strict=words.strict,
        command=words.shown(name),
    )


def _stamp() -> str:
    return datetime.now(tz=UTC).strftime("%Y%m%d-%H%M%S")


def _run_one(name: str, loaded: LoadedPlan, place: Place, options: RunOptions, signals: Signals) -> Outcome:
    """Run and judge one plan. Whatever happens to it, the plans before it keep their say in the exit code."""
    from resilience.lab.system import StackError
    from resilience.run.record import RecordError

    try:
        ending = _execute(loaded, place, options, signals)
    except (RecordError, StackError) as error:  # nothing was started, and there is no record
        complain(error)
        return Outcome(name, Verdict.SETUP_FAILED, reason=str(error))
    except Exception as error:
        log.exception("the run crashed")
        complain(f"{type(error).__name__}: {error}")
        return Outcome(name, Verdict.ABORTED, reason=f"{type(error).__name__}: {error}")
    verdict = _judged(options.folder, ending)
    if (options.folder / "verdict.json").is_file():
        remember(options.folder)
    return Outcome(name, verdict, options.folder, reason_of(options.folder) or ending.detail)


def _execute(loaded: LoadedPlan, place: Place, options: RunOptions, signals: Signals) -> Ending:
    from resilience.cli.progress import Progress
    from resilience.cli.stacks import make_stack
    from resilience.run.interpreter import run_plan
    from resilience.run.stop import Stop

    progress = Progress(loaded)

    async def execute() -> Ending:
        stop = Stop()
        with signals.stopping(stop):
            made = interposed_stack(loaded) or make_stack(
                place.stack, loaded.plan, place.system, place.notice
            )
            return await run_plan(loaded, made, options, stop=stop, listen=progress.heard)

    with progress:
        return asyncio.run(execute())


def _judged(folder: Path, ending: Ending) -> Verdict:
    """The verdict on a run that was started; how it ended, where its record cannot be judged."""
    from resilience.cli.finish import finish
    from resilience.run.record import RecordError

    try:
        return finish(folder, ending)
    except RecordError as error:
        complain(error)
    except Exception as error:
        log.exception("the run cannot be judged")
        complain(f"{folder} cannot be judged: {type(error).__name__}: {error}")
    if ending.detail:
        complain(ending.detail)
    return ending.verdict
