"""`run --live`: the page of a run, served by a process beside it for as long as the run takes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from resilience.cli.terminal import Terminal, complain

_FAREWELL_S = 10


@contextlib.contextmanager
def live_page(folder: Path) -> Iterator[None]:
    """Serve the page of the run in `folder` and say where; a page that cannot be served is said, and costs no run."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "resilience.report.live", str(folder), "--die-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the run; this ends when its standard input does
    )
    assert process.stdin is not None  # both are pipes
    assert process.stdout is not None
    try:
        try:
            ready = json.loads(process.stdout.readline())
            Terminal().print(f"live page: {ready['url']}", highlight=False, markup=False)
        except (ValueError, KeyError):
            complain("there is no live page; the run goes on without")
        yield
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
