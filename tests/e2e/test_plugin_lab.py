"""The pytest plugin against a whole system: the documented test of a service, run on the lab by a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]

SERVICE = """
import pytest
from chaos_spike_pytest import latency

@pytest.fixture
def chaos_target():
    return "lab"

@pytest.mark.chaos(max_duration=60)
def test_opens_and_recovers(chaos):
    pricing = chaos.breaker("pricing")                   # its specification: what the lab says that it runs
    with chaos.load.http("/api/quote/1001", rate=40) as quotes:
        quotes.wait_steady(within=15)
        quotes.wait(3)
        with chaos.fault("pricing", latency(2000)) as fault:
            pricing.wait_for("open", within=5)
            quotes.wait(4)
        pricing.wait_for("closed", within=20)
        quotes.wait(10)
    run = chaos.judge()
    run.breaker("pricing").assert_conforms(require=["R1", "R4", "R5", "R10"])
    run.load(quotes).during(fault, settle=1).assert_fallback(at_least=0.9)
    assert run.time_to_recover(fault, hold=2) < 25
"""


def test_plugin_follows_a_service_through_opening_and_recovery(tmp_path: Path) -> None:
    """Load, fault, waits on events, and judging afterwards, with nothing but the documented verbs."""
    (tmp_path / "test_service.py").write_text(SERVICE)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "CHAOS_SPIKE_STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "chaos_spike_pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "-q",
        ],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode and "InvalidRun" in done.stdout:
        pytest.skip("the machine was too busy for the load generator, which says nothing about the plugin")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr
