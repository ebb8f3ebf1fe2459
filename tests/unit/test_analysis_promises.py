"""Promises that systems make about data, sockets and instances: each kept, each broken in one way."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from resilience.analysis import coherence, orders, sockets
from resilience.analysis.coherence import Read, Write, coherence_of, hit_rate
from resilience.analysis.memory import leak_bytes_per_s, slope_of
from resilience.analysis.orders import audit_orders
from resilience.analysis.scaling import InstanceLife, lives_of, lost_in, scaling_of
from resilience.analysis.sockets import Socket, crowd_of
from resilience.analysis.validator import AFTER, BEFORE, DURING, Limits, Reading, SystemHealthValidator

S = 10**9


def read(version: int, start_s: float, *, key: str = "a", found: str | None = None, cache: str = "") -> Read:
    """A read that took a millisecond."""
    return Read(key, found or key, version, int(start_s * S), int(start_s * S) + 1_000_000, cache)


def test_coherence_reads_after_an_acknowledged_write_return_it() -> None:
    """A version that was acknowledged before the read began is owed; one that was not is allowed, not owed."""
    writes = [Write("a", 2, 1 * S), Write("a", 3, 5 * S)]
    found = coherence_of([read(1, 0.5), read(2, 1.5), read(3, 4.9), read(2, 4.99), read(3, 6)], writes)
    assert (found.reads, found.checked, found.violations) == (5, 4, 0)


def test_coherence_stale_read_is_its_own_witness() -> None:
    """The read, what was owed, and since when."""
    (stale,) = coherence_of([read(2, 6)], [Write("a", 2, S), Write("a", 3, 5 * S)]).stale
    assert (stale.read.version, stale.owed_version, stale.acknowledged_ns) == (2, 3, 5 * S)


def test_coherence_an_older_acknowledgement_that_comes_late_lowers_nothing() -> None:
    """Acknowledgements may overtake each other: what is owed only grows."""
    writes = [Write("a", 3, S), Write("a", 2, 2 * S)]
    assert coherence_of([read(2, 3)], writes).violations == 1


def test_coherence_staleness_bound_forgives_that_long() -> None:
    """Two seconds stale is fine under a bound of two seconds, and not under one."""
    reads, writes = [read(2, 6)], [Write("a", 2, S), Write("a", 3, 5 * S)]
    assert coherence_of(reads, writes, staleness_ns=2 * S).violations == 0
    assert coherence_of(reads, writes, staleness_ns=S // 2).violations == 1


def test_coherence_values_never_cross_keys() -> None:
    """An answer about another key is a violation, whatever its version."""
    found = coherence_of([read(99, 6, found="b")], [])
    assert (len(found.crossed), found.violations) == (1, 1)


def test_coherence_hit_rate_counts_those_that_say_how_they_were_served() -> None:
    """Outside the window, or silent about the cache: not counted."""
    reads = [read(1, 1, cache="hit"), read(1, 1, cache="miss"), read(1, 1), read(1, 9, cache="miss")]
    assert hit_rate(reads, start_ns=0, end_ns=5 * S) == 0.5
    assert hit_rate(reads, start_ns=20 * S, end_ns=25 * S) is None


def test_coherence_notes_become_reads_and_writes() -> None:
    """Only these two kinds of notes are the cache's; a note of an order is not."""
    reads, writes = coherence.from_notes(
        [
            {"what": "read", "key": "7", "found": "7", "version": 3, "at": [1, 2], "cache": "hit"},
            {"what": "write", "key": "7", "version": 4, "at": [3, 9]},
            {"what": "order", "id": "x", "outcome": "4xx"},
            {"what": "read", "key": "7", "found": None, "version": None, "at": [1, 2], "outcome": "timeout"},
        ]
    )
    assert reads == [Read("7", "7", 3, 1, 2, "hit")]
    assert writes == [Write("7", 4, 9)]


