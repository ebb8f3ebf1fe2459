"""The history of runs: what is kept, that nothing is lost, and the commands around it."""

from __future__ import annotations

import csv
import io
import json
import math
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from run_sample import PLAN, record
from typer.testing import CliRunner

from resilience.cli.finish import finish
from resilience.cli.main import app
from resilience.cli.remembered import stored_run
from resilience.history.figures import Figure, environment_fingerprint, figures_of, plan_hash
from resilience.history.nights import comparable
from resilience.history.store import History, HistoryError, StoredRun


def run_of(number: int, value: float = 10.0, **changed: object) -> StoredRun:
    """A run of night `number` with one figure."""
    run = StoredRun(
        run_id=f"run-{number:03}", plan="breaker", plan_hash="p", fingerprint="e",
        started=f"2026-01-01T00:{number:02}:00+00:00", verdict="pass", stack="embedded", seed="1",
        folder=f"/runs/{number}", reference_from=False, note="",
        figures=(Figure("quotes baseline p95", value, "ms", "up"),),
    )  # fmt: skip
    return replace(run, **changed)  # type: ignore[arg-type]


def asked(file: Path, *words: str) -> tuple[int, str]:
    """Run a command of the history; its exit code and output."""
    done = CliRunner().invoke(app, [*words, "--history", str(file)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_figures_are_of_judged_phases_and_an_unseen_recovery_is_infinite() -> None:
    """The warm-up does not count; "more than we watched" is the worst value, not a missing one."""
    verdict = {
        "phases": [{"name": "warmup", "judge": False}, {"name": "baseline", "judge": True}],
        "loads": {"quotes": {
            "warmup": {"p95_ms": 99.0, "good_share": 0.1}, "baseline": {"p95_ms": 12.5, "good_share": 1.0},
        }},
        "recovery": {
            "slow": {"time_to_recover_s": {"value": 1.5}, "resilience_ratio": 0.6},
            "down": {"time_to_recover_s": {"censored_above_s": 20.0}},
            "odd": {"problem": "no baseline"},
        },
    }  # fmt: skip
    assert figures_of(verdict) == (
        Figure("quotes baseline p95", 12.5, "ms", "up"),
        Figure("quotes baseline good", 1.0, "share", "down"),
        Figure("slow time to recover", 1.5, "s", "up"),
        Figure("slow resilience ratio", 0.6, "share", "down"),
        Figure("down time to recover", math.inf, "s", "up"),
    )


def test_runs_are_comparable_by_machine_and_plan_not_by_comment() -> None:
    """Another core count is another machine; a new comment is not another plan."""
    machine = {
        "cpu": "X",
        "cores": 2,
        "memory_bytes": 8 * 2**30,
        "python": "3.11.7",
        "stack": "embedded",
        "workers": 2,
    }
    assert environment_fingerprint(machine) == environment_fingerprint(
        {**machine, "python": "3.11.2", "seed": 3}
    )
    assert environment_fingerprint(machine) != environment_fingerprint({**machine, "cores": 4})
    assert plan_hash("a: 1\n\n# why\nb: 2 # so\n") == plan_hash("a: 1\nb: 2\n") != plan_hash("a: 1\nb: 3\n")


@pytest.mark.parametrize(
    ("lab", "same"),
    [
        ({}, True),
        ({"CHAOS_SPIKE_LAB_DIR": "/elsewhere"}, True),
        ({"CHAOS_SPIKE_LAB_BREAKER": "none"}, False),
        ({"CHAOS_SPIKE_LAB_BROKEN": "pool-waits"}, False),
    ],
)
def test_run_of_a_lab_that_was_changed_is_no_night_of_the_lab_as_it_is(
    lab: dict[str, str], same: bool
) -> None:
    """Showing how it fails must not look like a regression; a record without variables is of a lab as it is."""
    machine = {"cpu": "X", "cores": 2, "stack": "embedded"}
    assert (environment_fingerprint({**machine, "lab": lab}) == environment_fingerprint(machine)) is same


def test_history_gives_back_what_it_was_given(tmp_path: Path) -> None:
    """Infinite values and the order of figures included; the same run twice is one run."""
    figures = (Figure("z", math.inf, "s", "up"), Figure("a", 0.5, "share", "down"))
    run = run_of(1, figures=figures)
    with History(tmp_path / "history.sqlite") as history:
        assert history.add(run)
        assert not history.add(replace(run, verdict="fail"))
    with History(tmp_path / "history.sqlite") as history:
        assert history.runs() == [run]


def test_history_of_a_newer_program_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Nothing is written to a file that this program does not understand."""
    newer = tmp_path / "newer.sqlite"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(HistoryError, match="version 9"):
        History(newer)
    other = tmp_path / "notes.txt"
    other.write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(HistoryError, match="cannot be used"):
        History(other)
    assert other.read_text(encoding="utf-8").startswith("no database")


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_history import run_of
from resilience.history.figures import Figure
from resilience.history.store import History
figures = tuple(Figure(f"f{{n}}", 1.0, "ms", "up") for n in range(50))
number = 0
while True:
    with History(Path({file!r})) as history:
        history.add(run_of(number, run_id=f"run-{{number}}", figures=figures))
    number += 1
    print(number, flush=True)
"""


def test_history_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    """A run that was said to be added is there with all its figures; one that was cut off is there whole or not at all."""
    file = tmp_path / "history.sqlite"
    script = WRITER.format(folder=str(Path(__file__).parent), file=str(file))
    said = 0
    for kill in range(4):
        file.unlink(missing_ok=True)
        writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        with writer, writer.stdout:
            for _ in range(3 + kill):
                said = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
        with History(file) as history:
            runs = history.runs()
        assert len(runs) >= said
        assert all(len(run.figures) == 50 for run in runs)


def test_trend_command_fails_for_a_regression_until_it_is_accepted(tmp_path: Path) -> None:
    """Exit code 1 and the figure's name; `accept` starts the reference anew."""
    file = tmp_path / "history.sqlite"
    with History(file) as history:
        history.merge(run_of(night, 10.0 + 0.01 * (night % 5)) for night in range(25))
        assert asked(file, "history", "trend")[0] == 0
        history.merge(run_of(night, 20.0) for night in range(25, 28))
    code, said = asked(file, "history", "trend", "breaker")
    assert code == 1
    assert "FAIL" in said
    assert "quotes baseline p95" in said
    assert "run-025, run-026, run-027" in said, "what `accept` takes"
    told = json.loads(asked(file, "history", "trend", "--json")[1])
    assert told["state"] == "fail"
    assert told["figures"][0]["before"] < 10.1 < told["figures"][0]["now"]
    assert asked(file, "history", "accept", "run-025", "--note", "bigger catalogue")[0] == 0
    code, said = asked(file, "history", "trend")
    assert code == 0
    assert "8 are needed" in said
    assert "catalogue" in asked(file, "history", "list")[1]


def test_trend_states_no_rate_of_failing_where_it_cannot_fail(tmp_path: Path) -> None:
    """Fewer than twenty reference nights never fail one, and the command says so, as the page does."""
    file = tmp_path / "history.sqlite"
    with History(file) as history:
        history.merge(run_of(night, 10.0 + 0.01 * (night % 5)) for night in range(22))
        few = " ".join(asked(file, "history", "trend")[1].split())
        history.add(run_of(22))
        enough = " ".join(asked(file, "history", "trend")[1].split())
    assert "warn 0.5% of nights, fail 0, if" in few
    assert "warn 0.5% of nights, fail 0.06 %, if" in enough


def test_trend_takes_only_comparable_and_valid_runs() -> None:
    """Another machine, another plan, an invalid run: none of them is a night of this history."""
    runs = [
        run_of(1), run_of(2, fingerprint="other"), run_of(3, plan_hash="other"), run_of(4, verdict="invalid"),
        run_of(5, verdict="fail"), run_of(6),
    ]  # fmt: skip
    assert [run.run_id for run in comparable(runs, runs[-1])] == ["run-001", "run-005", "run-006"]


def test_history_commands_merge_export_and_compare(tmp_path: Path) -> None:
    """Two nights' artifacts become one history; CSV has a line a figure; two runs stand side by side."""
    ours, theirs = tmp_path / "ours.sqlite", tmp_path / "theirs.sqlite"
    with History(ours) as history:
        history.add(run_of(1, 10.0))
    with History(theirs) as history:
        history.merge([run_of(1, 10.0), run_of(2, 15.0, fingerprint="other")])
    assert asked(ours, "history", "merge", str(theirs)) == (0, "added 1 runs\n")
    rows = list(csv.DictReader(io.StringIO(asked(ours, "history", "export")[1])))
    assert [(row["run"], row["figure"], float(row["value"])) for row in rows] == [
        ("run-001", "quotes baseline p95", 10.0),
        ("run-002", "quotes baseline p95", 15.0),
    ]
    code, said = asked(ours, "compare", "run-001", "run-002")
    assert code == 0
    assert "+50%" in said
    assert "machines or stacks differ" in said


def test_merge_takes_over_what_was_accepted_elsewhere(tmp_path: Path) -> None:
    """A change that was accepted in one history is accepted in the other, and stays so whichever way they are merged."""
    accepted = run_of(1, reference_from=True, note="bigger catalogue")
    with History(tmp_path / "ours.sqlite") as history:
        history.add(run_of(1))
        assert history.merge([accepted]) == 0
        assert history.runs() == [accepted]
        assert history.merge([run_of(1)]) == 0
        assert history.runs() == [accepted]
        assert history.merge([replace(accepted, note="somebody else's words")]) == 0
        assert history.runs() == [accepted], "a reason that a person wrote is not written over"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("history", "list"), "there is no history at"),
        (("history", "trend", "breaker"), "there is no history at"),
        (("history", "add", "nowhere"), "nowhere"),
        (("compare", "a", "b"), "there is no history at"),
        (("history", "accept", "x", "--note", "y"), "there is no history at"),
    ],
)
def test_history_commands_say_what_is_missing(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    """Exit code 2, one message, and no file appears."""
    file = tmp_path / "history.sqlite"
    code, output = asked(file, *words)
    assert code == 2
    assert said in output
    assert not file.exists()


@pytest.mark.parametrize("words", [("list", "braker"), ("trend", "braker"), ("export", "--plan", "braker")])
def test_history_of_a_plan_that_has_no_runs_names_those_that_have(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """An empty list with exit code 0 is what a job would take for a quiet night."""
    file = tmp_path / "history.sqlite"
    with History(file) as history:
        history.merge([run_of(1, 10.0), run_of(2, 10.0, plan="checkout")])
    code, output = asked(file, "history", *words)
    assert code == 2
    assert "no runs of 'braker' in the history; did you mean 'breaker'?" in output
    assert "known: breaker, checkout" in asked(file, "history", "list", "xyz")[1]
    code, output = asked(file, "history", "list", "breaker")
    assert code == 0
    assert "run-001" in output


def test_plans_of_a_night_are_those_of_runs_since_it_began(tmp_path: Path) -> None:
    """With either way to write UTC; the run that was started in that very second is of that night."""
    file = tmp_path / "history.sqlite"
    with History(file) as history:
        history.merge(
            [run_of(1, 10.0, plan="old"), run_of(2, 10.0, plan="new"), run_of(3, 1.0, plan="x", started="")]
        )
    assert asked(file, "history", "plans") == (0, "new\nold\nx\n")
    for since in ("2026-01-01T00:02:00Z", "2026-01-01T01:02:00+01:00", "2026-01-01T00:01:01+0000"):
        assert asked(file, "history", "plans", "--since", since) == (0, "new\n"), since
    assert asked(file, "history", "plans", "--since", "2027-01-01T00:00:00Z") == (0, "")
    assert asked(file, "history", "plans", "--since", "yesterday")[0] == 2


def test_judged_run_is_stored_with_its_figures(tmp_path: Path) -> None:
    """From a record's folder to a row: what the nightly job does after every run."""
    (tmp_path / "plan.yaml").write_text(PLAN, encoding="utf-8")
    folder = tmp_path / "run"
    record(folder)
    finish(folder)
    stored = stored_run(folder)
    assert stored.verdict == "pass"
    assert any(figure.name.endswith("p95") for figure in stored.figures)
    code, said = asked(tmp_path / "history.sqlite", "history", "add", str(folder))
    assert (code, said.strip()) == (0, "added 1 of 1 runs")
