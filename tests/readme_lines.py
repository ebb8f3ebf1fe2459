"""The command lines of README.md, run as they stand there, in a checkout that was just made with this environment in its `.venv`.

A line is never changed. What makes some of them short is what make takes from the environment, as for any user: `PLAN` is a
plan of a few seconds, `PYTEST_ADDOPTS` picks a few tests of each tier. Nothing is installed: the stamps of the Makefile say that
everything is there, which is true.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from docs_blocks import ROOT

RUN = "make chaos-spike"
TEST = "make test"
WITHOUT_BREAKER = "CHAOS_SPIKE_LAB_BREAKER=none make chaos-spike"
STRICT = "make chaos-spike ARGS=--strict"
LINES = (RUN, TEST, WITHOUT_BREAKER, STRICT)
_OF_MAKE = (
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEOVERRIDES",
    "PLAN",
    "ARGS",
    "STACK",
    "VENV",
    "PYTHON",
    "BIN",
    "RETRY",
)
"""What a make that runs these tests leaves in the environment of its commands."""


def checkout(folder: Path, tests: Iterable[str] = ()) -> Path:
    """Make a checkout in `folder`, of links, with copies of these of its tests, by their paths below `tests`; gives `folder`."""
    folder.mkdir(parents=True)
    for name in (
        "Makefile",
        "pyproject.toml",
        "README.md",
        "faults",
        "resilience",
        "chaos_spike_pytest.py",
        "docs",
        "compose",
    ):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    for test in tests:
        copy = folder / "tests" / test
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / "tests" / test).read_bytes())
    venv = folder / ".venv"
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("."):
            (venv / entry.name).symlink_to(entry)
    for stamp in (".python", ".run", ".dev"):
        (venv / stamp).touch()
    return folder


def run_line(line: str, tree: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """A line of README.md, typed into a shell that stands in `tree`."""
    assert line in LINES
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in _OF_MAKE and not name.startswith("PYTEST_")
    }
    environ = {**kept, "CHAOS_SPIKE_STATE_DIR": str(tree / "state"), "PYTHONPATH": str(tree), **extra}
    return subprocess.run(
        ["bash", "-c", line], cwd=tree, env=environ, capture_output=True, text=True, timeout=280, check=False
    )


def code_of(done: subprocess.CompletedProcess[str]) -> int:
    """The exit code of the command that make ran: make itself ends with 2, and prints that of its command, as README.md says."""
    if done.returncode == 0:
        return 0
    assert done.returncode == 2, done.stdout + done.stderr
    (code,) = re.findall(r"Error (\d+)$", done.stderr, re.MULTILINE)
    return int(code)


def valid_run(line: str, folder: Path, **extra: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The record of the run that a line makes, and how it ended. What a busy machine spoilt (3) is tried again, as README.md says."""
    for attempt in range(3):
        tree = checkout(folder / f"checkout-{attempt}")
        done = run_line(line, tree, **extra)
        if code_of(done) != 3:
            break
    (record,) = (tree / "runs").iterdir()
    return record, done