@pytest.mark.parametrize(
    ("ledger", "wrong"),
    [
        ({"a": 1, "b": 1}, {}),
        ({"a": 1, "b": 1, "t": 1}, {}),
        ({"a": 1}, {"lost": ("b",)}),
        ({"a": 2, "b": 1}, {"doubled": ("a",)}),
        ({"a": 1, "b": 1, "t": 2}, {"doubled": ("t",)}),
        ({"a": 1, "b": 1, "r": 1}, {"refused_but_there": ("r",)}),
    ],
)
def test_orders_are_there_exactly_once(ledger: dict[str, int], wrong: dict[str, tuple[str, ...]]) -> None:
    """Acknowledged once, unsettled at most once, refused never."""
    placed = {
        "a": orders.ACKNOWLEDGED,
        "b": orders.ACKNOWLEDGED,
        "r": orders.REFUSED,
        "t": orders.UNSETTLED,
    }
    found = audit_orders(placed, ledger)
    assert found.sound is not bool(wrong)
    assert {
        k: getattr(found, k) for k in ("lost", "doubled", "refused_but_there") if getattr(found, k)
    } == wrong


def test_orders_notes_tell_what_callers_were_told() -> None:
    """A status that says so is an acknowledgement or a refusal; whatever may have happened anyway is unsettled."""
    outcomes = ("ok", "4xx", "connect", "shed", "5xx", "timeout", "reset", "unfinished")
    notes = [{"what": "order", "id": outcome, "outcome": outcome} for outcome in outcomes]
    placed = orders.placed_from([*notes, {"what": "read", "id": "x", "outcome": "ok"}])
    assert [ref for ref, told in placed.items() if told == orders.ACKNOWLEDGED] == ["ok"]
    assert [ref for ref, told in placed.items() if told == orders.REFUSED] == ["4xx", "connect"]
    assert len(placed) == len(outcomes)


def test_orders_ledger_is_the_latest_look() -> None:
    """Looked up twice: the later count stands; a look without an answer says nothing."""
    notes = [
        {"what": "ledger", "ref": "a", "count": 1, "at": [5, 6]},
        {"what": "ledger", "ref": "a", "count": 0, "at": [1, 2]},
        {"what": "ledger", "ref": "b", "count": None, "at": [1, 2]},
    ]
    assert orders.ledger_from(notes) == {"a": 1}


def test_sockets_owe_what_was_broadcast_while_they_were_there() -> None:
    """Welcomed before, not gone by themselves: owed. Lost afterwards does not excuse."""
    there = Socket(1, 0, 1, (5,), {"x": 12}, 100)
    late = Socket(2, 0, 11, (7,), {}, 100)
    left = Socket(3, 0, 1, (), {}, 13)
    lost = Socket(4, 0, 1, (), {}, 13, lost=True)
    absent = Socket(5, None, None)
    found = crowd_of(5, [there, late, left, lost, absent], {"x": 10}, grace_ns=20)
    assert (found.connected, found.welcomed, found.lost) == (4, 4, 1)
    assert (found.owed, found.missed) == (2, 1)
    assert found.connected_share == 0.8
    assert found.latency_ns(0.5, bound_ns=9) == 5


def test_sockets_of_a_user_who_came_back_are_one_user() -> None:
    """Two wanted a socket; one was lost and came back, the other never came: half of them connected."""
    notes = [
        {"what": "socket", "i": 1, "again": 0, "opened": 0, "welcomed": 1, "left": 9, "lost": True},
        {"what": "socket", "i": 1, "again": 1, "opened": 12, "welcomed": None, "left": 90, "lost": False},
    ]
    found = crowd_of(2, sockets.from_notes(notes)[0], {}, grace_ns=20)
    assert (found.connected, found.connected_share) == (1, 0.5)
    assert (found.opened, found.welcomed_share, found.lost_share) == (2, 0.5, 0.5)


