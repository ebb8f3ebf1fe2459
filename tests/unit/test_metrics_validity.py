"""The gates of validity, each met and missed."""

import pytest

from resilience.load.model import PhaseWindow
from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import Histogram
from resilience.metrics.outcomes import CATEGORIES
from resilience.metrics.validity import judge_validity

MS = 10**6
S = 10**9
EPOCH = 50 * S
PHASES = (PhaseWindow("warmup", 0, S, judge=False), PhaseWindow("spike", S, 3 * S))


def spread(value_ns, times):
    """A histogram of one value."""
    histogram = Histogram()
    histogram.record(value_ns, times)
    return histogram.to_json()


def bins(second, *, offered=100, lag=MS, took=20 * MS, **counts):
    """A bins message of 100 operations that were answered, unless told otherwise."""
    n = dict.fromkeys(CATEGORIES, 0) | {"ok": offered} | counts
    return {
        "kind": "bins",
        "worker": 0,
        "load": "quotes",
        "phase": "warmup" if second < 1 else "spike",
        "s": second,
        "n": {"offered": offered, "attempts": offered, **n, "late": 0, "good": n["ok"]},
        "first": offered,
        "r": spread(took, n["ok"]),
        "lag": spread(lag, offered),
    }


def report(second, **changes):
    """A worker's report, `second` after the epoch."""
    given = {"kind": "worker", "worker": 0, "t": EPOCH + second * S, "cpu": 0.2, "fds": 20, "fd_limit": 1000}
    return {**given, "stall_ns": 2 * MS, **changes}


def end(**changes):
    """A worker's end."""
    given = {
        "kind": "end",
        "worker": 0,
        "load": "quotes",
        "t": EPOCH + 3 * S,
        "epoch_ns": EPOCH,
        "scheduled": 300,
    }
    return {**given, "herd_spread_ns": None, "herd_writes": [], "stall_ns": 0, **changes}


def judge(*, seconds=None, reports=None, ends=None, extra=()):
    """The validity of a run of three seconds, good unless told otherwise."""
    messages = [
        *(seconds or [bins(0), bins(1), bins(2)]),
        *(reports or [report(1), report(2), report(3)]),
        *([end()] if ends is None else ends),
        *extra,
    ]
    scheduled = {"quotes": {"warmup": 100, "spike": 200}}
    return judge_validity(LoadTable.from_messages(messages, PHASES), scheduled, messages, PHASES)


def test_validity_of_a_good_run():
    """Nothing to complain about, and the figures are there."""
    validity = judge()
    assert validity.valid
    assert validity.reasons == ()
    assert validity.started_share == {"quotes": {"warmup": 1.0, "spike": 1.0}}
    assert validity.cpu == {"0": {"spike": pytest.approx(0.2)}}
    assert validity.lag_p99_ms["quotes"]["spike"] == pytest.approx(1.0, rel=0.001)
    assert validity.stall_ms == {"0": 2.0}
    assert validity.to_json()["conservation"] is True


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seconds": [bins(0), bins(1), bins(2, offered=97)], "ends": [end(scheduled=297)]}, "took up 98.5%"),
        ({"seconds": [bins(0), bins(1, lag=11 * MS), bins(2)]}, "started late"),
        ({"ends": [end(herd_spread_ns=1, herd_writes=[[0, EPOCH, EPOCH + 251 * MS]])]}, "spread over 251 ms"),
        ({"reports": [report(1), report(2, cpu=0.9), report(3, cpu=0.85)]}, "its core"),
        ({"reports": [report(1), report(2, fds=950), report(3)]}, "file descriptors"),
        ({"reports": [report(1), report(2, stall_ns=1100 * MS), report(3)]}, "did not run for 1100 ms"),
        ({"ends": [end(t=EPOCH + 7 * S)]}, "silent for 4.0 s"),
        ({"extra": [{"kind": "lost", "worker": 1, "exit": -9, "t": 0}]}, "lost"),
        ({"ends": []}, "no worker reported the end"),
        ({"seconds": [bins(0), bins(1, ok=99), bins(2)]}, "300 offered but 299 accounted for"),
        ({"ends": [end(scheduled=310)]}, "310 scheduled but 300 offered"),
    ],
)
def test_validity_gate_says_why(changes, reason):
    """Each gate alone makes a run invalid, with its reason in words."""
    validity = judge(**changes)
    assert not validity.valid
    assert any(reason in given for given in validity.reasons), validity.reasons


