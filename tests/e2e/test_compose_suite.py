"""`chaos-spike run suite --stack compose`: the ten scenarios on containers, with Shopify's Toxiproxy before every dependency.

Seven minutes, where no plan has to be run again; the tests share what was run. Needs an engine and the images (`.ci/images` makes
stand-ins).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest
from healthy_path import assert_each_gateway_opened_and_closed

from resilience.cli.scenarios import SUITE_PLANS

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(1500)]

COMMAND = (sys.executable, "-P", "-m", "resilience.cli.main")
LABEL = "io.chaos-spike.lab"
TRIES = 3


class Ran(NamedTuple):
    """What a plan came to, and where its last run is recorded."""

    folder: Path
    verdict: dict[str, Any]


def ran_under(out: Path) -> dict[str, Ran]:
    """Each plan that was run, by its name."""
    found = [Ran(path.parent, json.loads(path.read_text())) for path in out.glob("*/verdict.json")]
    return {ran.verdict["plan"]: ran for ran in found}


@pytest.fixture(scope="module")
def suite(require: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """The suite, run once. A plan that found out nothing (exit 3), mostly for a crowded machine, is run again; a failure stays one."""
    require("docker")
    folder = tmp_path_factory.mktemp("suite")
    environ = {**os.environ, "CHAOS_SPIKE_STATE_DIR": str(folder / "state")}
    wanted = ["suite"]
    ran: dict[str, Ran] = {}
    for attempt in range(TRIES):
        out = folder / f"out-{attempt}"
        done = subprocess.run(
            [*COMMAND, "run", *wanted, "--stack", "compose", "--out", str(out)],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
        )
        ran |= ran_under(out)
        # The exit code tells the worst of several plans, and an invalid one is worse than a failed one.
        failed = {
            name: each.verdict["reason"] for name, each in ran.items() if each.verdict["verdict"] == "fail"
        }
        assert not failed, failed
        wanted = [name for name in SUITE_PLANS if name not in ran or ran[name].verdict["verdict"] != "pass"]
        assert done.returncode == (3 if wanted else 0), done.stdout + done.stderr
        if not wanted:
            break
    return ran


def test_suite_passes_on_compose_with_shopifys_toxiproxy(suite: dict[str, Ran]) -> None:
    """Every scenario holds, each with Toxiproxy of its own, and nothing is left on the engine."""
    assert {name: suite[name].verdict["verdict"] for name in SUITE_PLANS} == dict.fromkeys(
        SUITE_PLANS, "pass"
    )
    for name in SUITE_PLANS:
        facts = json.loads((suite[name].folder / "environment.json").read_text())["system"]["facts"]
        assert "toxiproxy" in facts["container_toxiproxy-db"].split()[-1]
    client = docker.from_env()
    try:
        assert not client.containers.list(all=True, filters={"label": LABEL})
        assert not client.networks.list(filters={"label": LABEL})
    finally:
        client.close()


def test_breaker_plan_agrees_with_embedded_and_names_each_toxiproxy(suite: dict[str, Ran]) -> None:
    """Replicas by name, events and wire behind every step; which Toxiproxy had which fault, verified as gone."""
    folder, verdict = suite["breaker"]
    assert verdict["stack"] == "compose"
    assert_each_gateway_opened_and_closed(verdict)
    assert all(fault["verified"] for fault in verdict["faults"])
    system = json.loads((folder / "environment.json").read_text())["system"]
    toxiproxy = system["proxies"]["pricing"]["admin_url"]
    assert "toxiproxy-pricing" in system["facts"]["container_toxiproxy-pricing"]
    assert len({point["admin_url"] for point in system["proxies"].values()}) == 3
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    carried = [e for e in events if e["kind"] == "fault" and e["step"] == "injected"]
    assert [e["detail"]["admin_url"] for e in carried] == [toxiproxy, toxiproxy]
