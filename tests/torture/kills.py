"""Runners killed at random moments: every fault must be gone within 5 s, and stay gone.

Each trial has a dependency of its own (a real HTTP server that speaks Toxiproxy's control API), a state directory of its own,
and a runner that injects and heals without rest. At a random moment it is killed, its whole process group is killed, or it is
frozen, and thawed once its faults are gone. Measured is the time from that moment until the dependency is clean and stays
clean; a thawed runner must not leave anything behind either.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from faults_safety_stub import StubToxiproxy

PROMISE_S = 5.0
SETTLED_S = 1.2
"""How long a dependency must stay clean: a dead runner's last request may still be on its way."""
FENCED_S = 4.0
"""From a freeze to the moment at which the guardian has certainly fenced its runner off (3 s, and looking twice)."""
WAYS = ("runner", "group", "freeze")
RUNNER = Path(__file__).with_name("runner.py")


@dataclass(frozen=True, slots=True)
class Trial:
    """One kill: how, whether a fault was in place at that moment, and what came of it."""

    way: str
    faulted: bool
    clean_after_s: float
    problem: str = ""


def run_kills(count: int, seed: int, at_once: int) -> list[Trial]:
    """Kill `count` runners; the trials in order."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(
            pool.map(lambda number: _trial(number, random.Random(seed * 100_003 + number)), range(count))
        )


def report(trials: list[Trial]) -> dict[str, Any]:
    """Figures for people and for build/torture.json."""
    by_way = {}
    for way in WAYS:
        times = [each.clean_after_s for each in trials if each.way == way and each.faulted]
        by_way[way] = {
            "kills": sum(each.way == way for each in trials),
            "with_a_fault_in_place": len(times),
            "median_s": round(statistics.median(times), 3) if times else None,
            "longest_s": round(max(times), 3) if times else None,
        }
    problems = [f"{each.way}: {each.problem}" for each in trials if each.problem]
    return {"kills": len(trials), "by_way": by_way, "promise_s": PROMISE_S, "problems": problems}


def _trial(number: int, dice: random.Random) -> Trial:
    way = WAYS[number % len(WAYS)]
    stub = StubToxiproxy()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="chaos-spike-torture-") as folder,
            _runner(stub, folder, number) as runner,
        ):
            time.sleep(dice.uniform(0, 1.5))
            return _kill(way, runner, stub)
    finally:
        stub.close()


@contextlib.contextmanager
def _runner(stub: StubToxiproxy, folder: str, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(RUNNER), stub.admin_url, folder, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        guardian = json.loads(process.stdout.readline())["guardian"]
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            _gone(guardian)


def _gone(pid: int) -> None:
    """Wait until a guardian has ended: it heals, looks twice, and goes."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return
        if stat.rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"guardian {pid} outlived its work")


def _kill(way: str, runner: subprocess.Popen[bytes], stub: StubToxiproxy) -> Trial:
    faulted = not _clean(stub)
    began = time.monotonic()
    if way == "group":
        os.killpg(runner.pid, signal.SIGKILL)
    else:
        runner.send_signal(signal.SIGSTOP if way == "freeze" else signal.SIGKILL)
    clean_after_s = _clean_for_good(stub, began)
    if clean_after_s is None:
        return Trial(way, faulted, float("inf"), f"not clean for good within {PROMISE_S} s: {_left(stub)}")
    if way == "freeze":
        # A freeze that is shorter than three heartbeats is no death: such a runner may go on, and would.
        time.sleep(max(0.0, began + FENCED_S - time.monotonic()))
        runner.send_signal(signal.SIGCONT)
        if _clean_for_good(stub, time.monotonic()) is None:
            return Trial(way, faulted, clean_after_s, f"the thawed runner left {_left(stub)}")
    return Trial(way, faulted, clean_after_s)


def _clean(stub: StubToxiproxy) -> bool:
    with stub.lock:
        return stub.enabled and not stub.toxics


def _left(stub: StubToxiproxy) -> str:
    with stub.lock:
        return f"enabled={stub.enabled}, toxics={sorted(stub.toxics)}"


def _clean_for_good(stub: StubToxiproxy, began: float) -> float | None:
    """Seconds until the dependency was clean and stayed so for SETTLED_S; None if that began later than promised."""
    since: float | None = None
    while True:
        now = time.monotonic()
        if not _clean(stub):
            since = None
            if now - began > PROMISE_S:
                return None
        elif since is None:
            since = now
        elif now - since >= SETTLED_S:
            return since - began
        time.sleep(0.002)
