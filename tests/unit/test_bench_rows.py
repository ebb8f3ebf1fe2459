"""What the benches make of their figures: the stall oracle's distance, and the table of goals."""

import random

import pytest

from bench.rows import compared, measured, shown, skipped, summary
from bench.stall import FREEZE_S, RATE, Freeze, Wait, distance, judged

FROZEN = Freeze(100.0, 100.0 + FREEZE_S)


def open_model(*, drain_s=0.0):
    """Callers at a constant rate over eight seconds, and when a server that was frozen for six of them answered each."""
    waits, answers = [], []
    due = [FROZEN.began_s - 1 + k / RATE for k in range(int(8 * RATE))]
    stalled = [at for at in due if FROZEN.began_s <= at < FROZEN.ended_s]
    for place, at in enumerate(due):
        if FROZEN.began_s <= at < FROZEN.ended_s:
            answered = FROZEN.ended_s + drain_s * (place - due.index(stalled[0]) + 1) / len(stalled)
        else:  # whoever comes after the thaw stands behind the backlog
            answered = max(at, FROZEN.ended_s + drain_s if at >= FROZEN.ended_s else 0.0) + 0.0002
        waits.append(Wait(at, answered - at))
        answers.append(answered)
    return waits, answers


def test_stall_distance_is_none_for_the_closed_form_and_all_for_one_place():
    """Waits spread evenly over the freeze have no distance, all in one place nearly one, none at all one."""
    assert distance([6 * (k + 0.5) / 1000 for k in range(1000)], 6) == pytest.approx(0.0005)
    assert distance([6.0] * 50, 6) == 1.0
    assert distance([], 6) == 1.0
    dice = random.Random(4)
    assert distance([dice.uniform(0, 6) for _ in range(3000)], 6) < 0.03


def test_stall_oracle_subtracts_what_the_target_needed_itself():
    """A backlog that takes half a second adds a distance of its own; by the target's account of it, none is left."""
    waits, answers = open_model(drain_s=0.5)
    seen = judged(FROZEN, waits, answers)
    assert seen.distance < 0.002
    assert seen.undrained > 0.05
    assert seen.callers == RATE * FREEZE_S
    assert seen.drain_s == pytest.approx(0.5)
    assert seen.p90_s == pytest.approx(5.2, abs=0.5)
    # Without an account nothing is subtracted, and the distance says so.
    assert judged(FROZEN, waits, []).distance == seen.undrained


def test_stall_oracle_finds_a_generator_that_forgets_its_callers():
    """Users who wait for their answer ask once in the freeze: fifty callers of three thousand, all of them for six seconds."""
    waits = [Wait(FROZEN.began_s + k / 500, FREEZE_S - k / 500) for k in range(50)]
    seen = judged(FROZEN, waits, [wait.began_s + wait.took_s for wait in waits])
    assert seen.callers == 50
    assert seen.distance > 0.9


def test_stall_oracle_finds_a_generator_that_counts_from_the_sending():
    """Waits that begin when a connection was free, not when the call was due, are too short."""
    waits, answers = open_model()
    late = [Wait(wait.began_s, min(wait.took_s, 3.0)) for wait in waits]
    assert judged(FROZEN, late, answers).distance > 0.4


def test_summary_shows_every_goal_and_counts_what_is_missing():
    """Met, missed, skipped and failed: each goal has its line, the rest is counted."""
    rows = [
        compared("http", [70.0, 72.0, 71.0], [100.0, 100.0, 100.0], "wrk", "r/s", at_least=0.7),
        measured("lag p99", [2.0, 4.0, 3.5], "ms", at_most=3.0),
        compared("no goal", [1.0], [2.0], "wrk", "r/s"),
        skipped("stall, against k6", "k6 is not installed", 3),
        skipped("http, neighbours", "none", 3),
        {"name": "avalanche", "failed": "PeerError: no answer"},
    ]
    table = summary(rows)
    assert table.splitlines()[-1] == "1 of 2 goals met, 1 not measured here, 1 failed"
    found = {line.split("  ")[0]: line.split()[-1] for line in table.splitlines()[1:-1]}
    assert found == {"http, wrk": "met", "lag p99": "MISSED", "avalanche": "FAILED"}
    assert "ratio >= 0.7" in table
    assert shown(rows[-1]) == "avalanche: FAILED, PeerError: no answer"
    assert summary([rows[2]]) == "no row has a goal"
