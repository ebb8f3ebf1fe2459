"""`python -m tests.conformance`: run every library that this machine can, judge it twice, and write the table.

    python -m tests.conformance --out docs/conformance.md       all of them
    python -m tests.conformance gobreaker hyx                    some, to the terminal
    python -m tests.conformance --again build/conformance/runs   judge the records that are there again; nothing is run

A few runs take place at the same time: each mostly waits. Records stay under build/conformance/runs, one folder a library, and a
run replaces that library's old one. The exit code is 1 if a library does not keep its own dialect, 3 if one could not be settled
or run, else 0.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conformance.builds import BUILDS, missing_tools
from tests.conformance.candidates import CANDIDATES, Candidate
from tests.conformance.runs import RunError, conformance_run, judged, record_in
from tests.conformance.table import Missing, Outcome, page


async def run_all(candidates: Sequence[Candidate], runs: Path, jobs: int) -> list[Outcome]:
    """One run each, so many at a time; the order is kept."""
    turns = asyncio.Semaphore(jobs)

    async def one(candidate: Candidate) -> Outcome:
        if missing := missing_tools(candidate.language):
            return Missing(candidate, f"{', '.join(missing)} not on this machine")
        folder = runs / candidate.name
        async with turns:
            shutil.rmtree(folder, ignore_errors=True)
            try:
                return await conformance_run(candidate, folder)
            except RunError as error:
                return Missing(candidate, str(error))

    return await asyncio.gather(*(one(candidate) for candidate in candidates))


def judge_again(candidates: Sequence[Candidate], runs: Path) -> list[Outcome]:
    """The records that earlier runs left."""
    found: list[Outcome] = []
    for candidate in candidates:
        record = record_in(runs / candidate.name)
        try:
            found.append(
                judged(candidate, record, again=True)
                if record
                else Missing(candidate, f"no record in {runs / candidate.name}")
            )
        except RunError as error:
            found.append(Missing(candidate, str(error)))
    return found


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 beats 3 beats 0."""
    verdicts = {"unknown" if isinstance(o, Missing) else o.own["verdict"] for o in outcomes}
    if "fail" in verdicts:
        return 1
    return 0 if verdicts <= {"pass"} else 3


def machine() -> str:
    """What the figures were measured on, without naming it."""
    return f"{platform.system()} {platform.machine()} with {os.cpu_count()} cores, Python {platform.python_version()}"


def main(arguments: Sequence[str]) -> int:
    """Parse, run, judge, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="LIBRARY", help="default: all")
    parser.add_argument("--out", type=Path, help="write the page here instead of printing it")
    parser.add_argument("--jobs", type=int, default=4, help="runs at the same time (default: 4)")
    parser.add_argument(
        "--runs", type=Path, default=BUILDS / "runs", help="where records go (default: %(default)s)"
    )
    parser.add_argument(
        "--again", type=Path, metavar="RUNS", help="judge these records again and run nothing"
    )
    chosen = parser.parse_args(arguments)
    known = {candidate.name: candidate for candidate in CANDIDATES}
    if unknown := [name for name in chosen.names if name not in known]:
        parser.error(f"no such library: {', '.join(unknown)}; known: {', '.join(known)}")
    candidates = [known[name] for name in chosen.names] or list(CANDIDATES)
    outcomes = (
        judge_again(candidates, chosen.again)
        if chosen.again
        else asyncio.run(run_all(candidates, chosen.runs, max(chosen.jobs, 1)))
    )
    text = page(outcomes, machine=machine())
    if chosen.out:
        chosen.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return exit_code(outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
