"""The command as a user runs it, against the real lab: how runs end, what they leave, and what they never leave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import readme_lines
from healthy_path import assert_each_gateway_opened_and_closed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SHORT = Path(__file__).parents[1] / "data" / "short.yaml"
COMMAND = (sys.executable, "-m", "resilience.cli.main")


def environment(state_dir: Path, **extra: str) -> dict[str, str]:
    """The test's own environment, with a state directory of its own."""
    return {**os.environ, "CHAOS_SPIKE_STATE_DIR": str(state_dir), **extra}


def chaos_spike(*words: str, state_dir: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        env=environment(state_dir, **extra),
        timeout=150,
        check=False,
    )


def verdict_in(out: Path) -> dict[str, Any]:
    """The verdict of the only run under a folder."""
    (folder,) = out.iterdir()
    return json.loads((folder / "verdict.json").read_text())


def wait_until(what: str, condition: Callable[[], Any], within_s: float) -> Any:
    """Poll until the condition gives something true."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"not within {within_s} s: {what}")


def descendants(pid: int) -> dict[int, psutil.Process]:
    """Every process that a runner started, its detached ones included, by pid; none if it is gone."""
    try:
        return {child.pid: child for child in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return {}


class Runners:
    """Runs of the short plan in the background. What a test kills, it kills through `kill`: its children stay known."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self._started: list[subprocess.Popen[bytes]] = []
        self._known: dict[int, psutil.Process] = {}

    def __call__(self, *words: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        """Start one."""
        process = subprocess.Popen(
            [*COMMAND, "run", str(SHORT), "--out", str(self._tmp_path / "out"), *words],
            env=environment(self._tmp_path / "state"),
            stdout=stdout,
            stderr=subprocess.DEVNULL,
        )
        self._started.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
        """SIGKILL; gives the processes that it had started, which are looked up before nobody is their parent."""
        children = descendants(process.pid)
        self._known.update(children)
        process.kill()
        process.wait()
        return children

    def end(self) -> None:
        """Leave nothing running, whatever the test came to."""
        for process in self._started:
            if process.poll() is None:
                self.kill(process)
            process.wait()
        for child in self._known.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()  # psutil kills no process that only has the same pid


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runners]:
    """Start a run of the short plan in the background; whatever is left of it is ended by its pid."""
    runners = Runners(tmp_path)
    try:
        yield runners
    finally:
        runners.end()


def events_of(tmp_path: Path) -> list[dict[str, Any]]:
    """What the run under `out` has written so far."""
    for path in (tmp_path / "out").glob("*/events.jsonl"):
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return []


def fault_is_in(tmp_path: Path) -> bool:
    """Whether the record says that the fault was injected."""
    return any(e["kind"] == "fault" and e["step"] == "injected" for e in events_of(tmp_path))


def proxy_admin(tmp_path: Path) -> str:
    """Admin URL of the toxic proxy before pricing."""
    (path,) = (tmp_path / "out").glob("*/environment.json")
    return str(json.loads(path.read_text())["system"]["proxies"]["pricing"]["admin_url"])


