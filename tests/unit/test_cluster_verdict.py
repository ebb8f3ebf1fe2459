"""What a verdict makes of workers elsewhere: calls as wide as their clocks are unsure, losses named, addresses looked at first."""

import pytest
import typer

from resilience.analysis.clocks import judged_by_clocks, widened_notes
from resilience.breaker.observation import Interval
from resilience.breaker.report import BreakerReport, InstanceReport, RuleVerdict, Verdict
from resilience.breaker.wire import from_record
from resilience.cli.clusters import check_cluster
from resilience.cli.place import Place, StackKind
from resilience.cli.words import Words
from resilience.load import cluster_host
from resilience.load.cluster import rest_s
from resilience.metrics.clocks import WorkerClock, clock_notes, worker_clocks
from resilience.metrics.fold import LoadTable
from resilience.metrics.validity import judge_validity

MS = 10**6
ROWS = [
    [0, 100 * MS, 100 * MS, 100 * MS, None, 110 * MS, 200, "degraded", "a"],
    [1, 200 * MS, 200 * MS, 200 * MS, None, 210 * MS, 200, "degraded", "a"],
]


def calls(errors):
    """The calls of a history whose callers have these clocks."""
    record = {"kind": "call", "load": "quotes", "rows": ROWS}
    return from_record(breaker="b", run_id="r", calls=[record], errors=errors)


def test_calls_of_exact_clocks_are_instants():
    """Of this machine nothing is widened."""
    assert [(call.start, call.end) for call in calls(())] == [
        (Interval(100 * MS, 100 * MS), Interval(110 * MS, 110 * MS)),
        (Interval(200 * MS, 200 * MS), Interval(210 * MS, 210 * MS)),
    ]


def test_calls_are_as_wide_as_the_clock_of_their_own_worker():
    """Call i was made by worker i mod n; a clock ahead by up to 30 ms may have stamped 30 ms too late, never too early."""
    first, second = calls((Interval(-MS, MS), Interval(0, 30 * MS)))
    assert first.start == Interval(99 * MS, 101 * MS)
    assert second.start == Interval(170 * MS, 200 * MS)
    assert second.end == Interval(180 * MS, 210 * MS)


def test_notes_are_as_wide_as_the_clock_of_their_own_worker():
    """A read is known to begin after a write only where it surely did; a socket is owed only what came while it surely was open."""
    clocks = [WorkerClock(0, "a", 0, (0, 0), 0), WorkerClock(1, "b", 0, (-2, 30), 0)]
    call, socket = (
        {"what": "order", "i": 1, "at": [100, 200]},
        {"what": "socket", "i": 3, "welcomed": 100, "left": 200},
    )
    exact = {"what": "order", "i": 2, "at": [100, 200]}
    found = list(widened_notes([call, socket, exact, {"what": "mine"}], clocks))
    assert found == [
        {**call, "at": [70, 202]},
        {**socket, "welcomed": 102, "left": 170},
        exact,
        {"what": "mine"},
    ]
    assert list(widened_notes([call], [])) == [call]


def report(verdict, unsettled=0):
    """A report of one rule."""
    rule = RuleVerdict(
        "R4", "opens", verdict, "too coarse" if verdict is Verdict.UNKNOWN else "", unsettled=unsettled
    )
    return BreakerReport((InstanceReport("b", "a", None, (), {"R4": rule}),), {}, strict=False, origin_ns=0)


@pytest.mark.parametrize("settled", [Verdict.PASS, Verdict.FAIL, Verdict.DECLARED])
def test_rules_that_a_clock_leaves_open_name_it(settled):
    """What would be settled by exact stamps is said to be the clock's fault."""
    clock = WorkerClock(1, "tcp://b:1 on b", 0, (-300 * MS, 0), 1)
    found = judged_by_clocks(lambda errors: report(Verdict.UNKNOWN if errors else settled), [clock])
    reason = found.instances[0].rules["R4"].reason
    assert reason == f"undecidable: {clock}"
    assert "worker 1 (tcp://b:1 on b) is known within 300.0 ms only, and jumped" in reason


@pytest.mark.parametrize("unsettled", [0, 3])
def test_rules_name_a_clock_whose_stamps_contradict_each_other(unsettled):
    """A call that ends before it begins: what exact stamps would settle nobody knows; rules with nothing to settle are left alone."""

    def judge(errors):
        if not errors:
            raise ValueError("interval ends before it begins")
        return report(Verdict.UNKNOWN, unsettled)

    clock = WorkerClock(1, "b", 0, (-300 * MS, 0), 1)
    reason = judged_by_clocks(judge, [clock]).instances[0].rules["R4"].reason
    assert reason == (f"undecidable: {clock}" if unsettled else "too coarse")


