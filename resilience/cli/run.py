"""`chaos-spike run`: run plans on a stack, judge them, leave a record and say where it is."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
import shlex
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from resilience.cli.plan import print_timeline
from resilience.cli.scenarios import load_or_exit
from resilience.cli.signals import Signals
from resilience.cli.terminal import complain
from resilience.plan import LoadedPlan
from resilience.run.ending import Ending, Verdict, exit_code, worst

if TYPE_CHECKING:  # imported when it runs: `--help` stays fast
    from resilience.run.interpreter import RunOptions

log = logging.getLogger("chaos_spike.run")


class StackKind(StrEnum):
    """Where the system under test lives."""

    EMBEDDED = "embedded"
    COMPOSE = "compose"
    EXTERNAL = "external"


def run(
    plans: Annotated[
        list[str] | None, typer.Argument(help="Plan files, or names of built-in plans (default: breaker).")
    ] = None,
    stack: Annotated[StackKind, typer.Option(help="Where the system under test lives.")] = StackKind.EMBEDDED,
    out: Annotated[Path, typer.Option(help="Folder that gets one folder a run.")] = Path("runs"),
    seed: Annotated[
        int | None, typer.Option(help="Seed of every random choice; drawn when not given.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Load worker processes.")] = 2,
    strict: Annotated[
        bool, typer.Option("--strict", help="Judge breakers without declared deviations.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the timeline; start nothing.")] = False,
    overlay: Annotated[list[Path] | None, typer.Option(help="A YAML file laid over each plan.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE in the plan, repeatable.")
    ] = None,
) -> None:
    """Run plans and judge them.

    Exit codes: 0 pass; 1 fail; 2 usage or an invalid plan, nothing was started; 3 unknown or invalid; 4 aborted;
    5 a fault could not be healed; 6 set-up failed; 130 and 143 after healing on SIGINT and SIGTERM.
    """
    names = plans or ["breaker"]
    # Every plan is loaded before the first one runs: a typo in the last must not cost the time of the others.
    loaded = [load_or_exit(name, overlays=overlay or (), settings=setting or ()) for name in names]
    for plan in loaded:
        _check_stack(plan, stack)
    if dry_run:
        for plan in loaded:
            print_timeline(plan.timeline)
        return
    chosen_seed = random.SystemRandom().getrandbits(32) if seed is None else seed
    verdicts: list[Verdict] = []
    with Signals() as signals:
        for name, plan in zip(names, loaded, strict=True):
            if signals.number:
                break
            command = _command(name, stack, chosen_seed, strict, overlay or (), setting or ())
            options = _options(plan, out, chosen_seed, workers, strict, command)
            verdicts.append(_run_one(plan, stack, options, signals))
        code = exit_code(worst(verdicts), signals.number)
    raise typer.Exit(code)


def _check_stack(loaded: LoadedPlan, stack: StackKind) -> None:
    from resilience.cli.scenarios import fail_usage

    if loaded.plan.external is not None and stack is not StackKind.EXTERNAL:
        fail_usage(f"{loaded.source} is written for an external system; run it with --stack external")
    if loaded.plan.external is None and stack is StackKind.EXTERNAL:
        fail_usage(f"{loaded.source} is written for the lab; run it with --stack embedded or compose")


def _options(
    loaded: LoadedPlan, out: Path, seed: int, workers: int, strict: bool, command: str
) -> RunOptions:
    from faults.journal import default_state_dir
    from resilience.run.interpreter import RunOptions

    stamp = datetime.now(tz=UTC).strftime("%Y%m%d-%H%M%S")
    run_id = secrets.token_hex(3)
    return RunOptions(
        folder=out / f"{stamp}-{loaded.plan.name}-{run_id}",
        state_dir=default_state_dir(),
        seed=seed,
        run_id=run_id,
        workers=workers,
        strict=strict,
        command=command,
    )


def _run_one(loaded: LoadedPlan, stack: StackKind, options: RunOptions, signals: Signals) -> Verdict:
    """Run and judge one plan. Whatever happens to it, the plans before it keep their say in the exit code."""
    from resilience.lab.system import StackError
    from resilience.run.record import RecordError

    try:
        ending = _execute(loaded, stack, options, signals)
    except (RecordError, StackError) as error:  # nothing was started, and there is no record
        complain(error)
        return Verdict.SETUP_FAILED
    except Exception as error:
        log.exception("the run crashed")
        complain(f"{type(error).__name__}: {error}")
        return Verdict.ABORTED
    return _judged(options.folder, ending)


def _execute(loaded: LoadedPlan, stack: StackKind, options: RunOptions, signals: Signals) -> Ending:
    from resilience.cli.progress import Progress
    from resilience.cli.stacks import make_stack
    from resilience.run.interpreter import run_plan
    from resilience.run.stop import Stop

    progress = Progress(loaded)

    async def execute() -> Ending:
        stop = Stop()
        with signals.stopping(stop):
            made = make_stack(stack, loaded.plan)
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


def _command(name: str, stack: StackKind, seed: int, strict: bool, overlays: object, settings: object) -> str:
    """The command that repeats a run, for reports."""
    words = ["chaos-spike", "run", name, "--stack", stack.value, "--seed", str(seed)]
    words += ["--strict"] if strict else []
    for option, values in (("--overlay", overlays), ("--set", settings)):
        for value in values if isinstance(values, list) else ():
            words += [option, _shown(str(value)) if option == "--set" else str(value)]
    lab = [
        f"{key}={shlex.quote(value)}" for key, value in os.environ.items() if key == "CHAOS_SPIKE_LAB_BREAKER"
    ]
    return " ".join([*lab, shlex.join(words)])


def _shown(setting: str) -> str:
    """A setting as reports may show it: what goes into requests, or says how to reach a system, may be a secret."""
    key, _, _ = setting.partition("=")
    first, *rest = key.split(".")
    secret = first == "external" or (first == "load" and (len(rest) < 2 or rest[1] == "http"))
    return f"{key}=(redacted)" if secret else setting
