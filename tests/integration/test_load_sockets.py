"""WebSocket peers that misbehave, on the bare wire: every close code, and frames that are none."""

import asyncio
import base64
import contextlib
import hashlib
import time

import pytest
from load_peers import listening

from resilience.load.close_codes import closed_outcome
from resilience.load.engine import LoadEngine
from resilience.load.model import Herd, PhaseWindow, RateSegment, Stream
from resilience.load.requests import WebSocketRequest
from resilience.metrics.fold import LoadTable
from resilience.metrics.outcomes import CATEGORIES

pytestmark = pytest.mark.integration

S = 10**9
FEW = (RateSegment(0, S // 5, 50.0, 50.0),)
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload, *, fin=True):
    """A frame as servers send it, up to 65,535 bytes."""
    size = len(payload)
    head = (
        bytes([opcode | (0x80 if fin else 0), size])
        if size < 126
        else bytes([opcode | (0x80 if fin else 0), 126])
    )
    return head + (size.to_bytes(2) if size >= 126 else b"") + payload


async def read_frame(reader):
    """Opcode and unmasked payload of a short frame of a client."""
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[k % 4] for k, byte in enumerate(payload))


def peer(speak, *, at_once=b""):
    """A server that shakes hands, says something in the same breath, and then lets `speak(path, reader, writer)` do what it wants."""

    async def shake_hands(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        (key,) = (
            line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key")
        )
        assert fields["upgrade"] == "websocket"
        accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n%b" % (accept, at_once)
        )
        await speak(head.split(" ")[1], reader, writer)

    return listening(shake_hands)


async def drive(request, shape, *, timeout_ns=10 * S):
    """Drive a request; outcome and status of each call by its number, and the counts."""
    messages = []
    stream = Stream(
        name="load",
        shape=shape,
        arrival="uniform",
        request=request,
        deadline_ns=10 * S,
        timeout_ns=timeout_ns,
        record_calls=True,
    )
    phases = (PhaseWindow("all", 0, 60 * S),)
    async with LoadEngine([stream], phases, workers=1, run_id="t", on_message=messages.append) as engine:
        await engine.prepare()
        await engine.start(time.monotonic_ns())
        await engine.finish(30)
    counts = LoadTable.from_messages(messages).bin("load").counts
    assert sum(counts[name] for name in CATEGORIES) == counts["offered"]
    calls = {row[0]: (row[7], row[6]) for m in messages if m["kind"] == "call" for row in m["rows"]}
    assert len(calls) == counts["offered"]
    return calls, counts


def waiting(port, path, **changes):
    """A request that sends a message and waits for its answer."""
    return WebSocketRequest(url=f"ws://127.0.0.1:{port}/{path}", messages=("hello",), **changes)


async def test_websocket_driver_files_every_close_code():
    """Closed with 1000 to 1015, with a code of an application, without any, or not at all: each has its category, and its code."""
    codes = [*range(1000, 1016), 2999, 3000, 4999]
    rows = tuple({"code": str(code)} for code in codes)

    async def close(path, reader, writer):
        await read_frame(reader)
        code = int(path.removeprefix("/"))
        writer.write(frame(0x8, b"" if code == 1005 else code.to_bytes(2) + b"so it is"))
        with contextlib.suppress(asyncio.IncompleteReadError):
            await reader.read()

    async with peer(close) as port:
        calls, _ = await drive(waiting(port, "{code}", data=rows), Herd(3 * len(codes), 0))
    for i, (outcome, status) in calls.items():
        code = codes[i % len(codes)]
        # Some may not stand in a close frame: there they are a lie, and no status.
        lie = code in {1004, 1006, 1015}
        assert outcome == ("protocol" if lie else closed_outcome(code)), code
        assert status == (None if lie else code), code
    assert {outcome for outcome, _ in calls.values()} == {"reset", "protocol", "4xx", "5xx", "shed"}


