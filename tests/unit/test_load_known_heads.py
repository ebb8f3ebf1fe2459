"""What the HTTP driver remembers of answers: enough for the next one, and no more of a long run than of a short one."""

from __future__ import annotations

import pytest

from resilience.load.http_driver import HttpDriver
from resilience.load.http_response import ResponseReader
from resilience.load.model import HttpRequest, PhaseWindow, Stream
from resilience.load.recorder import Recorder
from resilience.load.shapes import constant

S = 10**9


@pytest.fixture
def driver() -> HttpDriver:
    """A driver that has no connection."""
    stream = Stream("load", constant(1, 1), "uniform", HttpRequest("http://h/"), S, S)
    recorder = Recorder(stream, (PhaseWindow("all", 0, S),), 0, lambda _: None)
    return HttpDriver(stream, recorder, stripe=0, stripes=1, run_id="r")


def answer(second: int, status: int = 200) -> bytes:
    """An answer as a server gives it that writes the time into each."""
    return b"HTTP/1.1 %d X\r\nDate: %08d\r\nContent-Length: 2\r\n\r\nhi" % (status, second)


def learn(driver: HttpDriver, data: bytes) -> None:
    """Have it read an answer the slow way."""
    reader = driver.new_reader()
    assert reader.feed(data)
    driver.learn(data, reader)


def test_driver_recalls_the_answers_of_now(driver: HttpDriver) -> None:
    """Several instances and statuses in turn, each with its own head: all of them are known until the next second."""
    now = [answer(1, status) for status in (200, 404, 503)]
    for data in now:
        learn(driver, data)
    found = [driver.recall(data) for data in now]
    assert [known and (known.status, known.outcome, known.whole) for known in found] == [
        (200, "ok", len(now[0])),
        (404, "4xx", len(now[1])),
        (503, "shed", len(now[2])),
    ]
    assert driver.latest == found[-1]
    # A body that is longer than announced, a head that is only alike, and none at all are for the parser.
    assert driver.recall(now[0] + b"!") is None
    assert driver.recall(answer(2)) is None
    assert driver.recall(b"HTTP/1.1 200 OK") is None


def test_driver_forgets_the_answers_of_long_ago(driver: HttpDriver) -> None:
    """A day of seconds, each with its Date: the youngest are known, the others take no memory."""
    for second in range(2_000):
        learn(driver, answer(second))
    known = [second for second in range(2_000) if driver.recall(answer(second)) is not None]
    assert known[-1] == 1_999
    assert 10 <= len(known) <= 100
    assert known == list(range(known[0], 2_000))


def test_driver_does_not_learn_what_the_next_answer_need_not_repeat(driver: HttpDriver) -> None:
    """Chunked, closing, or with bytes after its end: the next answer with such a head is parsed again."""
    for data in (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 100 Continue\r\n\r\n" + answer(1),
        answer(1) + answer(1),
    ):
        reader = ResponseReader()
        assert reader.feed(data)
        driver.learn(data, reader)
        assert driver.recall(data) is None