def test_validity_allows_more_lag_where_answers_are_slow():
    """The limit is 5 % of the phase's p50 where that is more than 10 ms."""
    assert judge(seconds=[bins(0), bins(1, lag=40 * MS, took=S), bins(2, lag=40 * MS, took=S)]).valid


def test_validity_does_not_judge_the_warm_up_by_its_lag():
    """Lag and CPU count in judged phases only."""
    reports = [report(1, cpu=1.0), report(2), report(3)]
    assert judge(seconds=[bins(0, lag=S), bins(1), bins(2)], reports=reports).valid


@pytest.mark.parametrize(
    ("lag", "culprit"), [(MS, "the target was slow"), (9 * S, "the generator was slow too")]
)
def test_validity_notes_who_was_slow_when_arrivals_were_dropped(lag, culprit):
    """Dropped arrivals do not invalidate a run; the note says whose fault they were."""
    validity = judge(
        seconds=[bins(0), bins(1, ok=90, dropped=10, lag=lag, took=400 * S), bins(2, took=400 * S)]
    )
    assert validity.valid
    assert culprit in validity.notes[0]


def test_validity_spread_of_a_herd_is_taken_over_all_workers():
    """The first write of one worker and the last of another bound the herd."""
    ends = [
        end(scheduled=150, herd_spread_ns=1, herd_writes=[[S, EPOCH, EPOCH + 5 * MS]]),
        end(scheduled=150, worker=1, herd_spread_ns=1, herd_writes=[[S, EPOCH + 3 * MS, EPOCH + 9 * MS]]),
    ]
    assert judge(ends=ends).herd_spread_ms == {"quotes": 9.0}


def test_validity_does_not_judge_by_the_second_largest_of_two_hundred():
    """Three late starts among 200 are compatible with 1 %; nine are not."""

    def with_late(late: int):
        message = bins(1)
        message["lag"] = spread(MS, 100 - late)
        for bucket, count in spread(30 * MS, late).items():
            message["lag"][bucket] = message["lag"].get(bucket, 0) + count
        return judge(seconds=[bins(0), message, bins(2)])

    assert with_late(3).valid, with_late(3).reasons
    assert not with_late(9).valid


def test_validity_names_the_worst_use_of_descriptors_once():
    """A worker that is short of descriptors for many seconds gives one reason, with the worst of them."""
    reasons = judge(reports=[report(1, fds=950), report(2, fds=990), report(3, fds=960)]).reasons
    assert reasons == ("worker 0: 990 of 1000 file descriptors in use",)


@pytest.mark.parametrize(
    ("times_ms", "noted"),
    [
        ([2] * 50 + [1_020] * 6 + [3_050] * 3, True),
        ([2] * 50 + [1_020] * 2, False),
        ([900 + 40 * k for k in range(50)], False),
    ],
    ids=["at the retries", "a few", "anywhere"],
)
def test_validity_notes_connections_that_had_to_knock_twice(times_ms, noted):
    """Connects that crowd at 1 and 3 s mean a full accept queue; slow ones anywhere do not."""
    message = bins(1)
    connects = Histogram()
    connects.record_all(t * MS for t in times_ms)
    message["connect"] = connects.to_json()
    validity = judge(seconds=[bins(0), message, bins(2)])
    assert validity.valid
    assert any("backlog" in note for note in validity.notes) == noted
