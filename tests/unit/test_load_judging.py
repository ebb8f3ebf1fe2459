"""What an HTTP answer amounts to."""

import pytest

from resilience.load.judging import AnswerJudge
from resilience.load.requests import HttpRequest

HEADERS = [(b"x-degraded", b"True"), (b"x-instance", b"g-1"), (b"content-type", b"application/json")]


def outcome(status, *, body=b"", headers=HEADERS, **expected):
    """The category under the given expectations."""
    return AnswerJudge(HttpRequest(url="http://h/", **expected)).outcome(status, headers, body)


@pytest.mark.parametrize(
    ("status", "category"),
    [(200, "ok"), (302, "ok"), (404, "4xx"), (429, "shed"), (503, "shed"), (500, "5xx"), (599, "5xx")],
)
def test_judge_status_by_default(status, category):
    """Two and three hundreds are answers; what the target sheds is told from what it breaks."""
    assert outcome(status) == category


def test_judge_expected_statuses_are_answers():
    """A plan may expect a 404 or a 503, and not expect a 200."""
    assert outcome(404, expect_status=((404, 404),)) == "ok"
    assert outcome(503, expect_status=((200, 299), (503, 503))) == "ok"
    assert outcome(200, expect_status=((201, 201),)) == "wrong_data"


def test_judge_degraded_by_the_targets_own_mark():
    """Name and value of the mark are compared without regard to case; another value is no mark."""
    assert outcome(200, degraded_header=("X-Degraded", "true")) == "degraded"
    assert outcome(200, degraded_header=("X-Degraded", "no")) == "ok"
    assert outcome(500, degraded_header=("X-Degraded", "true")) == "5xx"


def test_judge_expected_headers():
    """A header that is missing or different is wrong data."""
    assert outcome(200, expect_headers=(("Content-Type", "application/json"),)) == "ok"
    assert outcome(200, expect_headers=(("Content-Type", "text/html"),)) == "wrong_data"
    assert outcome(200, expect_headers=(("ETag", "1"),)) == "wrong_data"


@pytest.mark.parametrize(
    ("path", "text", "category"),
    [
        ("status", '"paid"', "ok"),
        ("items.1.price", "20", "ok"),
        ("items.2.price", "20", "wrong_data"),
        ("items.one", "20", "wrong_data"),
        ("status", '"open"', "wrong_data"),
        ("status.deeper", "1", "wrong_data"),
        ("none", "null", "wrong_data"),
        ("nothing", "null", "ok"),
    ],
)
def test_judge_expected_json(path, text, category):
    """A value in the body is compared as JSON; a path that leads nowhere equals nothing."""
    body = b'{"status": "paid", "nothing": null, "items": [{"price": 10}, {"price": 20}]}'
    assert outcome(200, body=body, expect_json=((path, text),)) == category


def test_judge_expected_json_in_no_json():
    """A body that is no JSON has none of the values; a fallback need not have them."""
    assert outcome(200, body=b"<html>", expect_json=(("a", "1"),)) == "wrong_data"
    assert outcome(200, body=b"[" * 200_000, expect_json=(("a", "1"),)) == "wrong_data"
    fallback = {"expect_json": (("a", "1"),), "degraded_header": ("X-Degraded", "true")}
    assert outcome(200, body=b"{}", **fallback) == "degraded"