@pytest.fixture(scope="module")
def breaker_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The first line of README.md, as it stands there: one run of the built-in plan, for all tests that read its record."""
    return readme_lines.valid_run(readme_lines.RUN, tmp_path_factory.mktemp("breaker"))


def test_breaker_plan_passes_and_says_where_everything_is(
    breaker_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """Exit 0; the last lines name the verdict, the page, verdict.json and how to watch it fail."""
    folder, done = breaker_run
    assert done.returncode == 0, done.stdout + done.stderr
    tail = done.stdout[-600:]
    for word in ("PASS", "report.html", "verdict.json", "CHAOS_SPIKE_LAB_BREAKER=none"):
        assert word in tail
    assert (folder / "report.html").stat().st_size < 2_000_000
    cases = {case.get("name") for case in ET.parse(folder / "junit.xml").iter("testcase")}
    assert {"steady", "opens", "degrades", "isolated", "conforms", "recovers", "no_storm"} <= cases


def test_breaker_plan_shows_each_instance_opening_and_closing(
    breaker_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """Per instance closed (open half_open)+ closed, each step seen in events and on the wire."""
    verdict = json.loads((breaker_run[0] / "verdict.json").read_text())
    assert_each_gateway_opened_and_closed(verdict)
    for fault in verdict["faults"]:
        assert fault["injected"]
        assert fault["healed"]
        assert fault["verified"] is True
    time_to_recover = verdict["recovery"]["pricing-down"]["time_to_recover_s"]
    assert time_to_recover["plus_minus"] <= 1.0
    assert verdict["validity"]["valid"] is True


def test_judging_again_gives_the_same_verdict(
    breaker_run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The verdict is a function of the record alone."""
    folder, _ = breaker_run
    before = (folder / "verdict.json").read_text()
    again = chaos_spike("judge", str(folder), state_dir=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    assert json.loads((folder / "verdict.json").read_text()) == json.loads(before)


def test_strict_judging_fails_on_unlimited_probes(
    breaker_run: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """Without declared deviations the library's unlimited probes break R8, with a witness."""
    folder, _ = breaker_run
    before = (folder / "verdict.json").read_text()
    done = chaos_spike("judge", str(folder), "--strict", state_dir=tmp_path)
    strict = json.loads((folder / "verdict-strict.json").read_text())
    assert (folder / "verdict.json").read_text() == before, "a second opinion stands beside the run's own"
    assert done.returncode == 1, done.stdout + done.stderr
    assert "R8" in done.stdout
    rules = [instance["rules"]["R8"] for instance in strict["breakers"]["pricing"]["instances"]]
    assert any(rule["verdict"] == "FAIL" and rule["witness"]["lines"] for rule in rules)


def test_lab_without_breaker_fails_and_names_the_expectation(tmp_path: Path) -> None:
    """The negative control, by README.md's own line (on a shorter plan): no breaker, no protection, exit 1."""
    record, done = readme_lines.valid_run(readme_lines.WITHOUT_BREAKER, tmp_path, PLAN=str(SHORT))
    assert readme_lines.code_of(done) == 1, done.stdout + done.stderr
    verdict = json.loads((record / "verdict.json").read_text())
    assert verdict["verdict"] == "fail"
    assert verdict["reason"].startswith("protected:")


def test_frozen_load_worker_makes_the_run_invalid(runner: Runners, tmp_path: Path) -> None:
    """A generator that stood still for 5 s spoilt the run, whatever the target did."""
    process = runner()
    wait_until("fault in", lambda: fault_is_in(tmp_path), 60)
    workers = [p for p in descendants(process.pid).values() if "resilience.load.worker" in p.cmdline()]
    assert workers
    workers[0].send_signal(signal.SIGSTOP)
    time.sleep(5)
    workers[0].send_signal(signal.SIGCONT)
    assert process.wait(60) == 3
    assert verdict_in(tmp_path / "out")["verdict"] == "invalid"


async def test_killed_runner_leaves_no_fault_and_no_process(runner: Runners, tmp_path: Path) -> None:
    """SIGKILL during the fault: no toxic after 5 s, seen by asking the proxy; no process of the lab after 10 s."""
    process = runner()
    wait_until("fault in", lambda: fault_is_in(tmp_path), 60)
    admin = proxy_admin(tmp_path)
    killed = time.monotonic()
    children = runner.kill(process)
    clean = False
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as client:
        while not clean and time.monotonic() - killed < 5:
            try:
                async with client.get(f"{admin}/proxies/pricing/toxics") as response:
                    clean = await response.json() == []
            except TimeoutError:
                continue  # busy: asked again as long as there is time
            except aiohttp.ClientError:
                break  # the proxy is gone: it must not have gone before it was seen clean
    assert clean, "the toxic was not seen to be gone"
    wait_until(
        "no process left",
        lambda: not [c for c in children.values() if c.is_running()],
        10 - (time.monotonic() - killed),
    )
    judged = chaos_spike("judge", str(next((tmp_path / "out").iterdir())), state_dir=tmp_path / "state")
    assert judged.returncode == 4, judged.stdout + judged.stderr


def test_interrupt_heals_first_and_exits_130(runner: Runners, tmp_path: Path) -> None:
    """SIGINT in the middle of the fault: healed, verified, judged as aborted."""
    process = runner()
    wait_until("fault in", lambda: fault_is_in(tmp_path), 60)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    verdict = verdict_in(tmp_path / "out")
    assert verdict["verdict"] == "aborted"
    assert verdict["faults"][0]["verified"] is True


def test_reader_of_the_output_that_goes_away_is_no_failure(runner: Runners) -> None:
    """`run ... | head -1`: the run goes on to its verdict, and exits with it."""
    process = runner(stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(90) in (0, 3)  # 3 on a machine that is too busy; 1 would be a verdict on the lab


def test_abort_condition_stops_the_run_with_4(tmp_path: Path) -> None:
    """Errors beyond the plan's bound: heal and stop."""
    done = chaos_spike(
        "run",
        str(SHORT),
        "--out",
        str(tmp_path / "out"),
        "--overlay",
        str(_written(tmp_path / "abort.yaml", 'abort: [{load: quotes, errors: "> 20%", for: 2s}]\n')),
        state_dir=tmp_path / "state",
        CHAOS_SPIKE_LAB_BREAKER="none",
    )
    assert done.returncode == 4, done.stdout + done.stderr
    verdict = verdict_in(tmp_path / "out")
    assert verdict["faults"][0]["verified"] is True
    assert "quotes" in verdict["reason"]


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_invalid_plan_exits_2_and_starts_nothing(tmp_path: Path) -> None:
    """The problem is said with its place; no folder is made."""
    plan = _written(tmp_path / "plan.yaml", SHORT.read_text().replace("proxy: pricing", "proxy: prcing"))
    done = chaos_spike("run", str(plan), "--out", str(tmp_path / "out"), state_dir=tmp_path / "state")
    assert done.returncode == 2
    assert re.search(
        r"plan\.yaml:\d+:\d+: faults\.0\.proxy: no proxy 'prcing'; did you mean 'pricing'\?", done.stderr
    )
    assert not (tmp_path / "out").exists()


def test_run_directory_that_cannot_be_written_exits_6(tmp_path: Path) -> None:
    """One clear message, and the lab was not started for it."""
    _written(tmp_path / "file", "")
    done = chaos_spike("run", str(SHORT), "--out", str(tmp_path / "file"), state_dir=tmp_path / "state")
    assert done.returncode == 6
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_target_that_is_down_exits_6(tmp_path: Path) -> None:
    """An external system that does not answer is a set-up that failed, said at once."""
    text = SHORT.read_text().replace("lab: {}", 'external: {base_url: "http://127.0.0.1:9"}')
    text = re.sub(r"faults:.*?expect:", "expect:", text, flags=re.DOTALL)
    text = text.replace("fault: pricing-slow, settle: 1s, ", "")
    plan = _written(tmp_path / "plan.yaml", text)
    done = chaos_spike(
        "run", str(plan), "--stack", "external", "--out", str(tmp_path / "out"), state_dir=tmp_path / "state"
    )
    assert done.returncode == 6, done.stdout + done.stderr
    assert "127.0.0.1:9" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_dry_run_prints_the_timeline_and_starts_nothing(tmp_path: Path) -> None:
    """Every operation with its offset; healing is part of it."""
    done = chaos_spike(
        "run", str(SHORT), "--dry-run", "--out", str(tmp_path / "out"), state_dir=tmp_path / "state"
    )
    assert done.returncode == 0
    assert "6.000 s  fault.inject pricing-slow" in done.stdout
    assert "heal.all" in done.stdout
    assert not (tmp_path / "out").exists()
