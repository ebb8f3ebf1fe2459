"""Metastability on a seeded queue: each state is told from the others, too little data is said, and calm raises no alarm."""

from __future__ import annotations

import pytest
from analysis_queue import Queue, baseline_of, simulate

from resilience.analysis.health import BaselineRefused, SecondPoint
from resilience.analysis.metastability import (
    Metastability,
    State,
    Window,
    classify,
    least_watch_s,
    sustaining_loop,
)

BASELINE_S = 50
WATCH = Window(66, 100)
STEPS = (
    Window(100, 120, 0.75),
    Window(120, 140, 0.5),
    Window(140, 160, 0.25),
    Window(160, 180, 0.0),
)
AGAIN = Window(180, 220)
SEEDS = range(8)


def stepped(at_s: float) -> float:
    """The full load, but for the probing steps."""
    return next((step.share for step in STEPS if step.start_s <= at_s < step.end_s), 1.0)


def judged(queue: Queue, seed: int, *, probed: bool = True) -> Metastability:
    """Classify one simulated run."""
    points = simulate(queue, seed)
    return classify(
        points,
        baseline_of(points, BASELINE_S),
        watch=WATCH,
        least_s=30,
        hold_s=10,
        probes=STEPS if probed else (),
        again=AGAIN if probed else None,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_queue_without_retries_that_sheds_is_healthy(seed: int) -> None:
    """A bounded queue forgets its trigger at once."""
    assert judged(Queue(bounded=20, share=stepped), seed).state is State.HEALTHY


@pytest.mark.parametrize("seed", SEEDS)
def test_queue_that_drains_its_backlog_is_slow(seed: int) -> None:
    """Nearly full capacity and nobody who gives up: the backlog falls, and the estimate says for how long."""
    queue = Queue(
        arrival_per_s=40,
        capacity_per_s=80,
        capacity_after_per_s=52,
        timeout_s=90,
        trigger=(60.0, 74.0),
        bounded=None,
    )
    points = [
        # Slow is what callers call slow: nobody here times out, so an answer counts when it came within a second.
        SecondPoint(
            p.second, p.offered, p.good if p.median_ns < 1e9 else 0, 0, 0, p.median_ns, 0, p.in_flight
        )
        for p in simulate(queue, seed)
    ]
    found = classify(points, baseline_of(points, BASELINE_S), watch=Window(74, 108), least_s=30, hold_s=10)
    assert found.state is State.SLOW, found.reason
    assert found.left_s is not None


@pytest.mark.parametrize("seed", SEEDS)
def test_retry_storm_is_metastable(seed: int) -> None:
    """Retries keep the queue full after the trigger; a pause in the load, and the same load is served well again."""
    found = judged(Queue(retries=3, share=stepped), seed)
    assert found.state is State.METASTABLE, found.reason
    assert found.healed_at_share is not None
    assert found.healed_at_share < 1


@pytest.mark.parametrize("seed", SEEDS)
def test_retry_storm_that_nobody_probed_is_only_suspect(seed: int) -> None:
    """Without the hysteresis probe the same run proves nothing beyond suspicion."""
    assert judged(Queue(retries=3), seed, probed=False).state is State.SUSPECT


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("left_per_s", [30.0, 3.0])
def test_lost_capacity_is_damage(seed: int, left_per_s: float) -> None:
    """A server that lost half of its capacity, or nearly all of it, has one state at the full load: the bad one."""
    queue = Queue(capacity_after_per_s=left_per_s, share=stepped, retries=1)
    assert judged(queue, seed).state is State.DAMAGED


def test_short_watch_is_unknown() -> None:
    """Twenty seconds after a fault nobody can tell a storm from a slow recovery."""
    points = simulate(Queue(retries=3), 1)
    found = classify(points, baseline_of(points, BASELINE_S), watch=Window(66, 86), least_s=30, hold_s=10)
    assert found.state is State.UNKNOWN
    assert "30 s" in found.reason


def test_probe_without_return_is_unknown() -> None:
    """Lowering the load is half a probe: the full load must be seen again, for long enough."""
    points = simulate(Queue(retries=3, share=stepped), 1)[:185]
    found = classify(
        points,
        baseline_of(points, BASELINE_S),
        watch=WATCH,
        least_s=30,
        hold_s=10,
        probes=STEPS,
        again=AGAIN,
    )
    assert found.state is State.UNKNOWN


def test_placebo_runs_raise_no_alarm() -> None:
    """Two hundred runs without any trigger: at most one in a hundred is suspected, and few cannot be told."""
    found = [placebo(seed) for seed in range(200)]
    assert sum(state not in (State.HEALTHY, State.UNKNOWN) for state in found) <= 2
    assert found.count(State.UNKNOWN) <= 20


def placebo(seed: int) -> State:
    """The state of a run in which nothing happened; a refused baseline says nothing either way."""
    try:
        return judged(Queue(trigger=None, retries=3, seconds=101), seed, probed=False).state
    except BaselineRefused:
        return State.UNKNOWN


def test_least_watch_follows_the_slowest_loop() -> None:
    """The watch is as long as the longest of what could still bring it back."""
    assert least_watch_s() == 30
    assert least_watch_s(timeout_s=2, attempts=4) == 40
    assert least_watch_s(breaker_wait_s=20) == 60
    assert least_watch_s(p99_s=5) == 50


def test_sustaining_loop_names_the_strongest_sign() -> None:
    """Retries before breakers before a cold cache; silence where nothing stands out."""
    assert "retries" in str(sustaining_loop(amplification=3.6, breakers=("open",)))
    assert "breaker" in str(sustaining_loop(amplification=1.0, breakers=("closed", "open")))
    assert "cache" in str(sustaining_loop(amplification=1.0, hit_rate=0.1))
    assert sustaining_loop(amplification=1.0, breakers=("closed",), hit_rate=0.9) is None
