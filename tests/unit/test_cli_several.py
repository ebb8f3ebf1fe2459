"""Several plans in one command: `suite`, the summary that a nightly job reads, plans side by side, and targets."""

from __future__ import annotations

import http.server
import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from run_sample import PLAN
from typer.testing import CliRunner

from resilience.cli import jobs as side_by_side
from resilience.cli import run as running
from resilience.cli import targets
from resilience.cli.jobs import Job, run_jobs
from resilience.cli.main import app
from resilience.cli.outcomes import Outcome, write_outcomes
from resilience.cli.place import Fallback, Place, placed
from resilience.cli.scenarios import SUITE_PLANS, expanded, scenario_names
from resilience.cli.signals import Signals
from resilience.cli.words import Words
from resilience.lab.system import StackError, System
from resilience.run.ending import Verdict


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No lab is up, as far as this state directory knows."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "state"))


def test_suite_is_its_plans_and_other_names_stay() -> None:
    """`suite` beside a file runs both, in the order given."""
    there = [name for name in SUITE_PLANS if name in scenario_names()]
    assert expanded(["mine.yaml", "suite"]) == ["mine.yaml", *there]
    assert "breaker" in there


def test_outcomes_of_several_plans_stand_in_one_junit_file(tmp_path: Path) -> None:
    """A plan that left no file of its own is an error there, never absent."""
    judged = tmp_path / "judged"
    judged.mkdir()
    (judged / "junit.xml").write_text(
        '<testsuites><testsuite name="chaos-spike.a" tests="1"/></testsuites>', encoding="utf-8"
    )
    write_outcomes(
        tmp_path / "suite",
        [
            Outcome("a", Verdict.PASS, judged),
            Outcome("b", Verdict.SETUP_FAILED, reason="port <8000> is taken"),
        ],
    )
    names = {each.get("name"): each for each in ET.parse(tmp_path / "suite" / "junit.xml").getroot()}
    assert set(names) == {"chaos-spike.a", "chaos-spike.b"}
    assert names["chaos-spike.b"][0][0].get("message") == "port <8000> is taken"
    listed = json.loads((tmp_path / "suite" / "suite.json").read_text())["plans"]
    assert [Outcome.from_json(each).verdict for each in listed] == [Verdict.PASS, Verdict.SETUP_FAILED]


def test_jobs_keep_each_plans_exit_and_order(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A plan that cannot even be loaded is an outcome among others, and what it said is shown in one piece."""
    good = tmp_path / "plan.yaml"
    good.write_text(PLAN, encoding="utf-8")
    missing = Job("gone", ("gone.yaml",))
    dry = Job("dry", (str(good), "--dry-run"))
    with Signals() as signals:
        outcomes = run_jobs([missing, dry], 2, signals)
    assert [(each.plan, each.verdict) for each in outcomes] == [
        ("gone", Verdict.ABORTED),
        ("dry", Verdict.ABORTED),  # it ran nothing, so there is no verdict to pass on
    ]
    assert "ended with 2" in outcomes[0].reason
    assert "no plan file and no built-in plan" in capfd.readouterr().out


def test_jobs_start_nothing_after_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """One Ctrl-C is enough for all of them."""

    def started(*_: object) -> None:
        raise AssertionError("a plan was started after the signal")

    monkeypatch.setattr(side_by_side, "_start", started)
    with Signals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert run_jobs([Job("a", ("a",))], 2, signals) == []


def test_jobs_are_told_where_to_run_and_do_not_look_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target that comes up in the middle of a suite must not split it; people are shown what they asked for."""

    def nobody(_: str) -> System:
        raise StackError("nothing answers")

    monkeypatch.setattr(targets, "target_system", nobody)
    parent = placed(None, "lab", Fallback.LAB, dry_run=False)
    assert "nothing answers" in capsys.readouterr().err
    again = Words(parent, 1, 2, False, (), (), Path("runs")).again("breaker")
    told = dict(zip(again[1::2], again[2::2], strict=True))
    assert told["--stack"] == "embedded"
    assert "--fallback" not in told

    def looked(_: str) -> System:
        raise AssertionError("the target was looked for again")

    monkeypatch.setattr(targets, "target_system", looked)
    asked: list[Place] = []
    monkeypatch.setattr(
        running, "_run_one", lambda *words: asked.append(words[2]) or Outcome("", Verdict.PASS)
    )
    done = CliRunner().invoke(app, ["run", *again])
    assert done.exit_code == 0, done.output
    assert asked == [parent]
    shown = Words(asked[0], 1, 2, False, (), (), Path("runs")).shown("breaker")
    assert "--target lab --fallback lab" in shown
    assert "--notice" not in shown


@contextmanager
def _serving(status: int, headers: dict[str, str]) -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.usefixtures("nobody")
def test_target_auto_takes_only_a_service_that_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger on the port is named and left alone; consent makes it a target."""
    with _serving(200, {}) as port:
        monkeypatch.setattr(targets, "AUTO_PORTS", (port,))
        with pytest.raises(StackError, match=f"port {port}, but does not say that it may be loaded"):
            targets.target_system("auto")
    with _serving(200, {"X-Chaos-Spike": "allowed"}) as port:
        monkeypatch.setattr(targets, "AUTO_PORTS", (port,))
        assert targets.target_system("auto") == System("external", f"http://127.0.0.1:{port}")
    with _serving(503, {"X-Chaos-Spike": "allowed"}) as port:
        monkeypatch.setattr(targets, "AUTO_PORTS", (port,))
        with pytest.raises(StackError, match="does not say"):  # not ready is no target
            targets.target_system("auto")


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--target", "auto"], 6, "nothing answers on ports"),
        (["--target", "lab"], 6, "chaos-spike lab up"),
        (["--target", "127.0.0.1:80"], 2, "write auto, lab, or an address"),
        (["--target", "http://[::1:8000"], 2, "write auto, lab, or an address"),
        (["--target", "http://127.0.0.1:99999"], 2, "write auto, lab, or an address"),
        (["--target", "auto", "--stack", "compose"], 2, "leave --stack compose out"),
        (["--fallback", "lab"], 2, "--fallback needs --target"),
        (["--target", "http://127.0.0.1:9"], 2, "nothing says where the Toxiproxy"),
        (["breaker", "breaker", "--jobs", "2", "--stack", "compose"], 2, "--jobs runs each plan"),
        (["--stack", "external"], 2, "say with --target"),
        (
            ["conformance", "--stack", "compose"],
            2,
            "plays the dependency itself, which containers do not reach",
        ),
    ],
)
def test_target_that_cannot_be_is_one_message(
    words: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is started, and the message says what to do."""
    with _serving(200, {}) as port:  # the port is free again when the block is left
        free = port
    monkeypatch.setattr(targets, "AUTO_PORTS", (free,))
    done = CliRunner().invoke(app, ["run", *words, "--out", str(tmp_path / "out")])
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()


def test_version_is_printed() -> None:
    """What a bug report starts with."""
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output.startswith("chaos-spike ")
