"""What each toxic is for, to the nanosecond: its delays, rates, cuts and ends, on an imaginary clock."""

from __future__ import annotations

import random

import pytest

from faults.model import Chunk
from faults.testing import ToxicConversation
from faults.toxics import Toxic
from faults.toxics import chain as chains
from faults.toxics.bandwidth import Bandwidth
from faults.toxics.base import MS_NS, Data, Detached, Emit, End, Ending, Updated
from faults.toxics.corrupt import Corrupt
from faults.toxics.latency import Latency
from faults.toxics.limit_data import LimitData
from faults.toxics.limit_time import LimitTime
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.slicer import Slicer
from faults.toxics.slow_close import SlowClose
from faults.toxics.timeout import Timeout

START_NS = 10**12


def talk(toxic: Toxic) -> ToxicConversation:
    """Begin a conversation at `START_NS`."""
    return ToxicConversation(toxic, seed=1)


def say(conversation: ToxicConversation, data: bytes) -> None:
    """Read `data` now."""
    conversation.tell(Data(Chunk(data, conversation.now_ns)))


def test_latency_counts_from_when_each_chunk_was_read():
    """Chunks 10 ms apart leave 10 ms apart, each after its own 100 ms."""
    conversation = talk(Latency(100))
    for letter in (b"a", b"b", b"c"):
        say(conversation, letter)
        conversation.now_ns += 10 * MS_NS
    for passed_ms, out in ((99, b""), (100, b"a"), (109, b"a"), (110, b"ab"), (120, b"abc")):
        conversation.run_until(START_NS + passed_ms * MS_NS)
        assert conversation.emitted == out


def test_latency_flushes_when_removed_and_moves_when_updated():
    """An update counts anew from the read; removal gives everything up at once."""
    conversation = talk(Latency(1000))
    say(conversation, b"abc")
    conversation.toxic = Latency(50)
    conversation.run_until(START_NS + 10 * MS_NS)
    conversation.tell(Updated())
    assert conversation.alarm_ns == START_NS + 50 * MS_NS
    conversation.tell(Detached())
    assert conversation.emitted == b"abc"


def test_latency_jitter_is_uniform_around_the_latency_and_never_negative():
    """Delays of lone chunks lie in [L-J, L+J) and use most of it; where that is negative, zero."""
    delays_ms = []
    for seed in range(300):
        conversation = ToxicConversation(Latency(20, 30), seed)
        say(conversation, b"x")
        due_ns = conversation.alarm_ns or conversation.now_ns
        delays_ms.append((due_ns - conversation.now_ns) / MS_NS)
    assert min(delays_ms) == 0
    assert 45 < max(delays_ms) < 50
    assert 30 <= sum(delay == 0 for delay in delays_ms) <= 80


def test_two_latencies_add_and_a_late_timer_does_not():
    """50 ms and 70 ms are 120 ms, even if the first alarm rings 5 ms late."""
    chain = chains.Chain(10**6)
    for order, toxic in enumerate((Latency(50), Latency(70))):
        chain, _ = chains.attach(chain, str(order), order, toxic, random.Random(1), START_NS)
    chain, _ = chains.feed(chain, Data(Chunk(b"x", START_NS)), START_NS)
    assert chain.alarm_ns == START_NS + 50 * MS_NS
    chain, _ = chains.wake(chain, START_NS + 55 * MS_NS)
    assert chain.alarm_ns == START_NS + 120 * MS_NS
    chain, outputs = chains.wake(chain, START_NS + 120 * MS_NS)
    assert [output.chunk.data for output in outputs if isinstance(output, Emit)] == [b"x"]


def test_bandwidth_takes_the_time_its_rate_says():
    """25 kB at 100 KB/s are over after 250 ms, in pieces of 100 ms."""
    conversation = talk(Bandwidth(100))
    say(conversation, b"x" * 25_000)
    for passed_ms, out_bytes in ((99, 0), (100, 10_000), (200, 20_000), (249, 20_000), (250, 25_000)):
        conversation.run_until(START_NS + passed_ms * MS_NS)
        assert len(conversation.emitted) == out_bytes


def test_bandwidth_saves_up_no_credit_while_idle():
    """After a pause the next bytes take as long as the first."""
    conversation = talk(Bandwidth(100))
    conversation.run_until(START_NS + 5000 * MS_NS)
    say(conversation, b"x" * 1000)
    assert conversation.alarm_ns == START_NS + 5010 * MS_NS


