"""The sweep against brute force: on short histories, every order of everything is tried by hand.

The reference below knows nothing of sets, tokens or sweeping. It takes instants on a coarse grid for each observation
and asks a plain breaker whether it could have behaved so: one that counts a row of failures, or the last calls, or the calls of
the last instants.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from resilience.breaker.automaton import Automaton
from resilience.breaker.evidence import tracks
from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.sweep import sweep
from resilience.breaker.tokens import tokens

GRID_NS = 100_000_000  # ten instants a second; intervals begin and end on it
WAIT = 3


def explained_by_force(
    calls: list[tuple[str, tuple[int, int], tuple[int, int]]], trip: dict[str, Any]
) -> bool:
    """Whether some choice of instants, and some order of what shares an instant, is a run of the breaker."""
    options = []
    for number, (fate, decided, ended) in enumerate(calls):
        decisions = [(t, "decide", number) for t in range(decided[0], decided[1] + 1)]
        if fate == "rejected":
            options.append([(d,) for d in decisions])
        else:
            ends = [(t, "end", number) for t in range(ended[0], ended[1] + 1)]
            options.append([(d, e) for d in decisions for e in ends if d[0] <= e[0]])
    for choice in itertools.product(*options):
        events = sorted((e for pair in choice for e in pair), key=lambda e: e[0])
        groups = [list(group) for _, group in itertools.groupby(events, key=lambda e: e[0])]
        if _some_order(groups, calls, trip, ("closed", (), 0, -1, frozenset(), frozenset())):
            return True
    return False


def _some_order(groups, calls, trip, state) -> bool:
    if not groups:
        return True
    for order in itertools.permutations(groups[0]):
        after = state
        for event in order:
            after = _step(event, calls, trip, after)
            if after is None:
                break
        if after is not None and _some_order(groups[1:], calls, trip, after):
            return True
    return False


def _step(event, calls, trip, state):  # noqa: PLR0911 - a reference is plain, not short
    """`running` are calls of this epoch, `inside` all that were let in and have not ended; None: impossible."""
    name, count, opened, probe, running, inside = state
    now, what, number = event
    fate = calls[number][0]
    if what == "decide":
        if fate == "rejected":
            possible = now <= opened + WAIT if name == "open" else name == "half_open" and probe >= 0
            return state if possible else None
        inside |= {number}
        if name == "closed":
            return name, count, opened, probe, running | {number}, inside
        if name == "open" and now >= opened + WAIT:
            return "half_open", (), opened, number, frozenset({number}), inside
        if name == "half_open" and probe < 0:
            return name, count, opened, number, running | {number}, inside
        return None
    if number not in inside:
        return None  # an end before its own decision
    inside -= {number}
    if number not in running:
        return name, count, opened, probe, running, inside  # begun in an earlier epoch: ignored
    running -= {number}
    if name == "half_open":
        now_closed = ("closed", (), 0, -1, frozenset(), inside)
        return now_closed if fate == "ok" else ("open", (), now, -1, frozenset(), inside)
    count = (*count, (now, fate == "failure"))
    if _trips(count, now, trip):
        return "open", (), now, -1, frozenset(), inside
    return name, count, opened, probe, running, inside


def _trips(outcomes, now: int, trip: dict[str, Any]) -> bool:
    """Whether these outcomes since closing, the last of them just now, open the breaker."""
    failed = [bad for _, bad in outcomes]
    if "window" in trip:
        failed = failed[-trip["window"] :]
    elif "window_ms" in trip:
        failed = [bad for at, bad in outcomes if at > now - trip["window_ms"] // 100]
    else:
        return len(failed) >= trip["failures"] and all(failed[-trip["failures"] :])
    if len(failed) < trip["minimum_calls"]:
        return False
    return sum(failed) >= trip["ratio"] * len(failed)


def swept(calls: list[tuple[str, tuple[int, int], tuple[int, int]]], trip: dict[str, Any]) -> bool:
    """The same question to the product."""
    history: list[Observation] = [Boot("i", Interval(0, 0), "b")]
    for number, (fate, decided, ended) in enumerate(calls):
        at = Interval(decided[0] * GRID_NS, decided[1] * GRID_NS)
        end = at if fate == "rejected" else Interval(ended[0] * GRID_NS, ended[1] * GRID_NS)
        history.append(Call("b", "i", str(number), at, end, fate, decision=at, finish=end))
        if fate != "rejected":
            history.append(Arrival("b", "i", str(number), at))
    spec = BreakerSpec.from_mapping({**trip, "wait_ms": WAIT * 100, "eps_ms": 0, "delta_ms": 0})
    (track,) = tracks(history, spec)
    found = tokens(track, spec)
    return sweep(Automaton(spec), found).stuck is None


TRIPS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "row": lambda rng: {"failures": rng.randint(1, 2)},
    "count": lambda rng: {
        "window": rng.randint(1, 3),
        "ratio": rng.choice([0.5, 0.6, 1.0]),
        "minimum_calls": 1,
    },
    "time": lambda rng: {
        "window_ms": rng.choice([200, 400]),
        "ratio": rng.choice([0.5, 1.0]),
        "minimum_calls": rng.randint(1, 2),
    },
}


@pytest.mark.parametrize("kind", TRIPS)
@pytest.mark.parametrize("batch", range(4))
def test_breaker_sweep_accepts_whatever_brute_force_explains(batch: int, kind: str) -> None:
    """No history that some run explains is ever refused, and most that none explains are."""
    rng = random.Random(batch)
    refused = unexplained = 0
    for _ in range(400):
        calls = []
        for _ in range(rng.randint(2, 4)):
            lo = rng.randint(0, 8)
            decided = (lo, lo + rng.randint(0, 1))
            end = decided[1] + rng.randint(0, 2)
            fate = rng.choice(["ok", "failure", "failure", "rejected"])
            calls.append((fate, decided, (end, end + rng.randint(0, 1))))
        trip = TRIPS[kind](rng)
        by_force = explained_by_force(calls, trip)
        by_sweep = swept(calls, trip)
        if by_force:
            assert by_sweep, (calls, trip)
        else:
            unexplained += 1
            refused += not by_sweep
    # The sweep merges clocks and tries them on a continuous line: it may admit a little more, never much more.
    assert unexplained > 50
    assert refused >= 0.9 * unexplained
