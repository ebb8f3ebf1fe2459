"""The live page: a process beside the run that shows the record as it grows, then the report, then goes away."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilience.run.record import RunRecorder

pytestmark = pytest.mark.integration

PLAN = "version: 1\nname: small\n"
S = 1_000_000_000


@contextmanager
def live(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address; ended by the end of its standard input, as its parent's death would."""
    command = [sys.executable, "-m", "resilience.report.live", str(folder), "--die-with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.stdin.close()
            process.wait(20)


def page(url: str, host: str | None = None) -> tuple[int, str]:
    """Status and text of the page."""
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def begin(folder: Path) -> RunRecorder:
    """A run of 60 s that has just begun, written as the runner writes it."""
    recorder = RunRecorder(folder)
    recorder.text("plan.yaml", PLAN)
    recorder.json(
        "timeline.json",
        {
            "name": "small",
            "duration_ns": 60 * S,
            "phases": [{"name": "spike", "start_ns": 0, "end_ns": 60 * S, "judge": True}],
        },
    )
    recorder.event("run", state="epoch", epoch_ns=time.monotonic_ns() - 10 * S)
    recorder.flush()
    return recorder


def move(recorder: RunRecorder, before: str, after: str, second: int) -> None:
    """A transition of the breaker, seconds before now."""
    at_ns = time.monotonic_ns() - second * S
    recorder.observed(
        {"kind": "breaker.transition", "breaker": "b", "instance": "one", "from": before, "to": after, "at": [at_ns, at_ns]}
    )  # fmt: skip
    recorder.flush()


def test_live_page_follows_the_record_and_becomes_the_report(tmp_path: Path) -> None:
    """Nothing yet, then running with a lane that moves and a browser that is told to ask again, then the finished page."""
    folder = tmp_path / "run"
    with live(folder) as (_, url):
        status, text = page(url)
        assert (status, "not yet" in text) == (503, True)
        recorder = begin(folder)
        move(recorder, "closed", "open", 5)
        status, text = page(url)
        assert status == 200
        assert "RUNNING small" in text
        assert 'http-equiv="refresh"' in text
        assert "<title>open, " in text
        assert "<title>half_open, " not in text
        move(recorder, "open", "half_open", 1)
        deadline = time.monotonic() + 20
        while "<title>half_open, " not in page(url)[1]:
            assert time.monotonic() < deadline
        recorder.close()
        (folder / "report.html").write_text("<p>finished</p>", encoding="utf-8")
        assert page(url) == (200, "<p>finished</p>")


def test_live_page_is_for_this_machine_and_has_one_path(tmp_path: Path) -> None:
    """A name that a web page elsewhere had resolved to loopback is refused, and no file can be asked for."""
    recorder = begin(tmp_path / "run")
    recorder.close()
    with live(tmp_path / "run") as (_, url):
        assert page(url, host="evil.example")[0] == 403
        assert page(f"{url}plan.yaml")[0] == 404
        assert page(f"{url}../plan.yaml")[0] == 404


def test_live_page_gives_a_browser_that_was_watching_the_finished_page(tmp_path: Path) -> None:
    """The run is over before the browser asks again: the process waits for it, and not for long."""
    folder = tmp_path / "run"
    recorder = begin(folder)
    with live(folder) as (process, url):
        assert page(url)[0] == 200
        recorder.close()
        (folder / "report.html").write_text("<p>finished</p>", encoding="utf-8")
        assert process.stdin is not None
        process.stdin.close()
        assert page(url) == (200, "<p>finished</p>")
        assert process.wait(20) == 0


def test_live_page_that_nobody_watched_ends_at_once(tmp_path: Path) -> None:
    """The end of standard input ends the process; nobody has to be given anything."""
    recorder = begin(tmp_path / "run")
    recorder.close()
    (tmp_path / "run" / "report.html").write_text("x", encoding="utf-8")
    with live(tmp_path / "run") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
