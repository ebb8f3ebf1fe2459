"""What is kept of a run while it goes on: exact sums, a fair sample, and no more of either for a longer run."""

import pytest

from resilience.load.model import PhaseWindow
from resilience.metrics.fold import LoadTable
from resilience.metrics.gathered import SLOTS, Gathered, middle_ns, slot_s_of
from resilience.metrics.littles_law import littles_law
from resilience.metrics.outcomes import COUNTERS
from resilience.metrics.validity import judge_validity

S = 10**9
EPOCH = 7 * S


def phases_of(seconds, *, warm_up=0):
    """A run of so many seconds, of which the first are not judged."""
    whole = (PhaseWindow("all", warm_up * S, seconds * S),)
    return (PhaseWindow("warm-up", 0, warm_up * S, judge=False), *whole) if warm_up else whole


def bins(second, phase="all", *, n=10, response_ns=2_000_000):
    """What one second of a load at n/s sends, all of it answered."""
    counts = {**dict.fromkeys(COUNTERS, 0), "offered": n, "attempts": n, "ok": n, "good": n}
    h = {"5120": n}
    return {
        "kind": "bins",
        "worker": 0,
        "load": "load",
        "phase": phase,
        "s": second,
        "n": counts,
        "first": n,
        "r": {str(5120 + response_ns % 7 + second % 5): n},
        "service": h,
        "lag": h,
    }


def report(second, *, cpu=0.5, in_flight=4.0, late_ns=0, fds=10, stall_ns=0, worker=0):
    """A worker's report of the second that ends there."""
    return {
        "kind": "worker",
        "worker": worker,
        "t": EPOCH + second * S + late_ns,
        "cpu": cpu,
        "in_flight": {"load": 1},
        "in_flight_mean": {"load": in_flight},
        "drivers": {"load": {}},
        "fds": fds,
        "fd_limit": 100,
        "rss_bytes": 1,
        "stall_ns": stall_ns,
    }


def end(seconds, scheduled, worker=0):
    """A worker's last word."""
    return {
        "kind": "end",
        "worker": worker,
        "load": "load",
        "t": EPOCH + seconds * S,
        "epoch_ns": EPOCH,
        "stall_ns": 0,
        "scheduled": scheduled,
        "herd_spread_ns": None,
    }


def gathered(messages, phases, **changes):
    """All of it taken in order."""
    found = Gathered(phases, **changes)
    found.begin(EPOCH)
    for message in messages:
        found.take(message)
    return found


def test_slot_is_a_second_until_there_would_be_too_many():
    """Half an hour in seconds, an hour in steps of two; the load may go on after the last phase."""
    assert [slot_s_of(seconds * S) for seconds in (0, 1, SLOTS, SLOTS + 1, 3600, 36_000)] == [
        1,
        1,
        1,
        2,
        2,
        20,
    ]
    assert gathered([], phases_of(60)).slot_s == gathered([], ()).slot_s == 1
    assert gathered([], phases_of(60), end_ns=3600 * S).slot_s == gathered([], phases_of(3600)).slot_s == 2


def test_gathered_of_a_short_run_is_what_the_messages_say():
    """Up to half an hour nothing is folded: second by second and report by report."""
    messages = [m for second in range(20) for m in (bins(second), report(second + 1))] + [end(20, 200)]
    found = gathered(messages, phases_of(20))
    whole = LoadTable.from_messages(messages, phases_of(20))
    assert found.reports == [m for m in messages if m["kind"] != "bins"]
    assert [(s, b.counts) for s, b in found.table.seconds("load")] == [
        (s, b.counts) for s, b in whole.seconds("load")
    ]
    assert found.table.window("load", 3, 9) == whole.window("load", 3, 9)


