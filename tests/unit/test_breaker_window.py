"""Windows of outcomes: both answers against brute force over every instant that the intervals allow."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.window import Count, Timed, unknown

GRID = 100_000_000


def spec(**keys: Any) -> BreakerSpec:
    """A windowed specification without tolerances."""
    return BreakerSpec.from_mapping({"eps_ms": 0, "delta_ms": 0, **keys})


def holds(given: BreakerSpec, failed: list[bool]) -> bool:
    """The trip condition over outcomes that are certainly in the window."""
    if len(failed) < max(1, given.minimum_calls):
        return False
    if given.ratio is None:
        return sum(failed) >= given.failures
    share = sum(failed) / len(failed)
    return share > given.ratio if given.strictly_above else share >= given.ratio


@pytest.mark.parametrize("seed", range(40))
def test_breaker_time_window_covers_what_brute_force_finds(seed: int) -> None:
    """What may trip it for some choice of instants may, and what must for all of them must; exact instants are told exactly."""
    rng = random.Random(seed)
    given = spec(
        trip="time",
        window_ms=300,
        minimum_calls=rng.randint(0, 3),
        strictly_above=rng.random() < 0.5,
        **(
            {"ratio": rng.choice([0.34, 0.5, 0.75])}
            if rng.random() < 0.7
            else {"failures": rng.randint(1, 3)}
        ),
    )
    for _ in range(30):
        width = rng.choice([0, 1, 2])
        outcomes = [
            (lo, lo + rng.randint(0, width), rng.random() < 0.5) for lo in sorted(rng.choices(range(7), k=4))
        ]
        window = Timed()
        for lo, hi, failed in outcomes:
            window = window.push(given, Interval(lo * GRID, hi * GRID), lo * GRID, failed=failed, slow=False)
        now = max(hi for _, hi, _ in outcomes)
        found = window.trips(given, Interval(now * GRID, now * GRID))
        answers = {
            holds(
                given, [failed for at, (_, _, failed) in zip(instants, outcomes, strict=True) if at > now - 3]
            )
            for instants in itertools.product(*[range(lo, hi + 1) for lo, hi, _ in outcomes])
        }
        # An outcome exactly as old as the window is long may be in it or not.
        edge = any(lo <= now - 3 <= hi for lo, hi, _ in outcomes)
        assert found[0] >= (True in answers), (outcomes, given)
        assert found[1] <= (False not in answers), (outcomes, given)
        if width == 0 and not edge:
            assert found == (True in answers, False not in answers), (outcomes, given)


@pytest.mark.parametrize("seed", range(20))
def test_breaker_count_window_is_the_last_outcomes(seed: int) -> None:
    """Rows of bits say the same as a list of the last outcomes; after so many, nothing of an unknown past is left."""
    rng = random.Random(seed)
    given = spec(
        trip="count", window=rng.randint(2, 6), ratio=0.5, minimum_calls=2, strictly_above=rng.random() < 0.5
    )
    window: Any = Count()
    (foggy,) = unknown(given, 0)
    seen: list[bool] = []
    for number in range(20):
        failed = rng.random() < 0.5
        seen = [*seen, failed][-given.window :]
        window = window.push(given, failed=failed, slow=False)
        foggy = foggy.push(given, failed=failed, slow=False)
        exact = holds(given, seen)
        assert window.trips(given) == (exact, exact)
        may, must = foggy.trips(given)
        assert may >= exact >= must
        if number >= given.window:
            assert foggy == window


def test_breaker_count_window_asks_for_no_more_than_it_holds() -> None:
    """A least number of calls above the window's size means a full window."""
    given = spec(trip="count", window=3, ratio=0.5, minimum_calls=100)
    window = Count()
    for _ in range(3):
        window = window.push(given, failed=True, slow=False)
    assert window.trips(given) == (True, True)


def test_breaker_slow_calls_trip_as_failures_do() -> None:
    """The share of slow calls has its own threshold."""
    given = spec(trip="count", window=4, ratio=1.0, slow_ms=50, slow_ratio=0.5)
    window = Count().push(given, failed=False, slow=True).push(given, failed=False, slow=False)
    assert window.trips(given) == (True, True)


def test_breaker_time_window_sums_survive_coarsening() -> None:
    """Hundreds of outcomes are kept in few slots, and not one of them is lost."""
    given = spec(trip="time", window_ms=10_000, ratio=0.5)
    window = Timed()
    for number in range(900):
        at = Interval(number * 10_000_000, number * 10_000_000)
        window = window.push(given, at, at.lo_ns, failed=number % 3 == 0, slow=False)
    assert len(window.slots) <= 129
    assert sum(slot.total for slot in window.slots) == window.all.total == 900
    assert sum(slot.failed for slot in window.slots) == window.all.failed == 300


def test_breaker_window_that_empties_when_full_may_be_filled_anyhow_at_first() -> None:
    """Nobody watched a batch of four begin: each of the next four outcomes may be the one that fills it, and it is emptied after that."""
    given = BreakerSpec.from_mapping({"window": 4, "ratio": 1.0, "minimum_calls": 4, "tumbling": True})
    windows = unknown(given, 0)
    assert len(windows) == 4
    emptied = set()
    for window in windows:
        assert isinstance(window, Count)
        after = window
        for number in range(4):
            before, after = after, after.push(given, failed=True, slow=False)
            if after.n <= before.n:
                emptied.add(number)
    assert emptied == {1, 2, 3}
    assert sum(window.fog == 0 for window in windows if isinstance(window, Count)) == 1
