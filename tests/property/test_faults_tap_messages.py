"""The tap's view of HTTP does not depend on how the bytes were split, nor on what they carry."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.http_messages import MAX_HEAD_BYTES, Done, Head, MessageScanner

BODY = st.binary(max_size=200)


def chunked(body: bytes, size_bytes: int) -> bytes:
    """Encode a body in chunks."""
    parts = [body[at : at + size_bytes] for at in range(0, len(body), size_bytes)]
    return b"".join(b"%x;x=y\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\nT: v\r\n\r\n"


def request(number: int, body: bytes | None, size_bytes: int | None) -> bytes:
    """Write a request with no body, a counted or a chunked one."""
    head = b"POST /r/%d HTTP/1.1\r\nHost: a\r\nX-Request-Id:  id-%d \r\n" % (number, number)
    if body is None:
        return head + b"\r\n"
    if size_bytes is None:
        return head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, size_bytes)


MESSAGES = st.lists(st.tuples(st.none() | BODY, st.none() | st.integers(1, 50)), min_size=1, max_size=6)


def scan(data: bytes, cuts: list[int], scanner: MessageScanner) -> list[Head | Done]:
    """Feed `data` in pieces that end at `cuts`."""
    events: list[Head | Done] = []
    start = 0
    for end in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        events.extend(scanner.feed(data[start:end]))
        start = end
    return events


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 10_000), max_size=12))
def test_scanner_sees_the_same_requests_in_every_split(messages, cuts):
    """One head and one end per request, in order, with the right path and id."""
    data = b"".join(request(number, body, size) for number, (body, size) in enumerate(messages))
    events = scan(data, cuts, MessageScanner())
    heads = [event for event in events if isinstance(event, Head)]
    assert [head.second for head in heads] == [f"/r/{number}" for number in range(len(messages))]
    assert [head.headers["x-request-id"] for head in heads] == [
        f"id-{number}" for number in range(len(messages))
    ]
    assert events == [event for head in heads for event in (head, Done())]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_scanner_reads_answers_without_bodies(cuts):
    """Answers to HEAD, 204, 304 and interim 1xx do not swallow what follows."""
    scanner = MessageScanner(responses=True)
    scanner.methods.extend(["HEAD", "GET", "POST", "GET", "GET"])
    data = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
        b"HTTP/1.0 500 Oops\r\n\r\nuntil the end HTTP/1.1 200 OK\r\n\r\n"
    )
    events = scan(data, cuts, scanner)
    heads = [event.second for event in events if isinstance(event, Head)]
    assert heads == ["200", "304", "100", "204", "200", "500"]
    assert sum(isinstance(event, Done) for event in events) == 4
    assert scanner.until_end


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_scanner_survives_anything(data, cuts, responses):
    """Garbage is never an exception, and memory stays bounded."""
    scanner = MessageScanner(responses=responses)
    scan(data, cuts, scanner)
    assert len(scanner._buffer) <= MAX_HEAD_BYTES


def test_scanner_gives_up_on_an_endless_head():
    """A head that does not end is not collected for ever."""
    scanner = MessageScanner()
    for _ in range(200):
        list(scanner.feed(b"GET / HTTP/1.1\r\nA: " + b"x" * 1000 + b"\r\n"))
    assert scanner.opaque
    assert not scanner._buffer


def test_scanner_stops_reporting_after_an_upgrade():
    """What follows a 101 is not HTTP."""
    scanner = MessageScanner(responses=True)
    events = list(scanner.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))
    assert [event.second for event in events if isinstance(event, Head)] == ["101"]
    assert scanner.opaque


def test_scanner_leaves_memory_without_a_collection():
    """It holds no circle of references: a tap makes two for each connection."""
    gc.disable()
    try:
        scanner = MessageScanner()
        list(scanner.feed(b"GET / HTTP/1.1\r\n\r\n"))
        gone = weakref.ref(scanner)
        del scanner
        assert gone() is None
    finally:
        gc.enable()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("size", [b"-7", b"+3", b"1_0", b"0x3", b"", b"f" * 17, "\u0663".encode()])
def test_scanner_follows_no_size_that_http_does_not_have(size: bytes):
    """What Python takes for a number is more than a size: a sign led back to what had been read, without end."""
    scanner = MessageScanner(responses=True)
    events = scanner.feed(CHUNKED + b"3\r\nabc\r\n" + size + b"\r\n" + b"x" * 50)
    assert len(list(itertools.islice(events, 10))) == 1
    assert scanner.opaque


@pytest.mark.parametrize("status", ["\xb200", "2000", "9" * 5000, "-20", "20"])
def test_scanner_takes_only_three_digits_for_a_status(status: str):
    """Latin-1 has digits that are no numbers, and a number can be too long to be read."""
    scanner = MessageScanner(responses=True)
    list(scanner.feed(f"HTTP/1.1 {status} OK\r\nContent-Length: 0\r\n\r\n".encode("latin-1")))
    assert scanner.opaque


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000, "-1"])
def test_scanner_survives_a_length_that_is_none(length: str):
    """It is taken for no body, as a client that understands it in another way is beyond help."""
    head = f"POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")
    assert [type(event) for event in MessageScanner().feed(head)] == [Head, Done]
