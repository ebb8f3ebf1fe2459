"""Targets that misbehave: each ends in its category, and the sum is what was offered."""

import asyncio
import socket
import time

import pytest
from load_peers import listening

from resilience.load.engine import LoadEngine
from resilience.load.model import Herd, HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.metrics.fold import LoadTable
from resilience.metrics.outcomes import CATEGORIES

pytestmark = pytest.mark.integration

MS = 10**6
S = 10**9
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"


def target(handle):
    """A server that lets `handle(reader, writer)` do what it wants with each connection, and give up waiting."""
    return listening(handle, forgiven=(TimeoutError,))


async def drive(
    port, *, streams=None, workers=1, duration_ns=400 * MS, method="GET", timeout_ns=500 * MS, connections=4
):
    """Offer 40 in 0.4 s (or the given streams) and return the table and the messages."""
    request = HttpRequest(url=f"http://127.0.0.1:{port}/q", method=method)
    streams = streams or [
        Stream(
            name="load",
            shape=(RateSegment(0, duration_ns, 100.0, 100.0),),
            arrival="uniform",
            request=request,
            deadline_ns=5 * S,
            timeout_ns=timeout_ns,
            record_calls=True,
            connections=connections,
        )
    ]
    messages = []
    phases = (PhaseWindow("all", 0, duration_ns),)
    async with LoadEngine(streams, phases, workers=workers, run_id="t", on_message=messages.append) as engine:
        await engine.prepare()
        await engine.start(time.monotonic_ns() + 50 * MS)
        await engine.finish(duration_ns / S + 10)
    return LoadTable.from_messages(messages, phases), messages


def only(table, load="load"):
    """The categories that are not empty, after the law of conservation was checked."""
    counts = table.bin(load).counts
    assert sum(counts[name] for name in CATEGORIES) == counts["offered"]
    return {name: counts[name] for name in CATEGORIES if counts[name]}


def answering(data, *, then_close=False):
    """A handler that answers every request with the same bytes."""

    async def handle(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(data)
            await writer.drain()
            if then_close:
                return

    return handle


@pytest.mark.parametrize(
    ("data", "close", "category"),
    [
        (BODY, False, "ok"),
        (BODY.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), True, "ok"),
        (CHUNKED, False, "ok"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + BODY, False, "ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", True, "ok"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False, "4xx"),
        (b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", False, "shed"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False, "5xx"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", False, "shed"),
        (BODY[:-2], True, "reset"),
        (b"HTTP/1.1 20", True, "reset"),
        (CHUNKED.partition(b"lo\r\n")[0], True, "reset"),
        (CHUNKED.replace(b"5\r\n", b"five\r\n", 1), True, "protocol"),
        (b"", True, "reset"),
        (b"", False, "timeout"),
        (BODY[:-2], False, "timeout"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "protocol"),
        (b"\x00\xff" * 50, True, "protocol"),
    ],
)
async def test_engine_files_each_answer_in_its_category(data, close, category):
    """Every one of 40 operations lands in the one category that fits what the target did."""
    async with target(answering(data, then_close=close)) as port:
        table, _ = await drive(port)
    assert only(table) == {category: 40}


