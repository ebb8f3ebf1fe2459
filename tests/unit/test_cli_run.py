"""The command around runs: exit codes over several plans, signals at any moment, readers that go away, full disks."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from run_sample import PLAN, record
from typer.testing import CliRunner

from resilience.cli import finish as finishing
from resilience.cli import run as running
from resilience.cli.main import app
from resilience.cli.place import Place, StackKind
from resilience.cli.signals import Signals
from resilience.cli.words import Words
from resilience.plan.schema.calls import DRIVERS
from resilience.run.ending import Ending, Verdict
from resilience.run.record import RecordError
from resilience.run.stop import Stop

FULL = Path("/dev/full")


@pytest.fixture
def outcomes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run one plan for each outcome: a verdict, an error to raise, or a verdict after a signal. Gives the exit code."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    asked: list[Any] = []

    def execute(*_: object) -> Ending:
        outcome = asked.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, int):
            signal.raise_signal(outcome)
            return Ending("interrupted", "stopped", signal=outcome)
        return Ending(outcome)

    def judged(_: Path, ending: Ending) -> Verdict:
        return Verdict.ABORTED if ending.reason == "interrupted" else Verdict(ending.reason)

    monkeypatch.setattr(running, "_execute", execute)
    monkeypatch.setattr(running, "_judged", judged)

    def run(*wanted: Any) -> int:
        asked[:] = wanted
        plans = [str(tmp_path / "plan.yaml")] * len(wanted)
        done = CliRunner().invoke(app, ["run", *plans, "--out", str(tmp_path / "out")])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        run.left = len(asked)  # type: ignore[attr-defined]
        return done.exit_code

    return run


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (["pass", "pass"], 0),
        (["pass", RecordError("cannot be written")], 6),
        (["unhealed", RecordError("cannot be written")], 5),
        (["fail", RecordError("cannot be written")], 1),
        (["pass", ValueError("a bug of ours"), "pass"], 4),
        (["unhealed", signal.SIGINT], 5),
        (["fail", signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
    ],
)
def test_exit_code_is_the_worst_of_all_plans(
    outcomes: Callable[..., int], wanted: list[Any], code: int
) -> None:
    """No plan's error takes the word from one before it."""
    assert outcomes(*wanted) == code


def test_signal_stops_the_plans_that_come_after(outcomes: Callable[..., int]) -> None:
    """One Ctrl-C is enough."""
    assert outcomes("pass", signal.SIGINT, "pass", "pass") == 130
    assert outcomes.left == 2  # type: ignore[attr-defined]


def test_plans_that_a_signal_kept_from_starting_stand_in_the_summary(
    outcomes: Callable[..., int], tmp_path: Path
) -> None:
    """JSON, JUnit and Markdown list them as aborted; the exit code is of the plans that ran."""
    assert outcomes("unhealed", signal.SIGINT, "pass", "pass") == 5
    (folder,) = (tmp_path / "out").glob("*-suite-*")
    plans = json.loads((folder / "suite.json").read_text())["plans"]
    assert [each["verdict"] for each in plans] == ["unhealed", "aborted", "aborted", "aborted"]
    why = "not started: stopped by a signal"
    assert [each["reason"] for each in plans[2:]] == [why, why]
    errors = ET.parse(folder / "junit.xml").getroot().iter("error")
    assert [each.get("message") for each in errors].count(why) == 2
    assert (folder / "summary.md").read_text().count("not started: stopped by a signal") == 2


