"""What a sweep leaves out of calm stretches changes no verdict: with and without it, breakers are explained alike."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from breaker_random import spec_of
from breaker_world import MS, Answer, Model, S, World

from resilience.breaker import tokens
from resilience.breaker.conform import Explainer
from resilience.breaker.evidence import tracks
from resilience.breaker.history import Observation
from resilience.breaker.spec import BreakerSpec

SLIDING = Model(window_ns=10 * S, ratio=0.25, minimum=10, wait_ns=S)


def conforms(history: list[Observation], mapping: dict[str, Any]) -> bool:
    """Whether every observation of the only instance is explained."""
    spec = BreakerSpec.from_mapping(mapping)
    (track,) = tracks(history, spec)
    found = Explainer(track, spec).conformance()
    assert not found.why_not
    return found.accepted


def sparing(history: list[Observation], spec: BreakerSpec) -> int:
    """How many tokens are left out of a history."""
    (track,) = tracks(history, spec)
    found = tokens.tokens(track, spec)
    return len(found.all) - len(found.edges) // 2


def both(
    monkeypatch: pytest.MonkeyPatch, history: list[Observation], mapping: dict[str, Any]
) -> tuple[bool, bool]:
    """The same question with calm stretches left out, and with nothing left out."""
    short = conforms(history, mapping)
    with monkeypatch.context() as patched:
        patched.setattr(tokens, "idle", lambda *_: frozenset())
        return short, conforms(history, mapping)


def every_50_ms(model: Model, *stretches: tuple[int, str]) -> list[Observation]:
    """So many calls of each kind in turn, 20 a second."""
    kinds = [kind for count, kind in stretches for _ in range(count)]
    calls = [(number + 1) * 50 * MS for number in range(len(kinds))]
    return World(model, lambda number, _: Answer(2 * MS, kinds[number]), calls).run()


def test_breaker_calm_keeps_the_share_of_a_window_after_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty failures among hundreds of successes are no quarter, though the calm after them lasts almost three windows."""
    history = every_50_ms(SLIDING, (200, "ok"), (20, "failure"), (570, "ok"))
    assert both(monkeypatch, history, spec_of(SLIDING)) == (True, True)


def test_breaker_calm_keeps_the_calls_that_reach_the_minimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty failures become a fifth of the least number of calls by successes alone: who stays closed then is wrong."""
    held_to = spec_of(Model(window_ns=10 * S, ratio=0.2, minimum=100))
    history = every_50_ms(Model(failures=1000), (20, "failure"), (2000, "ok"))
    assert both(monkeypatch, history, held_to) == (False, False)


def test_breaker_calm_is_left_out_where_nothing_is_remembered() -> None:
    """Of a minute without an incident, what two windows cannot reach at either end."""
    spec = BreakerSpec.from_mapping(spec_of(SLIDING))
    spared = sparing(every_50_ms(SLIDING, (20, "failure"), (1200, "ok"), (20, "failure")), spec)
    assert 600 < spared <= 2 * (1200 - 2 * 400)


def long_calm(seed: int) -> tuple[list[Observation], dict[str, Any]]:
    """Failures, now and then, between calm stretches of up to six windows; every third breaker is not what was promised."""
    rng = random.Random(seed)
    model = Model(
        window_ns=rng.choice([500, 1000]) * MS,
        bucket_ns=rng.choice([0, 0, 100]) * MS,
        ratio=rng.choice([0.1, 0.25, 0.5]),
        minimum=rng.choice([1, 5, 20, 40]),
        strictly_above=rng.random() < 0.3,
        wait_ns=rng.choice([200, 500]) * MS,
    )
    per_window = rng.choice([20, 50])
    apart, calls, kinds, at = model.window_ns // per_window, list[int](), list[str](), 0
    for _ in range(3):
        count = int(per_window * rng.uniform(1, 6))
        bad = rng.randint(1, per_window // 3)
        for kind in ["ok"] * count + ["failure"] * bad:
            at += apart + rng.randint(0, apart // 4)
            calls.append(at)
            kinds.append(kind)
    promised = replace(model, ratio=rng.choice([0.05, 0.8])) if seed % 3 == 0 else model
    world = World(model, lambda number, _: Answer(2 * MS, kinds[number]), calls, seed=seed, hop_ns=(0, MS))
    return world.run(), spec_of(promised)


@pytest.mark.parametrize("batch", range(4))
def test_breaker_calm_left_out_gives_the_same_verdict(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of right and wrong breakers with a time window, in short worlds with long calm stretches."""
    spared = wrong = 0
    for seed in range(batch * 15, (batch + 1) * 15):
        history, mapping = long_calm(seed)
        short, whole = both(monkeypatch, history, mapping)
        assert short == whole, (seed, mapping)
        if seed % 3:
            assert whole, (seed, mapping)
        wrong += not whole
        spared += sparing(history, BreakerSpec.from_mapping(mapping)) > 0
    assert spared > 3
    assert wrong > 1