def test_sockets_messages_without_an_answer_are_the_slowest() -> None:
    """A lost socket owed its answer at once; who left by itself was owed it only once the bound had passed."""
    quick = Socket(1, 0, 1, (3, 5, 7), unanswered=1, waited_ns=(20,))
    assert crowd_of(1, [replace(quick, lost=True)], {}, grace_ns=1).latency_ns(0.75, bound_ns=40) == 7
    assert crowd_of(1, [replace(quick, lost=True)], {}, grace_ns=1).latency_ns(0.95, bound_ns=40) == math.inf
    assert crowd_of(1, [quick], {}, grace_ns=1).latency_ns(0.95, bound_ns=40) == 7
    assert crowd_of(1, [quick], {}, grace_ns=1).latency_ns(0.95, bound_ns=20) == math.inf
    many = replace(quick, unanswered=5_000)
    assert crowd_of(1, [many], {}, grace_ns=1).latency_ns(0.5, bound_ns=40) == math.inf


def test_sockets_that_hear_too_late_have_missed_it() -> None:
    """A broadcast after its grace is not received."""
    heard = Socket(1, 0, 1, (), {"x": 40}, 100)
    assert crowd_of(1, [heard], {"x": 10}, grace_ns=20).missed == 1
    assert crowd_of(1, [heard], {"x": 10}, grace_ns=30).missed == 0


def test_sockets_without_a_broadcast_have_no_share() -> None:
    """Nothing owed is nothing known, and so is a latency of nobody."""
    found = crowd_of(1, [Socket(1, 0, 1)], {}, grace_ns=1)
    assert found.heard_share is None
    assert found.latency_ns(0.95, bound_ns=9) is None


def test_sockets_notes_are_sockets_and_broadcasts() -> None:
    """Both kinds, in any order; a socket that never opened says so with null."""
    notes = [
        {"what": "broadcast", "id": "x", "at": [10, 11]},
        {"what": "socket", "i": 1, "opened": 0, "welcomed": 1, "heard": {"x": 12}, "left": 9, "lost": True},
        {"what": "socket", "i": 2, "opened": None},
    ]
    found, broadcasts = sockets.from_notes(notes)
    assert broadcasts == {"x": 10}
    assert found == [Socket(1, 0, 1, (), {"x": 12}, 9, lost=True), Socket(2, None, None)]


def test_scaling_times_run_from_the_first_second_over_the_threshold() -> None:
    """Trigger after the load was there; healthy after the decision."""
    offered = [(0, 40), (1, 40), (2, 90), (3, 90)]
    found = scaling_of(offered, [InstanceLife("g-2", 5.5, 7.0)], threshold_per_s=60)
    assert (found.over_s, found.trigger_s, found.slowest_healthy_s) == (2.0, 3.5, 1.5)
    assert found.still_there == ("g-2",)


def test_scaling_that_never_came_has_no_time() -> None:
    """No decision: no trigger. No load: nothing to trigger."""
    assert scaling_of([(0, 90)], [], threshold_per_s=60).trigger_s is None
    assert scaling_of([(0, 50)], [], threshold_per_s=60).over_s is None


def test_scaling_instance_that_never_was_healthy_has_no_time() -> None:
    """One of two never became ready: there is no slowest time."""
    lives = [InstanceLife("a", 1, 2), InstanceLife("b", 1)]
    assert scaling_of([(0, 90)], lives, threshold_per_s=60).slowest_healthy_s is None


def test_scaling_lives_are_read_from_events() -> None:
    """First of each step counts; what is to be prompt is taken at its latest."""
    events = [
        {"instance": "g-3", "step": "decided", "at": [2 * S, 2 * S]},
        {"instance": "g-3", "step": "ready", "at": [3 * S, 4 * S]},
        {"instance": "g-3", "step": "leaving", "at": [8 * S, 9 * S]},
        {"instance": "g-3", "step": "gone", "at": [10 * S, 11 * S]},
        {"instance": "g-1", "step": "ready", "at": [0, 1]},
    ]
    assert lives_of(events, S) == (InstanceLife("g-3", 1.0, 3.0, 7.0, 10.0),)


