"""The ring of records: numbered from one, bounded, and honest about what a slow reader lost."""

from __future__ import annotations

from faults.model import Direction
from faults.proxy.tap_records import HttpObserver, RecordRing, TapNumbers


def test_ring_hands_out_what_is_new():
    """`since` is inclusive, and `next` is where to go on."""
    ring = RecordRing(10)
    for number in range(3):
        ring.append({"kind": "x", "v": number})
    records, following, lost = ring.since(2, 100)
    assert [(record["seq"], record["v"]) for record in records] == [(2, 1), (3, 2)]
    assert (following, lost) == (4, 0)
    assert ring.since(4, 100) == ([], 4, 0)


def test_ring_limits_a_batch():
    """A reader that is behind gets its records in batches, none twice."""
    ring = RecordRing(100)
    for number in range(10):
        ring.append({"v": number})
    records, following, _ = ring.since(1, 4)
    assert [record["v"] for record in records] == [0, 1, 2, 3]
    assert ring.since(following, 100)[0][0]["v"] == 4


def test_ring_counts_what_a_reader_lost():
    """Records that were overwritten before they were read are counted, for the reader and in all."""
    ring = RecordRing(4)
    for number in range(10):
        ring.append({"v": number})
    records, following, lost = ring.since(3, 100)
    assert [record["seq"] for record in records] == [7, 8, 9, 10]
    assert (following, lost) == (11, 4)
    assert ring.dropped == 6


def test_ring_lets_go_of_what_its_reader_has():
    """Nobody who begins has lost it; another reader in the middle of it has."""
    ring = RecordRing(100)
    for number in range(10):
        ring.append({"v": number})
    ring.forget(6)
    assert [record["seq"] for record in ring.since(0, 100)[0]] == [6, 7, 8, 9, 10]
    assert ring.since(0, 100)[2] == 0
    assert ring.since(6, 100)[2] == 0
    assert ring.since(3, 100)[2] == 3
    ring.forget(2)
    ring.forget(11)
    ring.append({"v": 10})
    assert ring.since(0, 100)[0] == [{"seq": 11, "v": 10}]


def test_ring_that_overflows_after_it_let_go_counts_what_was_lost():
    """What was overwritten unread is lost to everybody."""
    ring = RecordRing(4)
    ring.append({})
    ring.forget(2)
    for _ in range(6):
        ring.append({})
    assert ring.since(0, 100)[1:] == (8, 2)
    assert ring.since(2, 100)[1:] == (8, 2)


def test_ring_tells_of_each_record():
    """The reader that waits is woken."""
    told: list[int] = []
    ring = RecordRing(4, on_append=lambda: told.append(1))
    ring.append({})
    assert told == [1]


def test_arrival_may_be_as_old_as_the_pause_before_it():
    """While a caller is not read its requests wait in the kernel: `at` begins with the pause, until all was read."""
    ring, now = RecordRing(10), [0]
    observer = HttpObserver(ring, TapNumbers(), lambda: (now[0] - 1, now[0]), None)
    request = b"GET / HTTP/1.1\r\n\r\n"
    for at_ns, data in ((100, request), (200, None), (300, request * 15_000), (400, request), (500, request)):
        now[0] = at_ns
        if data is None:
            observer.paused(Direction.UPSTREAM)
        else:
            observer.data(Direction.UPSTREAM, data)
    arrivals = [record["at"] for record in ring.since(1, 10)[0] if record["kind"] == "arrival"]
    assert arrivals[-2:] == [(199, 400), (499, 500)]


def test_ring_of_a_new_process_tells_a_reader_of_the_old_one_that_it_lost_something():
    """Numbers begin anew: its records are handed out from the first, none is let go of unread, and the loss is told once."""
    ring = RecordRing(100)
    ring.append({"v": 0})
    ring.forget(5000)
    records, following, lost = ring.since(5000, 100)
    assert ([record["seq"] for record in records], following, lost) == ([1], 2, 1)
    assert ring.since(following, 100) == ([], 2, 0)
    assert RecordRing(4).since(5000, 100) == ([], 1, 1)