def test_signal_while_judging_loses_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict is finished, printed and written; then the command exits as the signal wants."""
    (tmp_path / "plan.yaml").write_text(PLAN)

    def execute(_: Any, __: Any, options: Any, *___: Any) -> Ending:
        record(options.folder)
        return Ending("completed")

    judge = finishing.judge_record

    def interrupted(*args: Any, **named: Any) -> dict[str, Any]:
        signal.raise_signal(signal.SIGTERM)
        return judge(*args, **named)

    monkeypatch.setattr(running, "_execute", execute)
    monkeypatch.setattr(finishing, "judge_record", interrupted)
    done = CliRunner().invoke(app, ["run", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 143, done.output
    assert "PASS" in done.output
    (folder,) = (tmp_path / "out").iterdir()
    assert (folder / "verdict.json").is_file()
    assert (folder / "report.html").is_file()


async def test_signal_asks_the_run_to_stop_and_handlers_are_given_back() -> None:
    """Also when it came before the run's loop was there; the second signal changes nothing."""
    before = signal.getsignal(signal.SIGINT)
    with Signals() as signals:
        stop = Stop()
        with signals.stopping(stop):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(stop.event.wait(), 5)
        assert stop.ending == Ending("interrupted", "stopped by SIGINT", signal=2)
        late = Stop()
        with signals.stopping(late):
            assert late.ending is not None
    assert signal.getsignal(signal.SIGINT) is before
    assert signals.number == signal.SIGINT


def test_record_that_cannot_be_judged_is_judged_by_its_ending(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a pass and never a fail; what ended the run is said."""
    assert running._judged(tmp_path, Ending("record_failed", "the disk is full")) is Verdict.ABORTED
    assert running._judged(tmp_path, Ending("completed")) is Verdict.UNKNOWN
    said = capsys.readouterr().err
    assert "not a run record" in said
    assert "the disk is full" in said


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_full_disk_while_writing_the_verdict_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict is printed first, and is the exit code all the same."""
    record(tmp_path / "run")
    (tmp_path / "run" / "verdict.json.partial").symlink_to(FULL)
    assert finishing.finish(tmp_path / "run") is Verdict.PASS
    out, err = capsys.readouterr()
    assert "PASS" in out
    assert err.count("chaos-spike:") == 1
    assert "verdict.json cannot be written: No space left" in err


@pytest.mark.parametrize(("plan", "told"), [("breaker", True), ("demo", False)])
def test_pass_says_how_to_see_it_fail_only_of_the_plan_that_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str, told: bool
) -> None:
    """The lab without a breaker breaks the promise of the breaker's own plan, not that of every other."""
    record(
        tmp_path / "run",
        plan=PLAN.replace("name: demo", f"name: {plan}"),
        environment={"stack": "embedded", "seed": 1},
    )
    assert finishing.finish(tmp_path / "run") is Verdict.PASS
    assert ("CHAOS_SPIKE_LAB_BREAKER=none" in capsys.readouterr().out) is told