def test_scaling_counts_failures_while_an_instance_leaves() -> None:
    """Seconds before and after are somebody else's."""
    lives = [InstanceLife("a", 0, 1, 10.5, 12.2), InstanceLife("b", 0, 1)]
    assert lost_in([(8, 1), (9, 1), (12, 1), (13, 1), (14, 1)], lives) == 3


def test_memory_slope_has_an_interval_that_holds_the_truth() -> None:
    """Noise of a megabyte around a leak of ten kilobytes a second."""
    rng = random.Random(7)
    held = 0
    for _ in range(40):
        points = [(float(t), 1e8 + 1e4 * t + rng.gauss(0, 1e6)) for t in range(60)]
        slope = slope_of(points)
        assert slope.low <= slope.middle <= slope.high
        held += slope.low <= 1e4 <= slope.high
    assert held >= 34


def test_memory_leak_is_the_steepest_of_a_services_processes() -> None:
    """One process is steady, the other is not; too few samples say nothing."""
    samples = [
        {"pid": pid, "rss_bytes": 1e8 + pid * 1000 * t, "at": [t * S, t * S]}
        for t in range(20)
        for pid in (0, 5)
    ]
    leak = leak_bytes_per_s(samples)
    assert leak is not None
    assert leak.middle == pytest.approx(5000)
    assert leak_bytes_per_s(samples[:8]) is None


WELL = Reading(
    BEFORE, "gateway-1", 1, live=True, ready=True, dependencies={"db": "up"}, breakers={"pricing": "closed"},
    connections=3, idle=3, rss_bytes=100_000_000, descriptors=40,
)  # fmt: skip
WELL_AFTER = replace(WELL, stage=AFTER)


def test_validator_finds_a_system_well_that_came_back() -> None:
    """All three stages, and nothing to say."""
    found = SystemHealthValidator([WELL, replace(WELL, stage=DURING, ready=False), WELL_AFTER]).report()
    assert [found[stage].verdict for stage in (BEFORE, DURING, AFTER)] == ["well"] * 3


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (replace(WELL_AFTER, live=False), "does not live"),
        (replace(WELL_AFTER, ready=False), "is not ready"),
        (replace(WELL_AFTER, dependencies={"db": "down"}), "does not reach db"),
        (replace(WELL_AFTER, breakers={"pricing": "open"}), "breaker pricing open"),
        (replace(WELL_AFTER, idle=1), "2 of 3 connections still in use"),
        (replace(WELL_AFTER, rss_bytes=300_000_000), "200,000,000 more memory"),
        (replace(WELL_AFTER, descriptors=400), "360 more descriptors"),
    ],
)
def test_validator_says_what_is_not_as_it_was(after: Reading, said: str) -> None:
    """Each question has its own sentence."""
    found = SystemHealthValidator([WELL, after]).after()
    assert found.verdict == "ill"
    assert said in " ".join(found.ill)


def test_validator_never_takes_silence_for_health() -> None:
    """No readings, or a system that does not say: unknown."""
    assert SystemHealthValidator([]).after().verdict == "unknown"
    silent = replace(WELL_AFTER, connections=None, idle=None)
    found = SystemHealthValidator([WELL, silent]).after()
    assert found.verdict == "unknown"
    assert "does not say how its pool is" in found.unknown[0]


def test_validator_counts_faults_left_and_instances_gone() -> None:
    """A fault in place and a missing instance are ill; the last reading of an instance is the one that counts."""
    assert SystemHealthValidator([WELL, WELL_AFTER]).after(["slow"]).verdict == "ill"
    assert "is not now" in SystemHealthValidator([WELL]).after().ill[0]
    settling = [WELL, replace(WELL_AFTER, idle=1), WELL_AFTER]
    assert SystemHealthValidator(settling, limits=Limits()).after().verdict == "well"
