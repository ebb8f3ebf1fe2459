"""The http toxic as an automaton: which requests it answers, in which order, in any split of the bytes."""

from __future__ import annotations

import random

import pytest

from faults.model import Chunk
from faults.toxics.base import (
    MS_NS,
    Data,
    Detached,
    Did,
    Effect,
    Emit,
    End,
    Ending,
    Finish,
    Reply,
    Wake,
    WakeAt,
)
from faults.toxics.http_fault import HttpFault

GET = b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
OTHER = b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 0\r\n\r\n"


class Talk:
    """An http toxic on one connection."""

    def __init__(self, toxic: HttpFault) -> None:
        assert toxic.problems() == ()
        self.toxic = toxic
        self.state = toxic.start(random.Random(1))
        self.now_ns = 10**12
        self.passed = b""
        self.replied = b""
        self.events: list[str] = []
        self.ending: Ending | None = None
        self.alarm_ns: int | None = None

    def _take(self, step: tuple[object, tuple[Effect, ...]]) -> None:
        self.state, effects = step
        for effect in effects:
            assert self.ending is None
            if isinstance(effect, Emit):
                self.passed += effect.chunk.data
            elif isinstance(effect, Reply):
                self.replied += effect.data
            elif isinstance(effect, Finish):
                self.ending = effect.ending
            elif isinstance(effect, WakeAt):
                self.alarm_ns = effect.at_ns
            elif isinstance(effect, Did):
                self.events.append(effect.what)
        assert self.toxic.held_bytes(self.state) >= 0

    def feed(self, data: bytes, *, step_bytes: int = 10**6) -> None:
        """Let the client say something, in pieces."""
        for start in range(0, len(data), step_bytes):
            chunk = Chunk(data[start : start + step_bytes], self.now_ns)
            self._take(self.toxic.step(self.state, Data(chunk), self.now_ns))

    def seen(self, data: bytes) -> None:
        """Let the upstream answer."""
        self._take(self.toxic.seen(self.state, data, self.now_ns))

    def tell(self, event: Detached | End | Wake, *, after_ms: int = 0) -> None:
        """Tell an event, some time later."""
        self.now_ns += after_ms * MS_NS
        self._take(self.toxic.step(self.state, event, self.now_ns))


@pytest.mark.parametrize("step_bytes", [1, 2, 7, 1000])
def test_http_answers_what_matches_and_passes_the_rest(step_bytes: int):
    """Path and method decide, the query does not; bodies of answered requests are swallowed."""
    talk = Talk(HttpFault(path="/a"))
    talk.feed(OTHER, step_bytes=step_bytes)
    talk.seen(OK)
    talk.feed(GET + POST, step_bytes=step_bytes)
    talk.feed(OTHER, step_bytes=step_bytes)
    assert talk.passed == OTHER * 2
    assert talk.replied == ANSWER * 2
    assert talk.events == ["answered"] * 2
    assert talk.toxic.held_bytes(talk.state) == 0


def test_http_waits_for_the_answers_to_earlier_requests():
    """A pipelining client gets its answers in the order in which it asked."""
    talk = Talk(HttpFault(path="/a"))
    talk.feed(OTHER + GET + OTHER)
    assert (talk.passed, talk.replied) == (OTHER, b"")
    talk.seen(OK[:-1])
    assert talk.replied == b""
    talk.seen(OK[-1:])
    assert talk.replied == ANSWER
    assert talk.passed == OTHER * 2


def test_http_delays_an_answer_and_a_request():
    """`delay` counts from the request; with status 0 the request is passed on, late."""
    for status, passed, replied in ((503, b"", ANSWER), (0, GET, b"")):
        talk = Talk(HttpFault(status, delay=50))
        talk.feed(GET)
        assert (talk.passed, talk.replied, talk.alarm_ns) == (b"", b"", talk.now_ns + 50 * MS_NS)
        talk.tell(Wake(), after_ms=50)
        assert (talk.passed, talk.replied) == (passed, replied)


