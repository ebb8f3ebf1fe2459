"""`chaos-spike doctor`: what it finds here, what it says of what is missing, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resilience.cli.diagnosis import FEATURES, Missing, examine
from resilience.cli.main import app


@pytest.fixture(autouse=True)
def _no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing on PATH: what other programs say of themselves is not what these tests are about."""
    monkeypatch.setenv("PATH", "/nonexistent")


def test_doctor_finds_the_core_whole_and_says_so_in_json() -> None:
    """On a machine that runs these tests the core is there; each part has a detail that a person can use."""
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["ok"], found["needed"], found["features"]["core"]) == (True, ["core"], True)
    assert {part["feature"] for part in found["parts"]} == set(FEATURES)
    assert all(part["detail"] for part in found["parts"])


def test_doctor_ends_with_6_where_no_journal_could_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state directory that cannot be written means that no fault could be undone: that is said, with the way out."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "file" / "state"))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 6
    assert "missing: core/state directory" in done.output
    assert "CHAOS_SPIKE_STATE_DIR" in done.output


def test_doctor_counts_a_missing_feature_only_where_it_is_asked_for() -> None:
    """Without programs on PATH the bench is incomplete: exit 0, unless --for names it; unknown features are usage."""
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 0
    done = CliRunner().invoke(app, ["doctor", "--for", "bench"])
    assert done.exit_code == 6
    assert "bench: incomplete (needed)" in done.output
    assert "pip install 'chaos-spike[bench]'" in done.output
    assert CliRunner().invoke(app, ["doctor", "--for", "benches"]).exit_code == 2


def test_examination_survives_a_look_that_dies() -> None:
    """What cannot be looked at is missing, with what went wrong; the next part is looked at all the same."""

    def gone() -> str:
        raise Missing("install it")

    def broken() -> str:
        raise ZeroDivisionError("oh")

    parts = examine({"f": {"a": gone, "b": broken, "c": lambda: "here"}})
    assert [(p.part, p.present) for p in parts] == [("a", False), ("b", False), ("c", True)]
    assert parts[1].detail == "could not be looked at: ZeroDivisionError: oh"
