"""Runners killed at random moments: every fault must be gone within 5 s, and stay gone.

Each trial has a dependency of its own (a real HTTP server that speaks Toxiproxy's control API), a state directory of its own,
and a runner that injects and heals without rest. At a random moment it is killed, its whole process group is killed, or it is
frozen, and thawed once its faults are gone. Measured is the time from that moment until the dependency is clean and stays
clean, seen from outside, and until the guardian has verified it, by its journal. A thawed runner injects nothing: the dependency counts the
requests that put something in. (One that was frozen with no fault in anybody's care has had nothing healed, is not fenced off, and
is counted as forgiven.) One that the runner had passed to its HTTP client before it was frozen may still come (docs/safety.md says
so); it is counted as late, at most one a runner, and must be undone like any other.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
from aftermath import gone, records_of, verified_after_s
from faults_safety_stub import StubToxiproxy

from faults.journal import live_intents
from faults.sweep import sweep

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
    clean_after_s: float = float("inf")
    verified_s: float | None = None
    late: int = 0
    forgiven: bool = False
    problem: str = ""


class Target(Protocol):
    """What a runner breaks: where it is steered, and how it looks from outside."""

    @property
    def arguments(self) -> tuple[str, str, str]:
        """What a runner is told: control address, an upstream to allow, the JSON of a fallback ("" for none)."""

    def clean(self) -> bool:
        """Whether no fault is in place."""

    def left(self) -> str:
        """What is in place, in words."""

    def injections_since(self, moment_ns: int) -> int:
        """How many requests that put a fault in have come since."""


class StubTarget:
    """The stub: it counts what it was asked."""

    def __init__(self) -> None:
        self.stub = StubToxiproxy()

    @property
    def arguments(self) -> tuple[str, str, str]:
        """No more than its address."""
        return self.stub.admin_url, "", ""

    def clean(self) -> bool:
        """As the stub has it."""
        with self.stub.lock:
            return self.stub.enabled and not self.stub.toxics

    def left(self) -> str:
        """As the stub has it."""
        with self.stub.lock:
            return f"enabled={self.stub.enabled}, toxics={sorted(self.stub.toxics)}"

    def injections_since(self, moment_ns: int) -> int:
        """As the stub has counted."""
        with self.stub.lock:
            return sum(at > moment_ns for at in self.stub.injections)


def run_kills(count: int, seed: int, at_once: int) -> list[Trial]:
    """Kill `count` runners; the trials in order."""

    def on_stub(number: int) -> Trial:
        target = StubTarget()
        try:
            return trial(number, random.Random(seed * 100_003 + number), target)
        finally:
            target.stub.close()

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(on_stub, range(count)))


def report(trials: list[Trial]) -> dict[str, Any]:
    """Figures for people and for build/torture.json."""
    by_way = {}
    for way in WAYS:
        times = [each.clean_after_s for each in trials if each.way == way and each.faulted]
        # A freeze is followed by a thaw, after which the guardian looks at everything once more: no time of healing.
        verified = [
            each.verified_s
            for each in trials
            if each.way == way and each.verified_s is not None and way != "freeze"
        ]
        by_way[way] = {
            "kills": sum(each.way == way for each in trials),
            "with_a_fault_in_place": len(times),
            "median_s": round(statistics.median(times), 3) if times else None,
            "longest_s": round(max(times), 3) if times else None,
            "longest_until_verified_s": max(verified, default=None),
        }
    problems = [f"{each.way}: {each.problem}" for each in trials if each.problem]
    return {
        "kills": len(trials),
        "by_way": by_way,
        "late_requests_of_thawed_runners": sum(each.late for each in trials),
        "thawed": sum(each.way == "freeze" and not each.forgiven for each in trials),
        "forgiven": sum(each.forgiven for each in trials),
        "promise_s": PROMISE_S,
        "problems": problems,
    }


def trial(number: int, dice: random.Random, target: Target) -> Trial:
    """Kill one runner, in one of the ways in turn, at a moment within its first second and a half."""
    way = WAYS[number % len(WAYS)]
    with tempfile.TemporaryDirectory(prefix="chaos-spike-torture-") as folder:
        with _runner(target, folder, number) as runner:
            time.sleep(dice.uniform(0, 1.5))
            began_ns = time.monotonic_ns()
            died = _kill(way, runner, target, Path(folder))
        return _with_journal(died, Path(folder), began_ns)


def _with_journal(trial: Trial, state_dir: Path, began_ns: int) -> Trial:
    """What the journals say once the guardian has ended: when it had verified, and that a sweep leaves nothing live."""
    swept = sweep(state_dir)
    records = records_of(state_dir)
    verified_s = verified_after_s(records, began_ns)
    problem = trial.problem
    if any(not each.clean for each in swept) or live_intents(records):
        problem = problem or f"faults are left in the journal: {live_intents(records)}"
    if trial.way != "freeze" and (verified_s or 0.0) > PROMISE_S:
        problem = problem or f"verified only after {verified_s} s"
    return replace(trial, verified_s=verified_s, problem=problem)


@contextlib.contextmanager
def _runner(target: Target, folder: str, seed: int) -> Iterator[subprocess.Popen[bytes]]:
    admin_url, *more = target.arguments
    command = [sys.executable, str(RUNNER), admin_url, folder, str(seed), *more]
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
            gone(guardian)


def _kill(way: str, runner: subprocess.Popen[bytes], target: Target, state_dir: Path) -> Trial:
    faulted = not target.clean()
    began = time.monotonic()
    if way == "group":
        os.killpg(runner.pid, signal.SIGKILL)
    else:
        runner.send_signal(signal.SIGSTOP if way == "freeze" else signal.SIGKILL)
    clean_after_s = _clean_for_good(target, began)
    if clean_after_s is None:
        return Trial(way, faulted, problem=f"not clean for good within {PROMISE_S} s: {target.left()}")
    if way == "freeze":
        # A freeze that is shorter than three heartbeats is no death: such a runner may go on, and would.
        time.sleep(max(0.0, began + FENCED_S - time.monotonic()))
        if not any(each.get("reason") == "silence" for each in records_of(state_dir)):
            # No fault was in anybody's care when it stopped: there was nothing to heal, and it may go on.
            return Trial(way, faulted, clean_after_s, forgiven=True)
        thawed_ns = time.monotonic_ns()
        runner.send_signal(signal.SIGCONT)
        if _clean_for_good(target, time.monotonic()) is None:
            return Trial(way, faulted, clean_after_s, problem=f"the thawed runner left {target.left()}")
        late = target.injections_since(thawed_ns)
        problem = f"the thawed runner injected {late} times" if late > 1 else ""
        return Trial(way, faulted, clean_after_s, late=late, problem=problem)
    return Trial(way, faulted, clean_after_s)


def _clean_for_good(target: Target, began: float) -> float | None:
    """Seconds until the dependency was clean and stayed so for SETTLED_S; None if that began later than promised."""
    since: float | None = None
    while True:
        now = time.monotonic()
        if not target.clean():
            since = None
            if now - began > PROMISE_S:
                return None
        elif since is None:
            since = now
        elif now - since >= SETTLED_S:
            return since - began
        time.sleep(0.002)
