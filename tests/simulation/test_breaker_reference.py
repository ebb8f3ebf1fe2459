"""The verifier against a reference breaker of every kind: whatever it was seen to do, however vaguely, is explained by what it did.

BREAKER_RUNS in the environment sets how many runs of each kind are tried (default 100).
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
from breaker_kinds import KINDS
from breaker_reference import STEP_MS, WAIT, Made, Planned, Reference, play

from resilience.breaker.automaton import Automaton
from resilience.breaker.evidence import tracks
from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation, State, Transition
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.sweep import TooManyError, sweep
from resilience.breaker.tokens import reported, tokens

RUNS = int(os.environ.get("BREAKER_RUNS", "100"))
STEP_NS = STEP_MS * 1_000_000


class Seen:
    """What is seen of a run: each instant within some steps, some calls not at all."""

    def __init__(self, rng: random.Random, *, hides: bool) -> None:
        self.rng = rng
        self.blur = rng.choice([0, 1, 3, 4])
        self.hides = hides
        self.history: list[Observation] = [Boot("i", Interval(0, 0), "1")]

    def at(self, step: int, blur: int | None = None) -> Interval:
        """Some interval in which the step lies."""
        widths = [0, 0, 1, 2, self.blur if blur is None else blur]
        most = self.blur if blur is None else blur
        lo, hi = (min(most, self.rng.choice(widths)) for _ in range(2))
        return Interval(max(0, step - lo) * STEP_NS, (step + hi) * STEP_NS)

    def call(self, number: int, made: Made) -> None:
        """A call and its arrival, or less."""
        decided = self.at(made.decided)
        hidden = self.hides and self.rng.random() < 0.25
        arrives = made.fate != "rejected" and not (hidden and self.rng.random() < 0.5)
        ended, outcome, note = None, made.fate, None
        if made.fate == "rejected":
            ended = decided
        elif made.ended is not None:
            ended = self.at(made.ended)
            decided = Interval(decided.lo_ns, min(decided.hi_ns, ended.hi_ns))
        if hidden or ended is None:
            outcome = "unknown"
        if ended is None and not arrives:
            note = "lost"
        name = str(number)
        self.history.append(
            Call("b", "i", name, decided, ended, outcome, decision=decided, finish=ended, note=note)
        )
        if arrives:
            self.history.append(Arrival("b", "i", name, decided))


def seen(rng: random.Random, mapping: dict[str, Any], *, hides: bool) -> list[Observation]:
    """A random run of the breaker of a specification, as it is seen."""
    plan = []
    if rng.random() < 0.7:  # it opens at once
        needed = min(3, mapping.get("failures") or max(1, mapping.get("minimum_calls", 1)))
        plan = [Planned(0, 0, "failure")] * needed
    span = rng.choice([8, 12, 18])
    fates = ["ok", "ok", "failure"] + [name for name in ("cancelled", "excluded") if f"{name}_as" in mapping]
    for _ in range(rng.randint(3, 8)):
        lasts = rng.choice([0, 0, 1, 1, 2, 3, 4, 5, 7, None])
        plan.append(Planned(rng.randint(0, span), lasts, rng.choice(fates)))
    reads = [rng.randint(0, span + 4) for _ in range(rng.choice([0, 0, 0, 1, 3]))]
    breaker = Reference(mapping, rng)
    made, states = play(breaker, plan, reads, rng)
    found = Seen(rng, hides=hides)
    for number, call in enumerate(made):
        found.call(number, call)
    for state, at in states:
        found.history.append(State("b", "i", state, found.at(at, 1), "1"))
    if breaker.told and ("half_open_event" in mapping or rng.random() < 0.3):
        exact = rng.random() < 0.4
        for number, (before, after, at) in enumerate(breaker.told):
            told = found.at(at, 0 if exact else 2)
            found.history.append(Transition("b", "i", before, after, told, "1", seq=number))
    return found.history


@pytest.mark.parametrize("hides", [False, True], ids=["all is seen", "some calls are not"])
@pytest.mark.parametrize("kind", KINDS)
def test_breaker_of_every_kind_is_explained(kind: str, hides: bool) -> None:
    """No run is ever refused; where there are too many explanations to try, nothing is said."""
    explained = 0
    for number in range(RUNS):
        rng = random.Random(f"{kind} {number} {hides}")
        mapping = KINDS[kind](rng)
        history = seen(rng, mapping, hides=hides)
        tolerated = rng.choice([(0, 0), (0, 0), (100, 0), (100, 100)])
        given = {**mapping, "wait_ms": WAIT * STEP_MS, "eps_ms": tolerated[0], "delta_ms": tolerated[1]}
        spec = BreakerSpec.from_mapping(given)
        (track,) = tracks(history, spec)
        try:
            found = sweep(Automaton(spec, reported(track, spec)), tokens(track, spec))
        except TooManyError:
            continue
        explained += 1
        assert found.stuck is None, (number, mapping, tolerated, history)
    assert explained > 0.9 * RUNS
