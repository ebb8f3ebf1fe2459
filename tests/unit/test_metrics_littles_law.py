"""Little's law on figures that obey it, that break it, and that it says nothing about."""

import pytest

from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import Histogram
from resilience.metrics.littles_law import littles_law
from resilience.metrics.outcomes import CATEGORIES

MS = 10**6
S = 10**9


def bins(second, *, rate, stay_ms, lag_ms=0):
    """One second of operations that stay for `stay_ms` from their actual start."""
    n = dict.fromkeys(CATEGORIES, 0) | {"ok": rate}
    r, lag = Histogram(), Histogram()
    r.record((stay_ms + lag_ms) * MS, rate)
    lag.record(lag_ms * MS, rate)
    counts = {"offered": rate, "attempts": rate, **n, "late": 0, "good": rate}
    common = {"kind": "bins", "load": "quotes", "phase": "a", "s": second, "first": rate}
    return {**common, "n": counts, "r": r.to_json(), "lag": lag.to_json()}


def run(*, rate, stay_ms, in_flight, lag_ms=0, seconds=10):
    """The law over ten seconds of a steady load on two workers."""
    reports = [
        {"kind": "worker", "worker": worker, "t": (k + 1) * S, "in_flight_mean": {"quotes": in_flight / 2}}
        for k in range(seconds)
        for worker in (0, 1)
    ]
    ends = [{"kind": "end", "epoch_ns": 0}]
    table = LoadTable.from_messages(
        bins(k, rate=rate, stay_ms=stay_ms, lag_ms=lag_ms) for k in range(seconds)
    )
    return littles_law(table, [*reports, *ends], "quotes", 0, seconds)


def test_littles_law_holds_for_consistent_figures():
    """100/s that stay 100 ms are 10 in flight; time before the start does not count."""
    law = run(rate=100, stay_ms=100, in_flight=10.2, lag_ms=50)
    assert law.applicable
    assert law.holds
    assert law.in_flight == pytest.approx(10.2)
    assert law.per_s * law.stay_s == pytest.approx(10, rel=0.002)


def test_littles_law_finds_figures_that_contradict():
    """Twice as many in flight as rate and stay allow: one of the three is wrong."""
    law = run(rate=100, stay_ms=100, in_flight=20)
    assert law.holds is False
    assert law.difference == pytest.approx(0.5, abs=0.01)


def test_littles_law_does_not_apply_to_few_or_to_short():
    """With hardly anything in flight, or a window of a few stays, it says nothing."""
    assert run(rate=10, stay_ms=100, in_flight=1).holds is None
    assert run(rate=100, stay_ms=900, in_flight=90).holds is None
    assert littles_law(LoadTable(), [], "quotes", 0, 10).holds is None
