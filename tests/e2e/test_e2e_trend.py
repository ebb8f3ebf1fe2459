"""A real slowdown over three nights is found: the lab, its price service a quarter slower, and the history of short runs.

The nights are minutes apart here; nothing in the method knows dates. The lab is started by hand (`lab up`) and run against as a
system at an address, as somebody else's would be: a run that knew the lab's settings would take a slower one for another system.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.scenario, pytest.mark.timeout(600)]

REFERENCE, RECENT = 8, 3
WORK_MS, SLOWER_MS = 60, 75
PLAN = """\
version: 1
name: night
purpose: Quotes stay quick.
lab: {}
phases:
  - {name: warmup, duration: 1s, judge: false}
  - {name: baseline, duration: 5s}
load:
  quotes:
    http: {url: "/api/quote/{sku}", data: [{sku: "1001"}, {sku: "1002"}], deadline: 500ms}
    rate: 20/s
expect:
  quick: {load: quotes, phase: baseline, p95: "< 400ms"}
"""


def command(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """One command of ours to its end."""
    return subprocess.run(
        [sys.executable, "-m", "resilience.cli.main", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def lab(work_ms: int) -> Iterator[str]:
    """The lab, with a price service that works so long on a price; its address."""
    up = command("lab", "up", CHAOS_SPIKE_LAB_PRICING_WORK_MS=str(work_ms))
    assert up.returncode == 0, up.stdout + up.stderr
    try:
        address = re.search(r"^gateway +(http://\S+)", up.stdout, re.MULTILINE)
        assert address is not None, up.stdout
        yield address[1]
    finally:
        down = command("lab", "down")
        assert down.returncode == 0, down.stdout + down.stderr


def nights(count: int, folder: Path, address: str) -> None:
    """So many runs that measured something; one that the machine spoilt is no night, and not all of them can be that."""
    plan = folder / "night.yaml"
    plan.write_text(PLAN, encoding="utf-8")
    codes: list[int] = []
    while codes.count(0) < count:
        ended = command("run", str(plan), "--target", address, "--out", str(folder / "runs"))
        assert ended.returncode in (0, 3), ended.stdout + ended.stderr
        codes.append(ended.returncode)
        assert codes.count(3) <= 4, "the machine is too busy to measure anything"


def trend() -> tuple[int, dict[str, Any]]:
    """What the history says now."""
    told = command("history", "trend", "night", "--json")
    found: dict[str, Any] = json.loads(told.stdout)
    return told.returncode, found


def test_quarter_slower_for_three_nights_is_found_and_can_be_accepted(tmp_path: Path) -> None:
    """Quiet before, a warning after (eleven runs can warn, not fail), the page says so too; accepted, it is quiet again."""
    with lab(WORK_MS) as address:
        nights(REFERENCE + RECENT, tmp_path, address)
    before = trend()
    assert before[1]["state"] == "ok", before
    with lab(SLOWER_MS) as address:
        nights(RECENT, tmp_path, address)
    code, found = trend()
    (p95,) = [each for each in found["figures"] if each["name"] == "quotes baseline p95"]
    assert (code, found["state"], p95["state"]) == (0, "warn", "warn"), found
    assert p95["now"] > 1.15 * p95["before"]
    last = max((tmp_path / "runs").iterdir(), key=lambda run: run.name)
    page = (last / "report.html").read_text(encoding="utf-8")
    assert "warn: the last 3 runs against 11 before them" in page
    accepted = command("history", "accept", found["run"], "--note", "a slower price service was meant")
    assert accepted.returncode == 0, accepted.stderr
    assert trend()[1]["state"] == "too few"