def test_gathered_of_two_hours_is_no_larger_than_of_one_and_as_exact():
    """Bins and reports are bounded by the number of slots; counts, quantiles, verdict and Little's law are those of all messages."""
    sizes = {}
    for hours in (1, 2):
        seconds = hours * 3600
        phases = phases_of(seconds, warm_up=7)
        messages = [
            m
            for second in range(seconds)
            for m in (
                bins(second, "all" if second >= 7 else "warm-up"),
                report(second + 1, cpu=0.2 + 0.4 * (second % 2), in_flight=0.02, fds=10 + second % 3),
            )
        ] + [end(seconds, seconds * 10)]
        found = gathered(messages, phases)
        sizes[hours] = len(found.reports), sum(1 for _ in found.table.seconds("load"))
        assert found.table.phase("load", "all") == LoadTable.from_messages(messages, phases).phase(
            "load", "all"
        )
        scheduled = {"load": {"warm-up": 70, "all": (seconds - 7) * 10}}
        validity = judge_validity(found.table, scheduled, found.reports, phases)
        assert validity.reasons == ()
        assert validity.cpu["0"]["all"] == pytest.approx(0.4, abs=1e-3)
        law = littles_law(found.table, found.reports, "load", 600, 1200)
        assert law.in_flight == pytest.approx(0.02)
    assert all(reports <= SLOTS + 3 and slots <= SLOTS + 1 for reports, slots in sizes.values())


def test_gathered_reports_tell_the_extremes_of_their_slot():
    """A worker that fell silent, stood still or ran out of descriptors for one second of a long slot is found out all the same."""
    seconds = 9_000
    phases = phases_of(seconds)
    usual = {n: report(n) for n in range(1, seconds + 1)}
    odd = {
        "was silent for 4.0 s": {n: m for n, m in usual.items() if n not in {5003, 5004, 5005}},
        "did not run for 1500 ms": {**usual, 5003: report(5003, stall_ns=1_500_000_000)},
        "99 of 100 file descriptors": {**usual, 5003: report(5003, fds=99)},
        "": usual,
    }
    for reason, reports in odd.items():
        messages = [*reports.values(), bins(0), end(seconds, 10)]
        found = gathered(messages, phases)
        assert len(found.reports) <= SLOTS + 3
        reasons = judge_validity(found.table, {"load": {}}, found.reports, phases).reasons
        assert len(reasons) == bool(reason)
        assert all(reason in said for said in reasons)


def test_gathered_report_stays_in_its_phase():
    """A slot that two phases share has a report for each: neither phase's processor time is judged with the other's."""
    phases = (PhaseWindow("a", 0, 1805 * S), PhaseWindow("b", 1805 * S, 3600 * S))
    found = gathered(
        [report(n, cpu=0.1 if n <= 1805 else 0.9) for n in range(1, 3601)] + [end(3600, 0)], phases
    )
    validity = judge_validity(found.table, {"load": {}}, found.reports, phases)
    assert validity.cpu["0"] == {"a": pytest.approx(0.1), "b": pytest.approx(0.9)}
    assert {middle_ns(r) for r in found.reports if r["kind"] == "worker" and r.get("n", 1) == 1} == {
        EPOCH + 1804.5 * S,
        EPOCH + 1805.5 * S,
    }


def test_table_in_slots_refuses_a_window_that_it_cannot_tell():
    """Five to nine seconds of a run that is kept in steps of two are not known; six to eight are."""
    table = LoadTable(phases_of(3600), slot_s=2)
    for second in range(20):
        table.add(bins(second))
    assert table.window("load", 6, 8).counts["offered"] == 20
    with pytest.raises(ValueError, match="steps of 2 s"):
        table.window("load", 5, 9)


def test_gathered_calls_are_all_or_a_uniform_sample():
    """Up to the bound every call, in order; above it each with the same chance, and the same ones for the same seed."""
    rows = [[i, "ok"] for i in range(20_000)]
    messages = [{"kind": "call", "rows": rows[k : k + 256]} for k in range(0, len(rows), 256)]
    assert gathered(messages, (), calls_kept=20_000).calls == rows
    found = gathered(messages, (), calls_kept=1_000, seed=3)
    kept = [row[0] for row in found.calls]
    assert found.calls_seen == 20_000
    assert len(kept) == len(set(kept)) == 1_000
    assert kept == sorted(kept)
    # Each tenth of the run has its share: 100 with a standard deviation of 9.3.
    assert all(50 < sum(1 for i in kept if i // 2_000 == tenth) < 150 for tenth in range(10))
    assert gathered(messages, (), calls_kept=1_000, seed=3).calls == found.calls
    assert gathered(messages, (), calls_kept=0).calls == []
