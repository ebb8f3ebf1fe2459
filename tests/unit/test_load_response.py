"""Reading HTTP answers, whole, byte by byte, and at every split."""

import pytest

from resilience.load.http_response import MAX_HEAD_BYTES, ProtocolViolationError, ResponseReader

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
ANSWERS = {
    "length": (OK, 200, True),
    "chunked with trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
        200,
        True,
    ),
    "after 100 Continue": (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, True),
    "after early hints": (b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n" + OK, 200, True),
    "connection close": (
        b"HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        500,
        False,
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, False),
}


def feed_all(reader, pieces):
    """Feed piece after piece."""
    for piece in pieces:
        reader.feed(piece)


@pytest.mark.parametrize("name", ANSWERS)
def test_reader_reads_every_split_of_an_answer_alike(name):
    """However the bytes are cut, the answer is the same, and complete with its last byte."""
    data, status, keep = ANSWERS[name]
    for cut in range(len(data)):
        reader = ResponseReader(keep_body=True)
        if cut:
            assert not reader.feed(data[:cut])
        assert reader.feed(data[cut:])
        assert (reader.status, reader.body, reader.keep_alive, reader.surplus) == (
            status,
            b"hello",
            keep,
            False,
        )
    reader = ResponseReader(keep_body=True)
    done = [reader.feed(bytes([byte])) for byte in data]
    assert done == [False] * (len(data) - 1) + [True]
    assert (reader.status, reader.body, reader.keep_alive) == (status, b"hello", keep)


@pytest.mark.parametrize("status", [204, 304])
def test_reader_knows_answers_without_a_body(status):
    """204 and 304 end with their head, whatever their length says."""
    reader = ResponseReader()
    assert reader.feed(
        b"HTTP/1.1 %d x\r\nContent-Length: 9\r\n\r\n" % status if status == 304 else b"HTTP/1.1 204 x\r\n\r\n"
    )
    assert reader.keep_alive


def test_reader_head_answer_ends_with_its_head():
    """The answer to HEAD announces a body that does not come."""
    reader = ResponseReader(head_only=True)
    assert reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    assert reader.keep_alive


def test_reader_answer_without_length_ends_with_the_connection():
    """No length and no chunks: the close completes it, and the connection is spent."""
    reader = ResponseReader(keep_body=True)
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not reader.feed(b"lo")
    assert reader.close()
    assert (reader.body, reader.keep_alive) == (b"hello", False)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Le",
        OK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
def test_reader_truncated_answer_is_not_complete(data):
    """The close does not complete an answer that had more to come."""
    reader = ResponseReader()
    assert not reader.feed(data)
    assert not reader.close()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
    ],
)
def test_reader_refuses_garbage(data):
    """What is no HTTP answer is a violation, not an answer and not a wait."""
    with pytest.raises(ProtocolViolationError):
        ResponseReader().feed(data)


@pytest.mark.parametrize("piece", [b"X-Filler: %b\r\n" % (b"a" * 1000), b"X: 1\r\n"])
def test_reader_refuses_endless_headers(piece):
    """Header after header without an end is a violation after MAX_HEAD_BYTES."""
    with pytest.raises(ProtocolViolationError):
        feed_all(ResponseReader(), [b"HTTP/1.1 200 OK\r\n", *([piece] * (MAX_HEAD_BYTES // len(piece) + 1))])


def test_reader_refuses_endless_interim_answers():
    """100 Continue for ever is endless headers too."""
    with pytest.raises(ProtocolViolationError):
        feed_all(ResponseReader(), [b"HTTP/1.1 100 Continue\r\n\r\n"] * MAX_HEAD_BYTES)


@pytest.mark.parametrize("extra", [b"x", OK, b"\0" * 20])
def test_reader_notices_bytes_after_the_answer(extra):
    """More than the answer: it counts, but its connection is not to be trusted again."""
    reader = ResponseReader(keep_body=True)
    assert reader.feed(OK + extra)
    assert (reader.status, reader.body, reader.surplus) == (200, b"hello", True)
