"""Leases and the guardian's state: arithmetic on nanoseconds, no clock."""

# ruff: noqa: D103 - the tests have docstrings; what serves them is named for what it does

from faults.lease import (
    HEARTBEAT_NS,
    KEPT,
    LEASE_NS,
    SILENCE_NS,
    Armed,
    Watch,
    lease_end_ns,
    lease_holds,
    silence_end_ns,
)

T0 = 1_000_000_000_000
S = 1_000_000_000


def fault(ticket=1, deadline_ns=T0 + 60 * S):
    return Armed(
        ticket=ticket, fault_id=f"fault-{ticket}", undo={"kind": "none", "args": {}}, deadline_ns=deadline_ns
    )


def test_lease_ends_before_silence_with_room_for_a_request_and_several_heartbeats():
    """An injection that starts under a lease is on the wire a second before healing could start."""
    assert SILENCE_NS - LEASE_NS >= S
    assert LEASE_NS >= 4 * HEARTBEAT_NS


def test_lease_counts_from_the_sending_of_the_heartbeat():
    """A heartbeat that was read late gives only the rest of its lease; a stamp from the future gives nothing extra."""
    assert lease_end_ns(T0, T0 + 5 * S) == T0 + LEASE_NS
    assert lease_end_ns(T0 + 9 * S, T0) == T0 + LEASE_NS


def test_lease_excludes_its_own_end():
    """At the very end of a lease nothing may start."""
    assert lease_holds(T0 + 1, T0)
    assert not lease_holds(T0, T0)


def test_watch_heals_nothing_while_heartbeats_come():
    """A live runner's faults stay."""
    watch = Watch(last_stamp_ns=T0)
    assert watch.arm(fault())
    for beat in range(1, 30):
        now_ns = T0 + beat * HEARTBEAT_NS
        assert watch.beat(now_ns, now_ns) == now_ns + LEASE_NS
        assert watch.due(now_ns + LEASE_NS) == []


def test_watch_heals_each_fault_once_on_silence_and_never_grants_again():
    """Three seconds without a heartbeat: everything is due, once; a late heartbeat finds the door closed."""
    watch = Watch(last_stamp_ns=T0)
    watch.arm(fault(1))
    watch.arm(fault(2))
    assert watch.due(silence_end_ns(T0) - 1) == []
    due = watch.due(silence_end_ns(T0))
    assert [(d.armed.ticket, d.reason) for d in due] == [(1, "silence"), (2, "silence")]
    assert watch.due(silence_end_ns(T0) + S) == []
    assert watch.beat(T0 + 4 * S, T0 + 4 * S) is None
    assert not watch.arm(fault(3))


def test_watch_does_not_take_an_old_stamp_for_life():
    """A heartbeat that lay in the pipe while its sender froze proves only that it lived then."""
    watch = Watch(last_stamp_ns=T0)
    watch.arm(fault())
    watch.beat(T0 + S, T0 + 10 * S)
    assert [d.reason for d in watch.due(T0 + 10 * S)] == ["silence"]


def test_watch_ends_a_fault_at_its_maximum_duration_and_keeps_the_others():
    """Heartbeats do not prolong a fault."""
    watch = Watch(last_stamp_ns=T0)
    watch.arm(fault(1, deadline_ns=T0 + S))
    watch.arm(fault(2))
    assert watch.wake_ns() == T0 + S
    watch.beat(T0 + S, T0 + S)
    assert [(d.armed.ticket, d.reason) for d in watch.due(T0 + S)] == [(1, "max_duration")]
    assert not watch.fenced
    watch.settle(1, verified=True)
    assert list(watch.armed) == [2]


def test_watch_refuses_to_disarm_what_it_is_healing():
    """The runner must know that an undo is still at work before it puts an equal fault in."""
    watch = Watch(last_stamp_ns=T0)
    watch.arm(fault(1, deadline_ns=T0))
    watch.due(T0)
    assert not watch.disarm(1)
    watch.settle(1, verified=True)
    assert watch.disarm(1)


def test_watch_looks_again_once_when_a_frozen_runner_thaws():
    """A request may come out of the freeze after the healing: one more look at every fault."""
    watch = Watch(last_stamp_ns=T0)
    watch.arm(fault())
    assert watch.recheck() == []
    watch.due(T0 + SILENCE_NS)
    watch.settle(1, verified=True)
    assert [(d.armed.ticket, d.reason) for d in watch.recheck()] == [(1, "recheck")]
    watch.settle(1, verified=True)
    assert watch.recheck() == []


def test_watch_tries_the_unverified_again_when_its_runner_is_gone():
    """What could not be verified at its maximum duration gets another attempt at the end of the runner."""
    watch = Watch(last_stamp_ns=T0)
    watch.arm(fault(1, deadline_ns=T0))
    watch.due(T0)
    watch.settle(1, verified=False)
    assert watch.due(T0 + S) == []
    watch.release()
    assert [d.armed.ticket for d in watch.due(T0 + S)] == [1]
    watch.settle(1, verified=False)
    watch.release()
    assert watch.due(T0 + S) == []
    assert watch.unverified


def test_watch_takes_a_ticket_only_once():
    """A ticket that was used names the fault it was used for."""
    watch = Watch(last_stamp_ns=T0)
    assert watch.arm(fault())
    assert not watch.arm(fault())
    watch.disarm(1)
    assert not watch.arm(fault())


def test_watch_remembers_no_more_of_a_long_session_than_of_a_short_one():
    """A thaw looks again at all that was armed when the runner froze, and at the last faults before, not at those of hours ago."""
    watch = Watch(last_stamp_ns=T0)
    for ticket in range(1, 1000):
        assert watch.arm(fault(ticket))
        assert watch.disarm(ticket)
    assert list(watch.settled) == list(range(1000 - KEPT, 1000))
    assert not watch.arm(fault(1))
    for ticket in range(1000, 1000 + 2 * KEPT):
        assert watch.arm(fault(ticket))
    healed = [due.armed.ticket for due in watch.due(T0 + SILENCE_NS)]
    for ticket in healed:
        watch.settle(ticket, verified=True)
    assert len(healed) == 2 * KEPT
    assert {due.armed.ticket for due in watch.recheck()} == set(range(1000 - KEPT, 1000 + 2 * KEPT))


def test_watch_forgives_silence_while_nothing_is_armed():
    """A stall before the first fault costs a lease, not the session."""
    watch = Watch(last_stamp_ns=T0)
    assert watch.wake_ns() is None
    assert watch.due(T0 + 60 * S) == []
    assert watch.beat(T0 + 61 * S, T0 + 61 * S) == T0 + 61 * S + LEASE_NS
    assert watch.arm(fault())
