"""The workers' reports in bounded memory: what is joined, and what that leaves exact."""

import pytest

from resilience.analysis.reports import WorkerReports
from resilience.load.model import PhaseWindow
from resilience.metrics.clocks import worker_clocks

S = 10**9
EPOCH = 1_000 * S
PHASES = (PhaseWindow("baseline", 0, 100 * S), PhaseWindow("spike", 100 * S, 200 * S))


def report(worker, second, **changes):
    """One report of a worker; its processor use is the number of its second."""
    return {
        "kind": "worker", "worker": worker, "t": EPOCH + (second + 1) * S, "cpu": float(second), "fds": 10, "fd_limit": 100,
        "in_flight": {"quotes": worker + 1}, "in_flight_mean": {"quotes": 2.0}, "stall_ns": 0, "drivers": {"much": "more"},
    } | changes  # fmt: skip


def read(most, seconds=200, workers=2, odd=None):
    """Reports of a run, `odd` being changes by (worker, second)."""
    reports = WorkerReports(EPOCH, PHASES, most)
    for second in range(seconds):
        for worker in range(workers):
            reports.add(report(worker, second, **(odd or {}).get((worker, second), {})))
    return reports


def test_reports_are_kept_as_they_are_while_they_are_few():
    """Nothing is joined; what nobody reads later is left out."""
    (first, *_), found = read(1000).messages, read(1000).messages
    assert len(found) == 400
    assert "n" not in first
    assert "drivers" not in first


def test_reports_joined_keep_means_extremes_and_phases():
    """However many there are: processor use by phase is the mean of its seconds, the worst stall and gap are still there."""
    odd = {(1, 150): {"stall_ns": 7, "fds": 99}}
    found = read(40, odd=odd).messages
    assert len(found) <= 40
    for worker in (0, 1):
        for begin in (0, 100):
            own = [
                m for m in found if m["worker"] == worker and begin * S < m["t"] - EPOCH <= (begin + 100) * S
            ]
            n = sum(m.get("n", 1) for m in own)
            assert n == 100
            assert sum(m.get("n", 1) * m["cpu"] for m in own) / n == pytest.approx(begin + 49.5)
            assert all(m.get("from_t", m["t"]) > EPOCH + begin * S for m in own)
    assert max(m["stall_ns"] for m in found if m["worker"] == 1) == 7
    assert max(m["fds"] for m in found) == 99
    assert {m.get("gap_ns", S) for m in found} == {S}


def test_reports_show_a_silence_that_was_joined():
    """A worker that said nothing for five seconds is found out in the joined report as well."""
    reports = WorkerReports(EPOCH, PHASES, 8)
    for second in (*range(40), *range(45, 100)):
        reports.add(report(0, second))
    assert max(m.get("gap_ns", 0) for m in reports.messages) == 6 * S


def test_reports_add_operations_in_flight_up_by_second():
    """Over the workers, and whatever is joined."""
    assert read(10).in_flight["quotes"] == dict.fromkeys(range(1, 201), 3)


def test_reports_leave_other_messages_alone():
    """Clocks, ends and losses are few and stay whole."""
    reports = read(10)
    clock = {"kind": "clock", "worker": 1, "name": "a", "shift_ns": 5, "error": [-1, 2], "jumps": 0}
    reports.add(clock)
    assert reports.messages[-1] is clock
    assert [each.width_ns for each in worker_clocks(reports.messages)] == [3]
