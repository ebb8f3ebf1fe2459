"""Little's law on figures that obey it, that break it, and that it says nothing about."""

import pytest

from resilience.load.model import PhaseWindow
from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import Histogram
from resilience.metrics.littles_law import littles_law, steady_law
from resilience.metrics.outcomes import CATEGORIES
from resilience.metrics.validity import judge_validity

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


def phase_of(*stays_ms, in_flight_by_stay=0.1):
    """A phase of a second for each stay at 100/s: table, messages, and the phase."""
    reports = [
        {
            "kind": "worker",
            "worker": 0,
            "t": (k + 1) * S,
            "in_flight_mean": {"quotes": stay * in_flight_by_stay},
            "cpu": 0.1,
            "fds": 5,
        }
        for k, stay in enumerate(stays_ms)
    ]
    end = {"kind": "end", "worker": 0, "load": "quotes", "epoch_ns": 0, "t": len(stays_ms) * S}
    table = LoadTable.from_messages(bins(k, rate=100, stay_ms=stay) for k, stay in enumerate(stays_ms))
    return (
        table,
        [*reports, {**end, "scheduled": 100 * len(stays_ms)}],
        PhaseWindow("a", 0, len(stays_ms) * S),
    )


def test_steady_law_leaves_the_edges_of_a_phase_out():
    """A rise in the first second and a fall in the last are no part of it; a slope in between is no steady phase."""
    table, messages, phase = phase_of(500, *[100] * 10, 20)
    law = steady_law(table, messages, "quotes", phase)
    assert law is not None
    assert law.in_flight == pytest.approx(10)
    assert law.holds
    table, messages, phase = phase_of(*range(60, 180, 10))
    assert steady_law(table, messages, "quotes", phase) is None
    table, messages, phase = phase_of(100, 100, 100)
    assert steady_law(table, messages, "quotes", phase) is None


def test_validity_notes_figures_that_contradict_littles_law():
    """A tenth more in flight than rate and stay allow is said, with the figures, and spoils no run."""
    for by_stay, contradicted in ((0.1, False), (0.11, True)):
        table, messages, phase = phase_of(*[100] * 12, in_flight_by_stay=by_stay)
        validity = judge_validity(table, {"quotes": {}}, messages, (phase,))
        assert validity.valid
        assert validity.littles_law["quotes"]["a"] == pytest.approx(by_stay / 0.1 - 1, abs=0.015)
        assert [("11.0 operations in flight" in note, "Little" in note) for note in validity.notes] == [
            (True, True)
        ] * contradicted
