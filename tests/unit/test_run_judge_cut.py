"""A killed runner's record is judged as far as it goes: whatever byte each of its files ends at, there is a verdict, and it is no pass."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from run_sample import record

from resilience.cli.finish import finish
from resilience.run.ending import Ending, Verdict
from resilience.run.judge import judge_record
from resilience.run.record import RunReader

APPENDED = ("events.jsonl", "samples/bins.jsonl", "samples/workers.jsonl", "faults.jsonl")
"""What a run appends to; the rest is written whole, by way of a second name."""


def cut(whole: Path, folder: Path, dice: random.Random) -> Path:
    """A copy whose files end anywhere, each by itself: they reach the disk one after the other. The last event is never there."""
    shutil.copytree(whole, folder)
    for name in APPENDED:
        path = folder / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        most = len(data.rstrip(b"\n").rpartition(b"\n")[0]) + 1 if name == "events.jsonl" else len(data)
        path.write_bytes(data[: dice.randint(0, most)])
        if dice.random() < 0.1:
            path.unlink()
    if dice.random() < 0.2:
        (folder / "environment.json").unlink(missing_ok=True)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record in which everything went well."""
    return record(tmp_path_factory.mktemp("records") / "whole").path


@pytest.mark.parametrize("seed", range(60))
def test_record_of_a_runner_that_was_killed_is_judged_as_far_as_it_goes(
    whole: Path, tmp_path: Path, seed: int
) -> None:
    """Whatever is missing, the judge comes to an end, blames the death, and passes nothing."""
    folder = cut(whole, tmp_path / "cut", random.Random(seed))
    verdict = judge_record(RunReader(folder))
    assert verdict["verdict"] in (Verdict.ABORTED, Verdict.UNHEALED), verdict["reason"]
    assert {each["verdict"] for each in verdict["expectations"]} <= {"pass", "fail", "unknown"}


@pytest.mark.parametrize("seed", range(3))
def test_killed_runs_page_and_files_are_written(whole: Path, tmp_path: Path, seed: int) -> None:
    """`judge` on what is left: verdict, page and JUnit are there, and it is aborted (exit 4)."""
    folder = cut(whole, tmp_path / "cut", random.Random(1000 + seed))
    assert finish(folder) in (Verdict.ABORTED, Verdict.UNHEALED)
    for name in ("verdict.json", "report.html", "junit.xml"):
        assert (folder / name).stat().st_size > 0


def test_ending_of_a_run_whose_record_was_cut_off_by_a_full_disk_is_its_own(
    whole: Path, tmp_path: Path
) -> None:
    """What the runner knows and could not write down any more decides, and nothing is called a pass."""
    folder = cut(whole, tmp_path / "cut", random.Random(7))
    verdict = judge_record(RunReader(folder), ending=Ending("record_failed", "no space left on device"))
    assert verdict["verdict"] in (Verdict.ABORTED, Verdict.UNHEALED)


@pytest.mark.parametrize(
    ("verified", "verdict"), [(frozenset({"down"}), "aborted"), (frozenset(), "unhealed")]
)
def test_fault_that_a_full_disk_kept_from_the_record_is_healed_if_its_runner_saw_it(
    tmp_path: Path, verified: frozenset[str], verdict: str
) -> None:
    """The record ends with the fault in place; the runner, which healed it, knows better, and nobody else does."""
    reader = record(tmp_path / "run", steps=(("injected", 12.0),), ended={})
    ending = Ending("record_failed", "no space left on device", verified=verified)
    assert judge_record(reader, ending=ending)["verdict"] == verdict
