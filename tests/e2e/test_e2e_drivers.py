"""One plan with every driver and every kind of shape, run as a user runs it: what each of them leaves in the record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from resilience.analysis import sockets
from resilience.metrics.figures import FigureTable
from resilience.metrics.fold import LoadTable
from resilience.run.record import RunReader

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(200)]

PLAN = Path(__file__).parents[1] / "data" / "drivers" / "drivers.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The record of one run. On a busy machine it may be invalid: late, but what was offered was offered."""
    out = tmp_path_factory.mktemp("runs")
    ended = subprocess.run(
        [sys.executable, "-m", "resilience.cli.main", "run", str(PLAN), "--out", str(out), "--workers", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "CHAOS_SPIKE_STATE_DIR": str(out / "state")},
        timeout=90,
        check=False,
    )
    (found,) = [path for path in out.iterdir() if (path / "plan.yaml").is_file()]
    verdict = json.loads((found / "verdict.json").read_text())
    assert verdict["verdict"] in {"pass", "invalid"}, ended.stdout + ended.stderr
    assert {each["verdict"] for each in verdict["expectations"]} == {"pass"}, ended.stdout
    return found


def test_every_driver_offers_what_its_shape_says_and_loses_nothing(folder):
    """Conservation holds for all seven loads, the counts are those of their shapes, and nothing failed."""
    table = LoadTable.from_messages(RunReader(folder).bins())
    counts = {load: table.bin(load).counts for load in table.loads}
    assert set(counts) == {"quotes", "shoppers", "chat", "announcer", "stock", "prices", "orders"}
    for load in counts:
        assert counts[load]["offered"] == table.bin(load).ended
        assert counts[load]["ok"] + counts[load]["degraded"] == counts[load]["offered"]
    assert counts["chat"]["offered"] == 8
    assert counts["announcer"]["offered"] == 1
    assert counts["orders"]["offered"] == 31
    # 5 s and 4 s at 10/s around a third of 5 s each at 10, 20 and 10/s.
    assert counts["stock"]["offered"] == 157
    # Three users who think 400 ms: 14 s would be 105 turns if answers took no time.
    assert 40 <= counts["shoppers"]["offered"] <= 105
    # The baseline's 20/s, a spike of 2 s more than that at its foot, a ramp to 30/s.
    assert counts["quotes"]["offered"] == 20 * 14 + 80 + 30


def test_every_driver_writes_down_what_the_plan_asks_for(folder):
    """Notes of sessions, statements, commands and scripts; each arrival has one."""
    reader = RunReader(folder)
    table = LoadTable.from_messages(reader.bins())
    orders = list(reader.notes("orders"))
    assert {note["what"] for note in orders} == {"order"}
    assert len({note["order"] for note in orders}) == 31
    shoppers = list(reader.notes("shoppers"))
    assert len(shoppers) == table.bin("shoppers").counts["offered"]
    assert all(note["outcome"] == "ok" and isinstance(note["order"], int) for note in shoppers)
    assert {note["customer"] for note in shoppers} == {"user-0", "user-1", "user-2"}
    assert Counter(note["item"] for note in reader.notes("stock")) == {"1": 79, "2": 78}
    assert all(note["version"] >= 1 for note in reader.notes("stock"))
    assert all(note["found"] is None for note in reader.notes("prices"))


def test_figures_tell_what_only_one_driver_knows(folder):
    """Hits and misses, message latencies, first messages, pushes; and gauges of wanted and live sockets."""
    reader = RunReader(folder)
    figures = FigureTable.from_messages(reader.figures())
    prices = LoadTable.from_messages(reader.bins()).bin("prices").counts["offered"]
    assert figures.count("prices", "hits") == figures.count("prices", "misses") == prices
    assert figures.count("stock", "statements") == 157
    assert figures.count("chat", "opened") == figures.count("chat", "welcomed") == 8
    assert figures.count("chat", "sent") == figures.count("chat", "answered") == 64
    assert figures.histogram("chat", "message").count == 64
    assert figures.histogram("chat", "first_message").count == 8
    assert (
        figures.count("chat", "lost")
        == figures.count("chat", "wrong")
        == figures.count("chat", "unanswered")
        == 0
    )
    assert figures.count("announcer", "missed") == 0
    live = Counter()
    for line in reader.workers():
        if line["kind"] == "worker":
            live[line["t"] // 10**9] += line["drivers"]["chat"]["live"]
    assert max(live.values()) >= 4


def test_sockets_hear_every_broadcast(folder):
    """The notes of the crowd and of the announcer, put together: everyone who was there was told."""
    reader = RunReader(folder)
    crowd, _ = sockets.from_notes(reader.notes("chat"))
    _, broadcasts = sockets.from_notes(reader.notes("announcer"))
    told = sockets.crowd_of(8, crowd, broadcasts, grace_ns=500_000_000)
    assert told.connected == told.welcomed == 8
    assert told.broadcasts == 3
    assert told.owed >= 12
    assert told.missed == told.lost == 0


def test_record_holds_no_credentials(folder):
    """Addresses of the lab's databases stand in the record without their passwords, and the plan without its own."""
    environment = json.loads((folder / "environment.json").read_text())
    assert set(environment["system"]["addresses"]) == {"db", "cache"}
    for address in environment["system"]["addresses"].values():
        assert "redacted" in address
    plan = (folder / "plan.yaml").read_text()
    assert "lab-password" not in plan
    assert "place_order" in plan
