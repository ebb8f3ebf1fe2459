"""WebSocket frames: what was written is what is read, in whatever pieces it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.load.socket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MESSAGE_BYTES,
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameReader,
    encode,
)


def unmasked(frame):
    """A client's frame as a server would have sent it: the mask taken off, the bit cleared."""
    size, start = frame[1] & 0x7F, 2
    if size >= 126:
        start = 4 if size == 126 else 10
    mask, payload = frame[start : start + 4], frame[start + 4 :]
    plain = bytes(byte ^ mask[k % 4] for k, byte in enumerate(payload))
    return bytes([frame[0], frame[1] & 0x7F]) + frame[2:start] + plain


def server_frame(opcode, payload, *, fin):
    """A frame of a server, with or without the final bit."""
    plain = unmasked(encode(opcode, payload, bytes(4)))
    return plain if fin else bytes([plain[0] & 0x7F]) + plain[1:]


MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.binary(max_size=300), min_size=1, max_size=4)),
        st.tuples(
            st.sampled_from([PING, PONG, CLOSE]), st.lists(st.binary(max_size=125), min_size=1, max_size=1)
        ),
    ),
    max_size=8,
)


@given(MESSAGES, st.lists(st.integers(1, 50), max_size=30), st.booleans())
def test_frame_reader_gives_the_same_messages_for_every_split(messages, cuts, interrupt):
    """Fragments, control frames between them, and any cutting of the bytes: the messages come out whole and in order."""
    wire, wanted = b"", []
    for opcode, parts in messages:
        for k, part in enumerate(parts):
            last = k == len(parts) - 1
            wire += server_frame(opcode if k == 0 else CONTINUATION, part, fin=last)
            if interrupt and not last:
                wire += server_frame(PING, b"there?", fin=True)
                wanted.append((PING, b"there?"))
        wanted.append((opcode, b"".join(parts)))
    reader, heard = FrameReader(), []
    for size in cuts:
        piece, wire = wire[:size], wire[size:]
        heard += reader.feed(piece)
    heard += reader.feed(wire)
    assert heard == wanted


@given(st.sampled_from([TEXT, BINARY]), st.binary(max_size=1000), st.binary(min_size=4, max_size=4))
def test_encode_masks_what_the_reader_unmasked_reads(opcode, payload, mask):
    """A client's frame is masked with its mask, and says its length."""
    frame = encode(opcode, payload, mask)
    assert frame[1] & 0x80
    assert list(FrameReader().feed(unmasked(frame))) == [(opcode, payload)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_encode_says_the_length_in_the_shortest_form(size):
    """Two, four or ten bytes of head before the mask."""
    frame = encode(BINARY, bytes(size), b"\1\2\3\4")
    assert len(frame) == size + 4 + (2 if size < 126 else 4 if size < 65_536 else 10)


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (bytes([0xC1, 0]), 1002),
        (bytes([0x81, 0x80]), 1002),
        (bytes([0x83, 0]), 1002),
        (bytes([0x80, 0]), 1002),
        (bytes([0x01, 0, 0x81, 0]), 1002),
        (bytes([0x09, 0]), 1002),
        (bytes([0x89, 126, 0, 126]), 1002),
        (bytes([0x82, 127]) + (MESSAGE_BYTES + 1).to_bytes(8), 1009),
    ],
    ids=["reserved", "masked", "opcode", "continuation", "interrupted", "fragmented ping", "long ping", "too long"],
)  # fmt: skip
def test_frame_reader_refuses_what_breaks_the_protocol(wire, code):
    """Every breach is found on the head of its frame, with the code that it deserves."""
    with pytest.raises(FrameError) as caught:
        list(FrameReader().feed(wire))
    assert caught.value.code == code