def test_http_writes_status_headers_and_body():
    """What was asked for is what the client reads, with a length that fits."""
    talk = Talk(HttpFault(429, "Retry-After: 5\nContent-Type: application/json", '{"é":1}'))
    talk.feed(GET)
    head, _, body = talk.replied.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 429 Too Many Requests",
        b"Retry-After: 5",
        b"Content-Type: application/json",
        b"Content-Length: 8",
    ]
    assert body == '{"é":1}'.encode()


@pytest.mark.parametrize(
    ("request_head", "ends"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
def test_http_closes_where_the_client_expects_it(request_head: bytes, ends: bool):
    """The connection ends with the answer, or goes on."""
    talk = Talk(HttpFault())
    talk.feed(request_head)
    assert (talk.ending is Ending.CLOSE) == ends
    assert (b"Connection: close" in talk.replied) == ends


def test_http_answers_head_without_a_body():
    """The length is told, the body is not sent."""
    talk = Talk(HttpFault(500, body="oops"))
    talk.feed(GET.replace(b"GET", b"HEAD"))
    assert talk.replied.endswith(b"Content-Length: 4\r\n\r\n")


def test_http_probability_chooses_a_share():
    """Of many requests, about that share is answered."""
    talk = Talk(HttpFault(probability=0.3))
    for _ in range(1000):
        talk.feed(GET)
        talk.seen(OK)
    assert 230 <= talk.replied.count(b"HTTP/1.1 503") <= 370


@pytest.mark.parametrize(
    "data", [b"\x00\x01binary", b"*1\r\n$4\r\nPING\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
)
def test_http_leaves_other_protocols_alone(data: bytes):
    """What is no HTTP/1 passes at once."""
    talk = Talk(HttpFault())
    talk.feed(data)
    talk.feed(GET)
    assert talk.passed == data + GET
    assert talk.replied == b""


def test_http_leaves_an_upgraded_connection_alone():
    """After a 101 nothing is taken for a request."""
    talk = Talk(HttpFault(path="/a"))
    talk.feed(OTHER)
    talk.seen(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    talk.feed(GET)
    assert talk.passed == OTHER + GET


def test_http_removal_lets_waiting_requests_pass():
    """What was delayed, and half a head, reach the upstream."""
    talk = Talk(HttpFault(delay=1000))
    talk.feed(GET + POST[:10])
    talk.tell(Detached())
    assert talk.passed == GET + POST[:10]
    assert talk.ending is None


def test_http_removal_closes_in_the_middle_of_a_swallowed_body():
    """The upstream could not make sense of the rest."""
    talk = Talk(HttpFault())
    talk.feed(POST[:-2])
    talk.tell(Detached())
    assert talk.passed == b""
    assert talk.ending is Ending.CLOSE


def test_http_half_close_waits_for_the_answer():
    """A client that says its last right behind its request is answered all the same."""
    talk = Talk(HttpFault(delay=10))
    talk.feed(GET)
    talk.tell(End(Ending.FIN))
    assert talk.ending is None
    talk.tell(Wake(), after_ms=10)
    assert (talk.replied, talk.ending) == (ANSWER, Ending.FIN)


@pytest.mark.parametrize(
    ("toxic", "complaint"),
    [
        (HttpFault(100), "status must be"),
        (HttpFault(600), "status must be"),
        (HttpFault(delay=-1), "delay must not"),
        (HttpFault(probability=1.5), "probability must"),
        (HttpFault(path="x"), "path must start"),
        (HttpFault(method="GE T"), "method must be"),
        (HttpFault(headers="nonsense"), "headers must be lines"),
        (HttpFault(headers="Content-Length: 3"), "must not have Content-Length"),
        (HttpFault(headers="A: \x01"), "printable"),
    ],
)
def test_http_attributes_are_validated(toxic: HttpFault, complaint: str):
    """What would be no answer of HTTP is refused, with the attribute's name."""
    (found,) = toxic.problems()
    assert complaint in found
