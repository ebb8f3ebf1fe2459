"""The built-in plans against the real lab: each passes on the lab as it is, and fails, for its own reason alone, on the lab that breaks its promise.

And against a lab that somebody else started, as against any external system: the same plan gives the same verdict, and what such a
system does not offer is unknown, with the reason.

Three quarters of an hour of real time on two cores: `make test-scenarios` runs it, beside the other tiers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resilience.cli.scenarios import SUITE_PLANS
from resilience.lab.broken import VARIABLE, WAYS

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(900)]

COMMAND = (sys.executable, "-m", "resilience.cli.main")
PASS, FAIL, UNKNOWN, RETRY = 0, 1, 3, (3, 6)
BROKEN = {
    "no-fallback": ("breaker", {"degrades"}),
    "breaker-stays-open": ("breaker", {"conforms", "recovers"}),
    "pool-waits": ("db-pool", {"quick"}),
    "acknowledges-early": ("db-pool", {"exactly_once"}),
    "no-invalidation": ("cache-coherence", {"coherent"}),
    "never-scales": ("autoscale", {"scales"}),
    "leaks-sockets": ("websocket-stability", {"memory"}),
    "drops-sockets": ("websocket-stability", {"stays"}),
    "logins-fail": ("login-herd", {"errors"}),
}
"""Which plan must fail on which broken lab, and by which of its expectations."""
METASTABLE = ("metastable", "metastable-good", "metastable-placebo")


def call(folder: Path, *words: str, **extra: str) -> int:
    """Exit code of one command, with a state directory of its own; what it printed stands in the test's output."""
    environ = {**os.environ, "CHAOS_SPIKE_STATE_DIR": str(folder / "state"), **extra}
    return subprocess.run([*COMMAND, *words], env=environ, timeout=280, check=False).returncode


def run_once(
    folder: Path, plan: str, *words: str, retry: bool = True, **extra: str
) -> tuple[int, dict[str, Any]]:
    """Exit code and verdict of one run. A run that a busy machine spoilt says nothing and is tried again, as a job would."""
    for attempt in range(3):
        out = folder / f"out-{attempt}"
        code = call(folder, "run", plan, *words, "--out", str(out), **extra)
        (path,) = out.glob("*/verdict.json")
        verdict = json.loads(path.read_text())
        if code not in RETRY or (not retry and verdict["verdict"] == "unknown"):
            break
    return code, verdict


@contextmanager
def lab_up(folder: Path, plan: str, **extra: str) -> Iterator[str]:
    """The lab that a plan asks for, started by hand; gives its address."""
    assert call(folder, "lab", "up", "--plan", plan, **extra) == 0
    try:
        yield json.loads((folder / "state" / "lab.json").read_text())["system"]["base_url"]
    finally:
        assert call(folder, "lab", "down") == 0


def failed(verdict: dict[str, Any]) -> dict[str, str]:
    """What was observed of each expectation that failed."""
    return {e["id"]: e["observed"] for e in verdict["expectations"] if e["verdict"] == "fail"}


@pytest.mark.parametrize("plan", [*SUITE_PLANS, *METASTABLE])
def test_scenario_passes_on_the_lab_as_it_is(tmp_path: Path, plan: str) -> None:
    """Every expectation holds, and each has its figure."""
    code, verdict = run_once(tmp_path, plan)
    assert code == PASS, (verdict["reason"], failed(verdict))
    assert all(e["observed"] not in ("", "nothing") for e in verdict["expectations"])


@pytest.mark.parametrize("way", WAYS)
def test_scenario_fails_on_its_broken_lab_for_its_own_reason(tmp_path: Path, way: str) -> None:
    """The promise that was broken is the one that is named, and no other."""
    plan, expected = BROKEN[way]
    code, verdict = run_once(tmp_path, plan, **{VARIABLE: way})
    assert code == FAIL, verdict["reason"]
    assert set(failed(verdict)) == expected, failed(verdict)


@pytest.mark.parametrize("plan", SUITE_PLANS)
def test_scenario_gives_the_same_verdict_on_a_lab_that_is_up(tmp_path: Path, plan: str) -> None:
    """Started by hand and named as the target, the lab is an external system; nothing of the verdict is lost by that."""
    with lab_up(tmp_path, plan):
        code, verdict = run_once(tmp_path, plan, "--target", "lab")
    assert code == PASS, (verdict["reason"], failed(verdict))
    assert {e["verdict"] for e in verdict["expectations"]} == {"pass"}


def test_scenario_fails_on_a_broken_lab_that_is_up_and_says_that_it_is_broken(tmp_path: Path) -> None:
    """The variable is that lab's alone; the record of a run against it has it all the same, and so has the verdict."""
    with lab_up(tmp_path, "websocket-stability", **{VARIABLE: "leaks-sockets"}):
        code, verdict = run_once(tmp_path, "websocket-stability", "--target", "lab")
    assert (code, set(failed(verdict))) == (FAIL, {"memory"}), verdict["reason"]
    assert "leaks-sockets" in verdict["notice"]
    (written,) = (tmp_path / "out-0").glob("*/environment.json")
    assert json.loads(written.read_text())["lab"][VARIABLE] == "leaks-sockets"


def test_scenario_on_a_bare_address_judges_what_it_can_see_and_says_what_it_cannot(tmp_path: Path) -> None:
    """Sockets are judged as everywhere; memory and health are unknown, for the reason that nobody offers them."""
    with lab_up(tmp_path, "websocket-ramp") as address:
        code, verdict = run_once(tmp_path, "websocket-ramp", "--target", address, retry=False)
    assert code == UNKNOWN
    assert verdict["verdict"] == "unknown", verdict["reason"]
    told = {e["id"]: e for e in verdict["expectations"]}
    assert {name for name, e in told.items() if e["verdict"] == "pass"} == {"five", "ten", "fifteen"}
    assert all(told[name]["evidence"]["why"] for name in ("memory", "well"))
