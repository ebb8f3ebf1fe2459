"""Random correct breakers with random traffic, for properties that must hold of every one of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from breaker_world import MS, Answer, Model, S, World


def random_world(seed: int, *, calls_most: int | None = None) -> tuple[World, dict[str, Any]]:
    """A correct breaker in a random world, and the specification that it keeps; `calls_most` cuts its traffic short."""
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
        model = replace(model, successes=rng.randint(1, 3))
    model = _tripping(model, rng)
    model = _probing(model, rng)
    if model.entry == "timer" or model.dwell_ns is not None:
        model = replace(model, half_open_event="entry")
    timeout = rng.choice([None, 50, 300])
    duration = rng.randint(2, 8) * S
    bad = sorted(rng.randint(0, duration) for _ in range(4))
    share = rng.choice([0.0, 0.05, 0.3])
    slow = rng.choice([0, 0, 400])

    def dependency(number: int, at: int) -> Answer:
        own = random.Random(seed * 1_000_003 + number)
        ill = bad[0] <= at < bad[1] or bad[2] <= at < bad[3]
        took = own.randint(1, 30) * MS
        if own.random() < 0.01:
            return Answer(took, "excluded")
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
    timerless = model.entry == "lazy" and model.dwell_ns is None and not model.evaluation_ns
    stalls = {
        who: [(at, at + rng.randint(30, 400) * MS) for at in (rng.randint(0, duration) for _ in range(4))]
        for who in ("breaker", "tap", "caller")
        if timerless and rng.random() < 0.25
    }
    world = World(
        model,
        dependency,
        calls[:calls_most],
        timeout_ns=None if timeout is None else timeout * MS,
        seed=seed,
        hop_ns=(0, rng.choice([0, 1, 5, 15]) * MS),
        stamp_ns=rng.choice([0, 0, 1]) * MS,
        poll_ns=rng.choice([None, 50 * MS, 200 * MS]),
        stalls=stalls,
        by_hand=_hands(rng, duration) if model.half_open_event == "entry" and rng.random() < 0.15 else (),
    )
    if world.by_hand and model.backoff != 1.0:
        world = replace(world, model=replace(model, hand_counts=rng.choice(["kept", "anew", "next"])))
    world.counts = rng.choice([None, "own", "others"])
    spec = spec_of(model, timeout)
    return world, spec | {"manual": "possible"} if world.by_hand else spec


def _tripping(model: Model, rng: random.Random) -> Model:
    """Half of the breakers trip by a window of some kind."""
    kind = rng.choice(["row"] * 4 + ["count", "count", "time", "time", "batch", "period", "row per period"])
    if rng.random() < 0.1:
        model = replace(model, evaluation_ns=rng.choice([50, 200]) * MS)
    if kind == "row":
        return model
    if kind == "row per period":
        return replace(model, window_ns=rng.choice([300, 1000]) * MS, tumbling=True, ratio=None)
    model = replace(
        model,
        minimum=rng.choice([0, 3, 5]),
        ratio=rng.choice([0.5, 0.75, 0.3]),
        strictly_above=rng.random() < 0.3,
    )
    if rng.random() < 0.25:
        model = replace(model, slow_ns=rng.choice([15, 100]) * MS, slow_ratio=rng.choice([0.5, 0.8]))
    if kind in {"count", "batch"}:
        window = rng.randint(3, 12)
        return replace(model, window=window, tumbling=kind == "batch", minimum=min(model.minimum, window))
    model = replace(model, window_ns=rng.choice([200, 500, 2000]) * MS, tumbling=kind == "period")
    if kind == "time" and rng.random() < 0.4:
        return replace(model, bucket_ns=model.window_ns // rng.choice([2, 10]))
    if kind == "time" and rng.random() < 0.4:
        return replace(model, ratio=None)
    return model


def _probing(model: Model, rng: random.Random) -> Model:
    """Some half-open states count permits in total, resolve by a ratio, or end by themselves."""
    kind = rng.choice(["plain"] * 5 + ["ratio", "of", "total"])
    permitted = rng.randint(1, 5)
    if kind == "ratio":
        ratio = rng.choice([0.5, 0.3])
        model = replace(model, permitted=permitted, probes="total", close_ratio=ratio)
    elif kind == "of":
        of = rng.randint(1, 4)
        model = replace(model, permitted=of, probes="total", successes_of=of, successes=rng.randint(1, of))
    elif kind == "total":
        # Where permits never come back, somebody must end a half-open state whose probes were cancelled.
        dwell = rng.choice([300, 1500]) * MS
        successes = min(model.successes, permitted)
        model = replace(model, permitted=permitted, probes="total", dwell_ns=dwell, successes=successes)
    if rng.random() < 0.1:
        model = replace(model, dwell_ns=rng.choice([300, 1500]) * MS)
    return model


def _hands(rng: random.Random, duration: int) -> tuple[tuple[int, str], ...]:
    """Somebody switches it, and leaves it neither forced open nor disabled."""
    states = ["closed", "open", "half_open", "forced_open", "disabled"]
    found = [(rng.randint(0, duration), rng.choice(states)) for _ in range(rng.randint(1, 3))]
    return (*found, (duration, "closed"))


def spec_of(  # noqa: C901 - one line a parameter
    model: Model, timeout_ms: int | None = None
) -> dict[str, Any]:
    """The specification that a model without bugs keeps."""
    spec: dict[str, Any] = {
        "failures": model.failures,
        "wait_ms": model.wait_ns / MS,
        "permitted": model.permitted,
        "successes": model.successes,
        "stale": model.stale,
        "entry": model.entry,
        "cancelled_as": model.cancelled_as,
        "excluded_as": model.excluded_as,
        "probes": model.probes,
        "half_open_event": model.half_open_event,
        "backoff": model.backoff,
        "late_failure_restarts_wait": model.late_failure_restarts_wait,
    }
    if model.window or model.window_ns:
        spec |= {
            "trip": "count" if model.window else "time",
            "minimum_calls": model.minimum,
            "strictly_above": model.strictly_above,
            "tumbling": model.tumbling,
        }
        spec |= {"window": model.window} if model.window else {"window_ms": model.window_ns / MS}
        if model.ratio is not None:
            spec["ratio"] = model.ratio
        elif model.tumbling:
            spec["trip"] = "consecutive"
        if model.bucket_ns:
            spec["bucket_ms"] = model.bucket_ns / MS
    if model.slow_ns is not None and model.slow_ratio is not None:
        spec |= {"slow_ms": model.slow_ns / MS, "slow_ratio": model.slow_ratio}
    for key in ("evaluation", "dwell"):
        if getattr(model, f"{key}_ns"):
            spec[f"{key}_ms"] = getattr(model, f"{key}_ns") / MS
    for key in ("successes_of", "close_ratio"):
        if getattr(model, key) is not None:
            spec[key] = getattr(model, key)
    if timeout_ms is not None:
        spec["timeout_ms"] = timeout_ms
    return spec