async def test_engine_counts_a_refusing_target_as_connect():
    """Nothing listens: every operation fails to connect, and none is left out."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        table, _ = await drive(unused.getsockname()[1])
    assert only(table) == {"connect": 40}


async def test_engine_ends_endless_headers():
    """A peer that sends header after header is found out long before the time-out."""

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Filler: %b\r\n" % (b"a" * 4000))
            await writer.drain()

    async with target(handle) as port:
        table, _ = await drive(port, timeout_ns=20 * S)
    assert only(table) == {"protocol": 40}


async def test_engine_reads_an_answer_that_comes_byte_by_byte():
    """A head and a body in pieces of one byte are one answer."""

    async def handle(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            for byte in BODY:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

    async with target(handle) as port:
        table, _ = await drive(port, timeout_ns=10 * S)
    assert only(table) == {"ok": 40}


async def test_engine_head_requests_have_no_body():
    """The answer to HEAD announces a length and sends none; the connection is used again."""
    opened = []

    async def handle(reader, writer):
        opened.append(writer)
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")

    async with target(handle) as port:
        table, _ = await drive(port, method="HEAD", timeout_ns=10 * S)
    assert only(table) == {"ok": 40}
    assert len(opened) <= 40


async def test_engine_survives_a_target_that_speaks_unasked():
    """Bytes on an idle connection cost that connection, and no operation its answer."""

    async def handle(reader, writer):
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await answering(BODY)(reader, writer)

    async with target(handle) as port:
        table, _ = await drive(port, timeout_ns=2 * S)
    counts = only(table)
    assert sum(counts.values()) == 40


async def test_engine_counts_dropped_and_unfinished_arrivals():
    """At the in-flight cap arrivals are dropped, at the end the rest is unfinished: all failures, none left out."""
    async with target(answering(b"")) as port:
        request = HttpRequest(url=f"http://127.0.0.1:{port}/")
        stream = Stream(
            name="load",
            shape=(RateSegment(0, S, 50.0, 50.0),),
            arrival="uniform",
            request=request,
            deadline_ns=S,
            timeout_ns=60 * S,
            in_flight_cap=10,
            connections=5,
        )
        messages = []
        phases = (PhaseWindow("all", 0, S),)
        async with LoadEngine([stream], phases, workers=2, run_id="t", on_message=messages.append) as engine:
            await engine.prepare()
            await engine.start(time.monotonic_ns())
            await engine.finish(1.5)
    table = LoadTable.from_messages(messages, phases)
    assert only(table) == {"dropped": 40, "unfinished": 10}


async def test_engine_herd_on_open_connections_of_several_workers():
    """Three workers offer one herd of 100 once, with ids that nobody shares."""
    seen = []

    async def handle(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            seen.append(head)
            writer.write(BODY)

    async with target(handle) as port:
        stream = Stream(
            name="herd",
            shape=Herd(100, 200 * MS),
            arrival="uniform",
            request=HttpRequest(url=f"http://127.0.0.1:{port}/{{i}}"),
            deadline_ns=10 * S,
            timeout_ns=10 * S,
            connections=100,
        )
        table, messages = await drive(port, streams=[stream], workers=3)
    assert only(table, "herd") == {"ok": 100}
    ids = {line for head in seen for line in head.split(b"\r\n") if line.startswith(b"X-Request-Id")}
    assert ids == {b"X-Request-Id: t-herd-%d" % i for i in range(100)}
    ends = [message for message in messages if message["kind"] == "end"]
    assert sum(end["scheduled"] for end in ends) == sum(end["finished"] for end in ends) == 100
    assert all(end["herd_spread_ns"] >= 0 for end in ends)


async def test_engine_tells_degraded_answers_and_instances():
    """The target's own mark makes an answer a fallback; the instance that gave it stands in the call's row."""
    turn = iter(range(10**6))

    async def handle(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            mark = b"X-Degraded: TRUE\r\n" if next(turn) % 2 else b""
            writer.write(b"HTTP/1.1 200 OK\r\nx-instance: g-2\r\n%bContent-Length: 2\r\n\r\nhi" % mark)

    async with target(handle) as port:
        stream = Stream(
            name="load",
            shape=(RateSegment(0, 400 * MS, 100.0, 100.0),),
            arrival="uniform",
            request=HttpRequest(
                url=f"http://127.0.0.1:{port}/",
                degraded_header=("X-Degraded", "true"),
                instance_header="X-Instance",
            ),
            deadline_ns=10 * S,
            timeout_ns=10 * S,
            record_calls=True,
        )
        table, messages = await drive(port, streams=[stream])
    assert only(table) == {"ok": 20, "degraded": 20}
    calls = [call for message in messages if message["kind"] == "call" for call in message["rows"]]
    assert sorted(call[0] for call in calls) == list(range(40))
    for _, intended, start, sent, first, done, status, outcome, instance in calls:
        assert intended <= start <= sent <= first <= done
        assert (status, instance) == (200, "g-2")
        assert outcome in {"ok", "degraded"}


async def test_engine_checks_the_json_of_every_answer():
    """An expectation on the body is asked of each answer, also of those whose head was seen before."""
    turn = iter(range(10**6))

    async def handle(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            price = next(turn) % 2
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"price":%d}' % price)

    async with target(handle) as port:
        stream = Stream(
            name="load",
            shape=(RateSegment(0, 400 * MS, 100.0, 100.0),),
            arrival="uniform",
            request=HttpRequest(url=f"http://127.0.0.1:{port}/", expect_json=(("price", "1"),)),
            deadline_ns=10 * S,
            timeout_ns=10 * S,
        )
        table, _ = await drive(port, streams=[stream])
    assert only(table) == {"ok": 20, "wrong_data": 20}
