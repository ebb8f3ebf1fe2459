"""Summaries over windows and phases."""

import pytest

from resilience.load.model import PhaseWindow
from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import Histogram
from resilience.metrics.outcomes import CATEGORIES

MS = 10**6
PHASES = (PhaseWindow("a", 0, 2 * 10**9), PhaseWindow("b", 2 * 10**9, 4 * 10**9))


def message(second, phase, times_ms, **counts):
    """A bins message whose answers took the given times."""
    histogram = Histogram()
    histogram.record_all(time * MS for time in times_ms)
    n = dict.fromkeys(CATEGORIES, 0) | {"ok": len(times_ms)} | counts
    offered = sum(n.values())
    return {
        "kind": "bins",
        "load": "quotes",
        "phase": phase,
        "s": second,
        "n": {"offered": offered, "attempts": offered - n["dropped"], **n, "late": 1, "good": n["ok"]},
        "first": offered - n["dropped"],
        "r": histogram.to_json(),
    }


def test_fold_phase_summary_merges_before_it_ranks():
    """Quantiles come from all seconds' values together, rates from the length of the phase."""
    table = LoadTable.from_messages([message(0, "a", range(1, 51)), message(1, "a", range(51, 101))], PHASES)
    summary = table.phase("quotes", "a")
    assert summary.p50_ms == pytest.approx(50, rel=0.001)
    assert summary.p99_ms == pytest.approx(99, rel=0.001)
    assert summary.max_ms == pytest.approx(100, rel=0.001)
    assert summary.goodput_per_s == 50
    assert summary.counts["late"] == 2


def test_fold_rates_count_failures_and_fallbacks_over_what_was_offered():
    """Every arrival without an answer is an error, dropped and shed ones too; a fallback is not."""
    table = LoadTable.from_messages(
        [message(0, "a", [5] * 60, degraded=20, shed=10, dropped=6, timeout=4)], PHASES
    )
    summary = table.phase("quotes", "a")
    assert summary.error_rate == pytest.approx(0.20)
    assert summary.fallback_share == pytest.approx(0.20)
    assert summary.shed_share == pytest.approx(0.10)
    assert summary.good_share == pytest.approx(0.60)
    assert summary.amplification == 1.0


def test_fold_quantile_with_failures_is_censored():
    """With 2 % failures the 99th percentile of everything offered is unknown; with 0.5 % it is the answers'."""
    failing = LoadTable.from_messages([message(0, "a", range(1, 99), reset=2)])
    assert failing.phase("quotes", "a").p99_with_failures_ms is None
    nearly = LoadTable.from_messages([message(0, "a", range(1, 200), reset=1)])
    assert nearly.phase("quotes", "a").p99_with_failures_ms == pytest.approx(198, rel=0.001)


def test_fold_window_takes_whole_seconds_over_all_phases():
    """A window crosses phases and ends before its end."""
    table = LoadTable.from_messages([message(k, "a" if k < 2 else "b", [k + 1]) for k in range(4)], PHASES)
    summary = table.window("quotes", 1, 3)
    assert summary.counts["ok"] == 2
    assert summary.max_ms == pytest.approx(3, rel=0.001)
    assert summary.goodput_per_s == 1.0
    assert [second for second, _ in table.seconds("quotes")] == [0, 1, 2, 3]
    assert table.phases("quotes") == ("a", "b")


def test_fold_of_nothing_is_empty_not_an_error():
    """A load that offered nothing has no quantiles, and rates of 0."""
    summary = LoadTable().phase("quotes", "a")
    assert summary.p99_ms is None
    assert summary.error_rate == 0.0
    assert summary.to_json()["goodput_per_s"] == 0.0
    assert LoadTable().loads == ()
