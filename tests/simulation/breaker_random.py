"""Random correct breakers with random traffic, for properties that must hold of every one of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from breaker_world import MS, Answer, Model, S, World


def random_world(seed: int) -> tuple[World, dict[str, Any]]:
    """A correct breaker in a random world, and the specification that it keeps."""
    rng = random.Random(seed)
    model = Model(
        failures=rng.randint(1, 6),
        wait_ns=rng.choice([200, 500, 1000]) * MS,
        permitted=rng.choice([1, 1, 2, 3, None]),
        successes=1,
        stale=rng.choice(["ignored", "counted"]),
        entry=rng.choice(["lazy", "lazy", "timer"]),
        cancelled_as=rng.choice(["neutral", "failure", "success"]),
        late_failure_restarts_wait=False,
        half_open_event=rng.choice(["entry", "probe_end"]),
        backoff=rng.choice([1.0, 1.0, 2.0]),
    )
    if model.permitted != 1 and rng.random() < 0.5:
        model = _with(model, successes=rng.randint(1, 3))
    if rng.random() < 0.25:
        model = _with(model, window=rng.randint(3, 8), minimum=3, ratio=rng.choice([0.5, 0.75]))
    if model.entry == "timer":
        model = _with(model, half_open_event="entry")
    timeout = rng.choice([None, 50, 300])
    duration = rng.randint(2, 8) * S
    bad = sorted(rng.randint(0, duration) for _ in range(4))
    share = rng.choice([0.0, 0.05, 0.3])
    slow = rng.choice([0, 0, 400])

    def dependency(number: int, at: int) -> Answer:
        own = random.Random(seed * 1_000_003 + number)
        ill = bad[0] <= at < bad[1] or bad[2] <= at < bad[3]
        took = own.randint(1, 30) * MS
        if own.random() < 0.02:
            took = own.randint(100, 1500) * MS
        cancel = own.randint(1, 40) * MS if own.random() < 0.03 else None
        if ill and slow:
            return Answer(slow * MS, "failure", cancel)
        return Answer(took, "failure" if ill or own.random() < share else "ok", cancel)

    rate = rng.choice([10, 50, 100, 200])
    calls: list[int] = []
    at = 0.0
    while at < duration:
        at += rng.expovariate(rate) * S if rng.random() < 0.9 else S / rate
        calls.append(int(at))
    stalls = {
        who: [(at, at + rng.randint(30, 400) * MS) for at in (rng.randint(0, duration) for _ in range(4))]
        for who in ("breaker", "tap", "caller")
        if model.entry == "lazy" and rng.random() < 0.25
    }
    world = World(
        model,
        dependency,
        calls,
        timeout_ns=None if timeout is None else timeout * MS,
        seed=seed,
        hop_ns=(0, rng.choice([0, 1, 5, 15]) * MS),
        stamp_ns=rng.choice([0, 0, 1]) * MS,
        poll_ns=rng.choice([None, 50 * MS, 200 * MS]),
        stalls=stalls,
    )
    return world, spec_of(model, None if timeout is None else timeout)


def spec_of(model: Model, timeout_ms: int | None = None) -> dict[str, Any]:
    """The specification that a model without bugs keeps."""
    spec: dict[str, Any] = {
        "failures": model.failures,
        "wait_ms": model.wait_ns / MS,
        "permitted": model.permitted,
        "successes": model.successes,
        "stale": model.stale,
        "entry": model.entry,
        "cancelled_as": model.cancelled_as,
        "half_open_event": model.half_open_event,
        "backoff": model.backoff,
        "late_failure_restarts_wait": model.late_failure_restarts_wait,
    }
    if model.window:
        spec |= {
            "trip": "count",
            "window": model.window,
            "ratio": model.ratio,
            "minimum_calls": model.minimum,
        }
    if timeout_ms is not None:
        spec["timeout_ms"] = timeout_ms
    return spec


def _with(model: Model, **fields: Any) -> Model:
    return replace(model, **fields)