SAID = (
    # what the peer says to a message, and what that is
    (frame(0x1, b"hello"), "ok"),
    (frame(0x1, b"hel", fin=False) + frame(0x9, b"ping") + frame(0x0, b"lo"), "ok"),
    (frame(0x9, b"") + frame(0xA, b"unasked") + frame(0x1, b"hello"), "ok"),
    (frame(0x2, b"hello"), "wrong_data"),
    (frame(0x1, b"x" * 60_000), "wrong_data"),
    (frame(0x1, b"\xff\xfe"), "protocol"),
    (frame(0x0, b"nothing to go on with"), "protocol"),
    (frame(0x3, b"no such opcode"), "protocol"),
    (bytes([0x81 | 0x40, 5]) + b"hello", "protocol"),
    (frame(0x1, b"cut off")[:4], "reset"),
    (b"", "reset"),
)


async def test_websocket_driver_files_what_the_peer_says():
    """Whole, in fragments, broken or cut off: each answer lands in the one category that fits it."""

    async def answer(path, reader, writer):
        said, category = SAID[int(path[1:])]
        await read_frame(reader)
        writer.write(said)
        await writer.drain()
        if category != "reset":
            await reader.read()

    async with peer(answer) as port:
        rows = tuple({"n": str(n)} for n in range(len(SAID)))
        calls, _ = await drive(waiting(port, "{n}", echo=True, data=rows), Herd(3 * len(SAID), 0))
    for i, (outcome, _) in calls.items():
        said, category = SAID[i % len(SAID)]
        assert outcome == category, said[:40]


async def test_websocket_driver_hears_a_welcome_that_comes_with_the_handshake():
    """What follows the handshake's answer in the same packet are frames, and nothing of them is lost."""

    async def echo(_path, reader, writer):
        while True:
            opcode, payload = await read_frame(reader)
            writer.write(frame(opcode, payload))

    welcome = frame(0x1, b'{"type":"welcome"}')
    async with peer(echo, at_once=welcome + frame(0x9, b"there?")) as port:
        request = waiting(port, "", welcome=True, welcome_json=(("type", '"welcome"'),))
        calls, _ = await drive(request, FEW)
        # The ping was answered with a pong before the message was sent, which this server echoes, too.
        assert {outcome for outcome, _ in calls.values()} == {"ok"}


HANDSHAKES = (
    # what the peer answers to the handshake before it hangs up, and what that is
    (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", "4xx"),
    (b"HTTP/1.1 503 Busy\r\n\r\nuntil the end", "shed"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "wrong_data"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "protocol"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "protocol"),
    (b"HTTP/1.1 101 Swit", "reset"),
    (b"", "reset"),
)


async def test_websocket_driver_files_each_answer_to_the_handshake():
    """Refused, without the key's digest, garbage, or cut off: each has its category."""

    async def respond(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        answer, _ = HANDSHAKES[int(head.split(b" ")[1][1:])]
        writer.write(answer)
        await writer.drain()

    async with listening(respond) as port:
        rows = tuple({"n": str(n)} for n in range(len(HANDSHAKES)))
        calls, _ = await drive(waiting(port, "{n}", data=rows), Herd(3 * len(HANDSHAKES), 0))
    for i, (outcome, _) in calls.items():
        answer, category = HANDSHAKES[i % len(HANDSHAKES)]
        assert outcome == category, answer


async def test_websocket_driver_times_out_on_a_silent_peer():
    """Who never answers the message is timed out; who never answers the handshake never connected."""

    async def nothing(_path, reader, _writer):
        await reader.read()

    async with peer(nothing) as port:
        _, counts = await drive(waiting(port, ""), FEW, timeout_ns=S // 5)
    assert counts["timeout"] == 10

    async def mute(reader, _writer):
        await reader.read()

    async with listening(mute) as port:
        _, counts = await drive(waiting(port, ""), FEW, timeout_ns=S // 5)
    assert counts["connect"] == 10