def test_bandwidth_zero_holds_until_it_is_updated():
    """Nothing passes, nothing is lost, and a rate lets it go on."""
    conversation = talk(Bandwidth(0))
    say(conversation, b"x" * 1000)
    conversation.run_until(START_NS + 10**6 * MS_NS)
    assert conversation.emitted == b""
    conversation.toxic = Bandwidth(1000)
    conversation.tell(Updated())
    conversation.run_until(conversation.now_ns + MS_NS)
    assert len(conversation.emitted) == 1000


def test_slow_close_delays_the_end_and_nothing_else():
    """Data passes at once, the end after its delay."""
    conversation = talk(SlowClose(300))
    say(conversation, b"x")
    assert conversation.emitted == b"x"
    conversation.tell(End(Ending.FIN))
    conversation.run_until(START_NS + 299 * MS_NS)
    assert conversation.ending is None
    conversation.run_until(START_NS + 300 * MS_NS)
    assert conversation.ending is Ending.FIN


def test_timeout_drops_data_and_closes_on_time_although_the_peer_talks_on():
    """The clock starts when the toxic begins to act; data does not start it anew."""
    conversation = talk(Timeout(100))
    for _ in range(9):
        conversation.run_until(conversation.now_ns + 11 * MS_NS)
        say(conversation, b"lost")
    assert conversation.ending is None
    conversation.run_until(START_NS + 100 * MS_NS)
    assert (conversation.ending, conversation.emitted) == (Ending.CLOSE, b"")


@pytest.mark.parametrize("toxic", [Timeout(0), Timeout(1000)])
def test_timeout_closes_when_it_is_removed(toxic: Timeout):
    """Bytes were dropped: the stream cannot go on."""
    conversation = talk(toxic)
    conversation.tell(Detached())
    assert conversation.ending is Ending.CLOSE


def test_reset_peer_waits_for_the_first_data():
    """An idle connection is left alone; after the first byte it takes `timeout` ms."""
    conversation = talk(ResetPeer(50))
    conversation.run_until(START_NS + 10**6 * MS_NS)
    assert conversation.ending is None
    say(conversation, b"x")
    conversation.run_until(conversation.now_ns + 50 * MS_NS)
    assert (conversation.ending, conversation.emitted) == (Ending.RESET, b"")


def test_limit_data_counts_over_updates():
    """Raising the limit lets more pass, not the whole of it again."""
    conversation = talk(LimitData(5))
    say(conversation, b"abc")
    conversation.toxic = LimitData(6)
    conversation.tell(Updated())
    say(conversation, b"defghi")
    assert (conversation.emitted, conversation.ending) == (b"abcdef", Ending.CLOSE)


def test_slicer_cuts_and_spaces():
    """Pieces are near the average, microseconds apart, and none is empty."""
    conversation = talk(Slicer(100, 20, 250))
    say(conversation, b"x" * 1000)
    sizes = [len(conversation.emitted)]
    while conversation.alarm_ns is not None:
        assert conversation.alarm_ns - conversation.now_ns == 250_000
        before_bytes = len(conversation.emitted)
        conversation.run_until(conversation.alarm_ns)
        sizes.append(len(conversation.emitted) - before_bytes)
    assert sum(sizes) == 1000
    assert 8 <= len(sizes) <= 25
    assert all(1 <= size <= 120 for size in sizes)


@pytest.mark.parametrize(
    "toxic",
    [
        Latency(-1),
        Latency(0, -1),
        Bandwidth(-1),
        SlowClose(-1),
        Timeout(-1),
        ResetPeer(-1),
        LimitData(-1),
        Slicer(),
    ],
)
def test_toxics_name_what_is_wrong_with_them(toxic: Toxic):
    """Attributes that cannot work are named."""
    assert toxic.problems()


def test_limit_time_passes_data_and_closes_on_time():
    """Bytes pass until the time is up, counted from when the toxic began to act."""
    conversation = talk(LimitTime(100))
    say(conversation, b"abc")
    conversation.run_until(START_NS + 99 * MS_NS)
    assert (conversation.emitted, conversation.ending) == (b"abc", None)
    conversation.run_until(START_NS + 100 * MS_NS)
    assert conversation.ending is Ending.CLOSE


def test_corrupt_hits_its_share_of_bytes_whatever_the_split():
    """One bit of about one byte in a hundred, the same bytes for one seed in any split."""

    def damage(size_bytes: int) -> bytes:
        conversation = ToxicConversation(Corrupt(10_000), seed=3, damages=True)
        for _ in range(100_000 // size_bytes):
            say(conversation, bytes(size_bytes))
        return conversation.emitted

    whole = damage(100_000)
    assert whole == damage(1000)
    hit = [byte for byte in whole if byte]
    assert 800 <= len(hit) <= 1200
    assert all(byte.bit_count() == 1 for byte in hit)
