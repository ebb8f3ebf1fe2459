"""The built-in plans against the real lab: each passes on the lab as it is, and fails, for its own reason alone, on the lab that breaks its promise.

Half an hour of real time on two cores: `make test-scenarios` runs it, beside the other tiers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resilience.cli.scenarios import SUITE_PLANS
from resilience.lab.broken import VARIABLE, WAYS

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(700)]

COMMAND = (sys.executable, "-m", "resilience.cli.main", "run")
PASS, FAIL, RETRY = 0, 1, (3, 6)
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


def run_once(folder: Path, plan: str, **extra: str) -> tuple[int, dict[str, Any]]:
    """Exit code and verdict of one run. A run that a busy machine spoilt says nothing and is tried again, as a job would."""
    for attempt in range(3):
        out = folder / f"out-{attempt}"
        done = subprocess.run(
            [*COMMAND, plan, "--out", str(out)],
            capture_output=True,
            text=True,
            env={**os.environ, "CHAOS_SPIKE_STATE_DIR": str(folder / "state"), **extra},
            timeout=200,
            check=False,
        )
        if done.returncode not in RETRY:
            break
    (path,) = out.glob("*/verdict.json")
    return done.returncode, json.loads(path.read_text())


def failed(verdict: dict[str, Any]) -> dict[str, str]:
    """What was observed of each expectation that failed."""
    return {e["id"]: e["observed"] for e in verdict["expectations"] if e["verdict"] == "fail"}


@pytest.mark.parametrize("plan", [*SUITE_PLANS, "metastable", "metastable-good", "metastable-placebo"])
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