def test_rules_that_are_open_anyway_do_not_blame_a_clock():
    """Nor are they judged a second time where the clocks are known well."""
    bad, good = (WorkerClock(1, "b", 0, (-width, width), 0) for width in (150 * MS, MS))
    found = judged_by_clocks(lambda _: report(Verdict.UNKNOWN), [bad])
    assert found.instances[0].rules["R4"].reason == "too coarse"
    asked = []
    judged_by_clocks(lambda errors: asked.append(errors) or report(Verdict.UNKNOWN), [good])
    assert asked == [[Interval(-MS, MS)]]


def test_clocks_are_those_of_the_last_word_of_each_worker():
    """Errors only grow; one line says how all are, another which is bad."""
    lines = [
        {"kind": "clock", "worker": 1, "name": "b", "shift_ns": 300 * MS, "error": [-MS, MS], "jumps": 0},
        {"kind": "clock", "worker": 0, "name": "a", "shift_ns": 0, "error": [-MS, MS], "jumps": 0},
        {
            "kind": "clock",
            "worker": 1,
            "name": "b",
            "shift_ns": 300 * MS,
            "error": [-20 * MS, MS],
            "jumps": 2,
        },
    ]
    clocks = worker_clocks(lines)
    assert [clock.error_ns for clock in clocks] == [(-MS, MS), (-20 * MS, MS)]
    whole, bad = clock_notes(clocks)
    assert whole == "clocks of 2 workers elsewhere: corrected by 0.0 to 300.0 ms, known within 21.0 ms"
    assert bad == "the clock of worker 1 (b) is known within 21.0 ms only, and jumped 2 times"
    assert clock_notes(()) == ()


def test_validity_names_workers_elsewhere_that_were_lost_or_late():
    """By number and place, before whatever follows from it."""
    lost = {"kind": "lost", "worker": 3, "name": "tcp://h:1 on h", "exit": None}
    late = {
        "kind": "late",
        "worker": 4,
        "name": "tcp://i:1 on i",
        "late_ns": 12 * MS,
        "why": "the start was heard after the epoch",
    }
    local = {"kind": "lost", "worker": 0, "exit": -9}
    validity = judge_validity(LoadTable(), {}, [late, lost, local], ())
    assert not validity.valid
    assert validity.reasons[:3] == (
        "worker 4 (tcp://i:1 on i) was 12 ms late: the start was heard after the epoch",
        "worker 3 (tcp://h:1 on h) was lost",
        "worker 0 was lost (exit -9)",
    )


def test_validity_counts_the_doubt_of_clocks_to_the_spread_of_a_herd():
    """First and last write may be of two workers: 200 ms apart by clocks known to 40 ms may be 240, by worse ones 260."""
    for error, valid in ((20 * MS, True), (30 * MS, False)):
        ends = [
            {
                "kind": "end", "worker": worker, "load": "users", "t": 1, "epoch_ns": 0, "scheduled": 0,
                "herd_spread_ns": 0, "herd_writes": [[0, worker * 200 * MS, worker * 200 * MS]],
            }
            for worker in (0, 1)
        ]  # fmt: skip
        clocks = [
            {
                "kind": "clock",
                "worker": worker,
                "name": "w",
                "shift_ns": 0,
                "error": [-error, error],
                "jumps": 0,
            }
            for worker in (0, 1)
        ]
        reasons = judge_validity(LoadTable(), {}, [*ends, *clocks], ()).reasons
        assert any("herd" in reason for reason in reasons) is not valid


def test_many_stripes_are_asked_less_often_and_within_their_lease():
    """A few at once, two hundred every five seconds or so, thousands before their lease is over."""
    assert rest_s(2) == rest_s(40) == 0.0
    assert rest_s(200) == pytest.approx(4.0)
    assert rest_s(4_096) < cluster_host.LEASE_S - 1


@pytest.mark.parametrize(
    "address", ["scheduler", "http://h:8786", "tcp://h", "tcp://:8786", "tcp://h:port", ""]
)
def test_cluster_address_that_is_none_ends_with_2(address, capsys):
    """Before anything is started, and with an example."""
    with pytest.raises(typer.Exit) as ended:
        check_cluster(address, 1)
    assert ended.value.exit_code == 2
    assert "tcp://10.0.0.5:8786" in capsys.readouterr().err


def test_cluster_is_for_one_run_at_a_time(capsys):
    """Several at once would share its workers."""
    with pytest.raises(typer.Exit) as ended:
        check_cluster("tcp://h:8786", 2)
    assert ended.value.exit_code == 2
    assert "--jobs" in capsys.readouterr().err


def test_cluster_is_part_of_the_command_that_repeats_a_run(tmp_path):
    """With the number of stripes, if one was asked for."""
    words = Words(Place(StackKind.EMBEDDED), 1, 40, False, (), (), tmp_path, "tcp://h:8786")
    assert "--cluster tcp://h:8786 --workers 40" in words.shown("breaker")
