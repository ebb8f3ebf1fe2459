"""`--jobs N`: independent plans at the same time, each in a process, with a lab and ports of its own.

Every plan runs under the same command as it would alone, so a plan is judged the same way. What a run prints is kept
and shown in one piece when it is over: two stories told at once are none. The validity gates of each run decide whether
the machine was large enough for all of them; this module knows nothing of load.

A signal is passed on to every process that runs; none is started after it. A process whose command was killed is not
waited for by anyone, ends by itself when its plan is over, and heals like any other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from resilience.cli.outcomes import Outcome
from resilience.cli.signals import Signals
from resilience.cli.terminal import Terminal
from resilience.run.ending import Verdict

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Job:
    """One plan, and the words that follow `chaos-spike run` for it."""

    plan: str
    arguments: tuple[str, ...]


@dataclass(slots=True)
class _Running:
    place: int
    job: Job
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    outcome_file: Path
    signalled: bool = False


def run_jobs(jobs: Sequence[Job], at_once: int, signals: Signals) -> list[Outcome]:
    """Run every job, at most `at_once` at a time; outcomes of those that were started, in the order of `jobs`."""
    found: dict[int, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-spike-jobs-") as folder:
        waiting = list(enumerate(jobs))
        running: list[_Running] = []
        while running or (waiting and not signals.number):
            while waiting and len(running) < at_once and not signals.number:
                place, job = waiting.pop(0)
                running.append(_start(place, job, Path(folder)))
            for each in running:
                if signals.number and not each.signalled:
                    each.process.send_signal(signals.number)
                    each.signalled = True
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                found[each.place] = _ended(each)
            time.sleep(_POLL_S)
    return [found[place] for place in sorted(found)]


def _start(place: int, job: Job, folder: Path) -> _Running:
    output = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed when the process has ended
    outcome_file = folder / f"{place}.json"
    command = [sys.executable, "-P", "-m", "resilience.cli.main", "run", *job.arguments]
    process = subprocess.Popen(
        [*command, "--outcome", str(outcome_file)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    Terminal().print(f"started {job.plan}", highlight=False, markup=False)
    return _Running(place, job, process, output, outcome_file)


def _ended(run: _Running) -> Outcome:
    with run.output:
        run.output.seek(0)
        text = run.output.read().decode(errors="replace")
    Terminal().print(f"\n{text}", highlight=False, markup=False, soft_wrap=True, end="")
    try:
        told: dict[str, Any] = json.loads(run.outcome_file.read_text(encoding="utf-8"))
        return Outcome.from_json(told)
    except (OSError, ValueError, KeyError, TypeError):
        code = run.process.returncode
        return Outcome(
            run.job.plan, Verdict.ABORTED, None, f"its process ended with {code} and left no outcome"
        )
