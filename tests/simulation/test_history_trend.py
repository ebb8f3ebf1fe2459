"""The rates that trends state, held against simulated histories; and what they must and must not say.

`python -m pytest tests/simulation/test_history_trend.py` simulates a few thousand nights; `CHAOS_SPIKE_TREND_NIGHTS=10000`
as many as docs/history.md reports.
"""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from resilience.history.figures import Figure
from resilience.history.trend import judge_trend

HISTORIES = int(os.environ.get("CHAOS_SPIKE_TREND_NIGHTS", "600"))
NOISE = 0.08
FIGURES = 12


def night(values: np.ndarray) -> dict[str, Figure]:
    """One night's figures, all in ms, more is worse."""
    return {f"f{place}": Figure(f"f{place}", float(value), "ms", "up") for place, value in enumerate(values)}


def histories(count: int, nights: int, *, figures: int = FIGURES, factor: float = 1.0, memory: float = 0.0):
    """Seeded histories: log-normal noise of 8 %, half of it common to a night; the last three nights times `factor`."""
    rng = np.random.default_rng(20261122)
    for _ in range(count):
        common, own = rng.normal(size=(nights, 1)), rng.normal(size=(nights, figures))
        noise = np.sqrt(0.5) * common + np.sqrt(0.5) * own
        for place in range(1, nights):
            noise[place] = memory * noise[place - 1] + math.sqrt(1 - memory**2) * noise[place]
        values = 100 * np.exp(NOISE * noise)
        values[-3:] *= factor
        yield [night(row) for row in values]


def states(**how):
    """How many histories ended in each state."""
    found = [judge_trend(each).state for each in histories(HISTORIES, **how)]
    return {state: found.count(state) for state in ("ok", "warn", "fail")}


def at_most(rate: float) -> float:
    """The count that a true rate of `rate` exceeds once in ten thousand times (normal approximation, at least 3)."""
    mean = rate * HISTORIES
    return max(3.0, mean + 3.72 * math.sqrt(mean))


@pytest.mark.parametrize(("nights", "warn"), [(10, 0.01), (23, 0.005), (33, 0.005)])
def test_trend_cries_wolf_no_more_often_than_it_says(nights: int, warn: float) -> None:
    """Twelve figures that move together, nothing changed: the stated rates hold for the whole night."""
    found = states(nights=nights)
    assert found["warn"] + found["fail"] <= at_most(warn)
    assert found["fail"] <= at_most(0.0006)


@pytest.mark.parametrize(("figures", "warned", "failed"), [(1, 0.80, 0.45), (FIGURES, 0.75, 0.12)])
def test_trend_finds_what_matters(figures: int, warned: float, failed: float) -> None:
    """+25 % in the last three nights, at 8 % noise, is mostly found; the more figures a night has, the harder to fail."""
    found = states(nights=33, figures=figures, factor=1.25)
    assert found["warn"] + found["fail"] >= warned * HISTORIES
    assert found["fail"] >= failed * HISTORIES


def test_trend_with_few_nights_warns_and_never_fails() -> None:
    """Seven reference nights cannot carry a failure, however large the step."""
    found = states(nights=10, factor=3.0)
    assert found["fail"] == 0
    assert found["warn"] == HISTORIES


def steady(count: int, value: float, unit: str = "ms", worse: str = "up") -> list[dict[str, Figure]]:
    """Nights with a value that hardly moves."""
    return [
        {"f": Figure("f", value * (1 + 0.001 * (place % 7)), unit, worse)}  # type: ignore[arg-type]
        for place in range(count)
    ]


def test_trend_needs_a_shift_that_matters() -> None:
    """Certain and tiny is no regression: 2 % over a history that varies by half a percent."""
    nights = steady(30, 100.0) + steady(3, 102.0)
    found = judge_trend(nights)
    assert found.state == "ok"
    assert found.trends[0].p is not None
    assert found.trends[0].p < 0.001


def test_trend_knows_which_way_is_worse() -> None:
    """More goodput is no regression, less is; a point of a share is enough."""
    better = steady(30, 0.95, "share", "down") + steady(3, 0.99, "share", "down")
    worse = steady(30, 0.95, "share", "down") + steady(3, 0.90, "share", "down")
    assert judge_trend(better).state == "ok"
    assert judge_trend(worse).state == "fail"


def test_trend_takes_not_seen_for_the_worst() -> None:
    """Three nights without recovery fail; a single infinite one among the reference spoils nothing."""
    gone = [{"f": Figure("f", math.inf, "s", "up")}] * 3
    assert judge_trend(steady(30, 4.0, "s") + gone).state == "fail"
    assert judge_trend([gone[0], *steady(32, 4.0, "s")]).state == "ok"


@pytest.mark.parametrize("count", range(8))
def test_trend_says_when_there_are_too_few_runs(count: int) -> None:
    """Fewer than eight runs: no finding, and how many are needed."""
    found = judge_trend(steady(count, 1.0))
    assert found.state == "too few"
    assert "8 are needed" in found.note


def test_trend_names_figures_that_were_not_always_measured() -> None:
    """A figure that some nights lack is left out and counted, never filled in."""
    nights = steady(12, 10.0)
    nights[-1] = {**nights[-1], "new": Figure("new", 1.0, "ms", "up")}
    found = judge_trend(nights)
    assert [trend.name for trend in found.trends] == ["f"]
    assert "1 figures were not measured" in found.note
