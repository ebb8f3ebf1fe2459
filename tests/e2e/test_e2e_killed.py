"""Real runs that are killed at several moments of their life: nothing stays in place, and what they wrote down can be judged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_e2e_run import Runners, chaos_spike, events_of, wait_until

from faults.journal import live_intents, read_journal

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

MOMENTS = {
    "while its lab comes up": None,
    "when its load begins": lambda e: e["kind"] == "run" and e["state"] == "epoch",
    "after its fault was healed": lambda e: e["kind"] == "fault" and e["step"] == "verified",
    "while its lab goes down": lambda e: e["kind"] == "stack" and e["state"] == "stopping",
}


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runners]:
    """Starts runs of the short plan in the background."""
    runners = Runners(tmp_path)
    try:
        yield runners
    finally:
        runners.end()


@pytest.mark.parametrize(
    "moment",
    # One moment runs with everything else, the others with what takes long.
    [
        pytest.param(each, marks=() if each == "after its fault was healed" else pytest.mark.scenario)
        for each in MOMENTS
    ],
)
def test_run_that_is_killed_is_judged_as_far_as_it_went(runner: Runners, tmp_path: Path, moment: str) -> None:
    """Aborted, exit 4, with a page; no process of it is left, and no journal has a live fault."""
    reached = MOMENTS[moment]
    process = runner()
    if reached is None:  # the timeline is written before anything is started
        wait_until(moment, lambda: list(tmp_path.glob("out/*/timeline.json")), 90)
    else:
        wait_until(moment, lambda: any(map(reached, events_of(tmp_path))), 90)
    killed = time.monotonic()
    children = runner.kill(process)
    wait_until(
        "no process left",
        lambda: not [child for child in children.values() if child.is_running()],
        20 - (time.monotonic() - killed),
    )
    journals = [*(tmp_path / "state").glob("*/*.jsonl")]
    assert not [fault for path in journals for fault in live_intents(read_journal(path))]
    (folder,) = (tmp_path / "out").iterdir()
    judged = chaos_spike("judge", str(folder), state_dir=tmp_path / "state")
    assert judged.returncode == 4, judged.stdout + judged.stderr
    verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text())
    assert verdict["verdict"] == "aborted"
    assert (folder / "report.html").stat().st_size > 0