def test_page_that_cannot_be_made_costs_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a report is not a failure of what was tested."""
    record(tmp_path / "run")
    monkeypatch.setattr(finishing, "render_junit", lambda _: 1 // 0)
    assert finishing.finish(tmp_path / "run") is Verdict.PASS
    assert (tmp_path / "run" / "verdict.json").is_file()


def test_reader_that_goes_away_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """`judge ... | head -0`: rich would exit with 1, which means "fail"."""
    record(tmp_path / "run")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "resilience.cli.main", "judge", str(tmp_path / "run")],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


def test_judging_again_exits_with_the_signal_of_the_run(tmp_path: Path) -> None:
    """The exit code is the run's."""
    ended = {"reason": "interrupted", "detail": "stopped by SIGINT", "signal": 2}
    record(tmp_path / "run", ended=ended)
    assert CliRunner().invoke(app, ["judge", str(tmp_path / "run")]).exit_code == 130


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("events.jsonl", '{"t": 1, "kind": "run"}'),
        ("events.jsonl", "[]"),
        ("events.jsonl", '{"kind": "log"}'),
        ("samples/bins.jsonl", '{"kind": "bins"}'),
    ],
)
def test_judging_an_edited_record_is_a_usage_error(tmp_path: Path, name: str, line: str) -> None:
    """One message with the place, exit 2, no traceback."""
    record(tmp_path / "run")
    with (tmp_path / "run" / name).open("a") as file:
        file.write(line + "\n")
    done = CliRunner().invoke(app, ["judge", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert f"{name}:" in done.output.replace("\n", "")


def test_judging_a_plan_that_is_not_text_is_a_usage_error(tmp_path: Path) -> None:
    """Not UTF-8: exit 2, no traceback."""
    record(tmp_path / "run")
    (tmp_path / "run" / "plan.yaml").write_bytes(b"name: \xff\n")
    done = CliRunner().invoke(app, ["judge", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)


def shown(*settings: str, target: str | None = None) -> str:
    """The command as a report shows it."""
    place = Place(StackKind.EXTERNAL if target else StackKind.EMBEDDED, target)
    return Words(place, 1, 2, False, (), settings, Path("runs")).shown("breaker")


SECRET_OF_DRIVER = {
    "http": "http.headers.Authorization=Bearer s3cret",
    "session": "session.steps.0.json.password=s3cret",
    "websocket": "websocket.headers.X-Whatever=s3cret",
    "postgres": "postgres.dsn=postgresql://user:s3cret@host/db",
    "redis": "redis.dsn=redis://:s3cret@host",
    "script": "script.params.key=s3cret",
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_command_of_a_report_shows_no_secret_of_any_driver(driver: str) -> None:
    """What a call is may hold a secret anywhere, whatever its driver; a new driver must be thought of here."""
    command = shown(f"load.orders.{SECRET_OF_DRIVER[driver]}")
    assert "s3cret" not in command
    assert f"load.orders.{SECRET_OF_DRIVER[driver].partition('=')[0]}=(redacted)" in command


@pytest.mark.parametrize(
    "setting",
    [
        "load.orders={http: {url: s3cret}}",
        "load={orders: s3cret}",
        "external.base_url=http://user:s3cret@host",
        "external={base_url: s3cret}",
        "stimulus.dependency.http.headers.X-Key=s3cret",
        "breakers.b.observe.json.url=http://user:s3cret@host/",
        "expect.calm.password=s3cret",
        "purpose=see http://user:s3cret@host",
        "faults.0.toxic.attributes={api_key: s3cret}",
        "something.new=s3cret",
    ],
)
def test_command_of_a_report_shows_no_secret(setting: str) -> None:
    """Only what cannot hold one is shown, and of that nothing that looks like one."""
    assert "s3cret" not in shown(setting)
    assert f"{setting.partition('=')[0]}=(redacted)" in shown(setting)


def test_command_of_a_report_shows_what_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates, thresholds and the lab are what a reader wants to see; its variables may be secret as well."""
    monkeypatch.setenv("CHAOS_SPIKE_LAB_JWT_SECRET", "s3cret")
    monkeypatch.setenv("CHAOS_SPIKE_LAB_DATABASE_URL", "postgresql://lab:s3cret@db/lab")
    harmless = [
        "load.orders.rate=20/s",
        "load.o.herd={users: 9}",
        "name=demo",
        "lab.gateways=3",
        "phases.0.duration=5s",
    ]
    command = shown(*harmless)
    assert shlex.split(command)[-1 : -2 * len(harmless) : -2] == harmless[::-1]
    assert "s3cret" not in command
    assert "CHAOS_SPIKE_LAB_JWT_SECRET" in command


def test_target_is_shown_without_its_user_and_passed_on_whole() -> None:
    """A report is read by many; a process of the same command must get in."""
    target = "http://user:s3cret@127.0.0.1:8000"
    assert "s3cret" not in shown(target=target)
    assert "127.0.0.1:8000" in shown(target=target)
    words = Words(Place(StackKind.EXTERNAL, target), 1, 2, False, (), (), Path("runs"))
    assert target in words.again("breaker")


def test_run_takes_no_more_workers_than_one_machine_has_room_for() -> None:
    """Without a cluster thousands of processes would be started here: a slip of the finger ends with 2 instead."""
    asked = CliRunner().invoke(app, ["run", "breaker", "--dry-run", "--workers", "257"])
    assert asked.exit_code == 2
    assert "--workers 257" in asked.stderr
    assert "--cluster" in asked.stderr
    assert CliRunner().invoke(app, ["run", "breaker", "--dry-run", "--workers", "256"]).exit_code == 0
