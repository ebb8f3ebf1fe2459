"""`chaos-spike lab up`: the lab becomes what a plan asks for, and whoever runs against it later is told what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from resilience.cli.targets import target_system
from resilience.lab.broken import VARIABLE
from resilience.lab.system import LAB_FACT, NOTICE
from resilience.run.environment import describe_system
from resilience.run.probes import AUTOSCALER

pytestmark = pytest.mark.integration


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """`chaos-spike lab ...` as a user runs it, with both outputs in one."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "resilience.cli.main", "lab", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )


@pytest.fixture(autouse=True)
def taken_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A state directory of the test's own; no lab stays up."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "state"))
    yield
    assert command("down").returncode == 0


def test_lab_up_with_a_plan_is_the_lab_of_that_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways, settings and the autoscaler come from the plan and what is set over it; a broken lab says so from then on."""
    monkeypatch.setenv(VARIABLE, "never-scales")
    done = command("up", "--plan", "autoscale", "--set", "lab.settings.db_pool=3")
    assert done.returncode == 0, done.stdout
    monkeypatch.delenv(VARIABLE)
    assert "run autoscale --target lab" in done.stdout
    system = target_system("lab")
    assert [each.name for each in system.instances if each.service == "gateway"] == ["gateway-1"]
    assert system.facts[AUTOSCALER] in done.stdout
    assert psutil.Process(system.pids["gateway"][0]).environ()["CHAOS_SPIKE_LAB_DB_POOL"] == "3"
    assert "never-scales" in system.facts[NOTICE]
    assert json.loads(system.facts[LAB_FACT])["CHAOS_SPIKE_LAB_DB_POOL"] == "3"
    assert describe_system(system)["lab"][VARIABLE] == "never-scales"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plan", "conformance-external"], "not written for the lab"),
        (["--plan", "no-such-plan"], "no built-in plan"),
        (["--set", "lab.settings.db_poool=4"], "db_pool"),
        (["--set", "lab.settings.db_pool=0"], "db_pool"),
    ],
)
def test_lab_up_refuses_what_cannot_be_meant(arguments: list[str], said: str) -> None:
    """One message and exit code 2, and nothing was started."""
    done = command("up", *arguments)
    assert done.returncode == 2
    assert said in done.stdout
