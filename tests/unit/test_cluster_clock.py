"""Clocks of other machines: what round trips prove, and stamps brought to the runner's clock."""

import random

import pytest

from resilience.load.cluster_clock import DRIFT, ClockWatch, RoundTrip, on_runners_clock

MS = 10**6
S = 10**9


def trip(at, offset, there=MS, back=MS, stay=0, drifted=0):
    """A round trip that begins at `at`; the worker's clock is ahead by `offset`, and by `drifted` more when it answers."""
    heard = at + there
    return RoundTrip(at, heard + offset, heard + stay + offset + drifted, heard + stay + back)


def watched(*trips, fixed_after=1):
    """A watch that was fixed after so many round trips."""
    watch = ClockWatch()
    for k, each in enumerate(trips, 1):
        watch.add(each)
        if k == fixed_after:
            watch.fix()
    return watch


def test_clock_offset_lies_between_what_each_way_allows():
    """One millisecond there and three back: the offset is known to four, whatever is assumed of the ways."""
    watch = watched(trip(0, 300 * MS, there=MS, back=3 * MS))
    assert watch.shift_ns == pytest.approx(299 * MS, abs=10_000)
    least, most = watch.error_ns
    assert least <= 300 * MS - watch.shift_ns <= most
    assert most - least == pytest.approx(4 * MS, rel=0.01)


def test_clock_round_trips_are_intersected():
    """A quick way there and, another time, a quick way back make one narrow interval."""
    trips = (trip(0, 7, there=10, back=5 * MS), trip(10 * MS, 7, there=5 * MS, back=10))
    least, most = watched(*trips, fixed_after=2).error_ns
    assert most - least < 0.1 * MS


def test_clock_that_jumps_leaves_an_error_as_wide_as_the_jump():
    """Found, counted, and both offsets are within the error."""
    steady = [trip(k * S, 0) for k in range(3)]
    for jump in (300 * MS, -300 * MS):
        watch = watched(*steady, *(trip(k * S, jump) for k in range(3, 6)))
        assert watch.jumps == 1
        least, most = watch.error_ns
        assert least <= 0 - watch.shift_ns <= most
        assert least <= jump - watch.shift_ns <= most
        assert most - least < 310 * MS


def test_clock_that_jumps_within_a_round_trip_is_found():
    """Ahead by more than the trip took: the answer was told later than it can have been received."""
    watch = watched(trip(0, 0), trip(S, 0, stay=S, drifted=300 * MS), trip(3 * S, 300 * MS))
    assert watch.jumps == 1
    assert watch.error_ns[1] >= 300 * MS - watch.shift_ns


def test_clock_error_holds_whatever_drifts_and_delays_there_are():
    """Over a thousand random runs the true offset never leaves the interval that is claimed for it."""
    draw = random.Random(7)
    for _ in range(1_000):
        watch, offset, at, seen = ClockWatch(), draw.randrange(-(10**15), 10**15), 0, []
        for k in range(20):
            there, back, stay = (round(draw.expovariate(1 / (2 * MS))) for _ in range(3))
            rate = draw.uniform(-DRIFT, DRIFT) * 0.99
            told = round(rate * (there + stay + back))
            watch.add(trip(at, offset, there, back, stay, told))
            if k == 4:
                watch.fix()
            elif k > 4:
                seen.append(offset + told - watch.shift_ns)
            pause = draw.randrange(S)
            offset += told + round(rate * pause)
            at += there + stay + back + pause
        least, most = watch.error_ns
        assert watch.jumps == 0
        assert all(least - 2 <= each <= most + 2 for each in seen)


def test_clock_cannot_be_fixed_before_anything_is_known():
    """No guess is made."""
    watch = ClockWatch()
    assert not watch.known
    with pytest.raises(ValueError, match="nothing is known"):
        watch.fix()


def test_round_trip_that_ends_before_it_begins_is_refused():
    """The runner's own stamps are in order."""
    with pytest.raises(ValueError, match="ends before it begins"):
        RoundTrip(5, 0, 0, 4)


def test_messages_keep_counts_and_durations_and_move_instants():
    """Every instant of every kind of message, and nothing else."""
    assert on_runners_clock({"kind": "bins", "s": 5, "n": {"ok": 1}}, 100) == {
        "kind": "bins",
        "s": 5,
        "n": {"ok": 1},
    }
    assert on_runners_clock({"kind": "worker", "t": 150, "stall_ns": 7}, 100) == {
        "kind": "worker",
        "t": 50,
        "stall_ns": 7,
    }
    end = on_runners_clock({"kind": "end", "t": 150, "epoch_ns": 110, "herd_writes": [[3, 120, 130]]}, 100)
    assert (end["t"], end["epoch_ns"], end["herd_writes"]) == (50, 10, [[3, 20, 30]])
    rows = [[170, 111, 112, 113, None, 115, 200, "ok", "a"]]
    assert on_runners_clock({"kind": "call", "rows": rows}, 100)["rows"] == [
        [170, 11, 12, 13, None, 15, 200, "ok", "a"]
    ]
    note = {"what": "order", "i": 170, "at": [111, 112], "order": 170}
    assert on_runners_clock({"kind": "note", "rows": [note]}, 100)["rows"] == [{**note, "at": [11, 12]}]
    socket = {
        "what": "socket",
        "i": 1,
        "opened": 111,
        "welcomed": None,
        "left": 190,
        "heard": {"1": 120},
        "waited": [150],
    }
    moved = {**socket, "opened": 11, "left": 90, "heard": {"1": 20}}
    assert on_runners_clock({"kind": "note", "rows": [socket]}, 100)["rows"] == [moved]
