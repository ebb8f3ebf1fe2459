"""Values of single calls and figures of single drivers: where they stand, how they are written, how much of them there may be."""

from __future__ import annotations

import pytest

from resilience.load.fields import fill, fill_body, fill_url
from resilience.load.figures import Figures
from resilience.load.model import PhaseWindow, Stream
from resilience.load.noting import TEXT_CHARS, Noting
from resilience.load.recorder import Recorder
from resilience.load.requests import HttpRequest, RedisRequest
from resilience.load.shapes import constant
from resilience.load.sources import Heard, Reader, SourceError, parse_source
from resilience.metrics.figures import FigureTable
from resilience.run.shapes import figures_problem, note_problem

PHASES = (PhaseWindow("calm", 0, 2 * 10**9), PhaseWindow("rush", 2 * 10**9, 4 * 10**9))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("json.order.id", 7),
        ("json.items.1", "b"),
        ("json.none", None),
        ("json.items.9", None),
        ("json.order.id.deeper", None),
        ("status", 201),
        ("header.X-Cache", "hit"),
        ("header.x-missing", None),
    ],
)
def test_source_finds_its_value_or_nothing(text: str, value: object) -> None:
    """Paths go through objects and lists; what is not there is None, never an error."""
    heard = Heard(201, [(b"x-cache", b"hit")], b'{"order": {"id": 7}, "items": ["a", "b"], "none": null}')
    assert Reader(heard).value(parse_source(text, "http")) == value


def test_source_reads_rows_and_replies() -> None:
    """A statement's first row and the number of rows; a command's reply, also inside of a list."""
    heard = Heard(row={"id": 3}, rows=2)
    assert Reader(heard).value(parse_source("row.id", "postgres")) == 3
    assert Reader(heard).value(parse_source("rows", "postgres")) == 2
    assert Reader(Heard(reply=["a", "b"])).value(parse_source("reply.1", "redis")) == "b"
    assert Reader(Heard(body=b"no json")).value(parse_source("json.a", "http")) is None


@pytest.mark.parametrize("text", ["", "jsn.a", "json.", "header", "status.x", "row.id", "cookie.a"])
def test_source_that_names_no_place_is_refused(text: str) -> None:
    """The message shows what may be written."""
    with pytest.raises(SourceError, match=r"write for example json\.order\.id, header\.X-Cache, status"):
        parse_source(text, "http")


def test_note_holds_what_was_asked_for_and_what_every_note_has() -> None:
    """Texts of the request are there even when no answer came; a checker must know of those calls, too."""
    noting = Noting((("what", "order"), ("sku", "{sku}"), ("ref", "{id}"), ("order", "json.id")), "http")
    answered = noting.note(4, "r-x-4", {"sku": "1"}, Heard(201, (), b'{"id": 9}'), at=(10, 20), outcome="ok")
    assert answered == {
        "what": "order", "i": 4, "id": "r-x-4", "at": [10, 20], "outcome": "ok", "status": 201, "sku": "1", "ref": "r-x-4", "order": 9,
    }  # fmt: skip
    silent = noting.note(4, "r-x-4", {"sku": "1"}, None, at=(10, 20), outcome="timeout")
    assert silent == {**answered, "outcome": "timeout", "status": None, "order": None}
    assert note_problem(answered) is None


def test_note_is_bounded() -> None:
    """A long text is cut, and an object is kept as the JSON of it, cut likewise."""
    noting = Noting((("text", "json.text"), ("all", "json")), "http")
    heard = Heard(200, (), b'{"text": "' + b"x" * 10_000 + b'"}')
    note = noting.note(0, "id", {}, heard, at=(0, 0), outcome="ok")
    assert note["text"] == "x" * TEXT_CHARS
    assert len(note["all"]) == TEXT_CHARS


def test_note_of_an_answer_nested_too_deeply_has_no_value() -> None:
    """Too deep to be read, or only to be written: the note is there, without the value."""
    noting = Noting((("all", "json"), ("some", "json.0")), "http")
    for depth in (*range(900, 1_000), 200_000):
        heard = Heard(200, (), b"[" * depth + b"]" * depth)
        note = noting.note(0, "id", {}, heard, at=(0, 0), outcome="ok")
        assert note["all"] in {None, "[" * TEXT_CHARS}
    assert (note["all"], note["some"]) == (None, None)


def test_recorder_counts_the_notes_that_did_not_fit() -> None:
    """What is beyond the bound is said to be lost, so that a checker knows that it does not know."""
    sent: list[dict[str, object]] = []
    request = RedisRequest("redis://h")
    recorder = Recorder(Stream("x", constant(1, 1), "uniform", request, 1, 1), PHASES, 0, sent.append)
    recorder.begin(0)
    recorder.notes_left = 2
    for i in range(5):
        recorder.note({"what": "call", "i": i}, 10**9)
    recorder.flush()
    (notes,) = [message for message in sent if message["kind"] == "note"]
    assert [note["i"] for note in notes["rows"]] == [0, 1]  # type: ignore[attr-defined]
    assert FigureTable.from_messages(sent).count("x", "notes_lost") == 3


def test_figures_are_filed_by_when_they_happened_and_add_up() -> None:
    """Two workers' increments, drained more than once, merge to what one that saw everything would say."""
    table = FigureTable()
    for worker in (0, 1):
        figures = Figures("chat", PHASES, worker)
        figures.begin(10**12)
        for number in range(5_000):
            figures.observe("message", 1_000 + number, 10**12 + 1_500_000_000)
        figures.count("answered", 10**12 + 1_999_999_999, 3)
        for message in figures.drain():
            assert figures_problem(message) is None
            table.add(message)
        figures.count("answered", 10**12 + 2_000_000_000)
        figures.count("answered", 10**12 + 5_000_000_000)
        for message in figures.drain():
            table.add(message)
        assert list(figures.drain()) == []
    assert table.names("chat") == ("answered", "message")
    assert table.count("chat", "answered", phase="calm") == 6
    assert table.count("chat", "answered", phase="rush") == 2
    assert table.count("chat", "answered", phase="") == 2
    assert table.count("chat", "answered") == 10
    assert table.count("chat", "answered", start_s=2, end_s=3) == 2
    assert table.count("chat", "unheard") == 0
    message = table.histogram("chat", "message", phase="calm")
    assert message.count == 10_000
    assert message.quantile(0.5) == pytest.approx(3_500, rel=0.01)
    assert table.histogram("chat", "message", phase="rush").count == 0


def test_values_are_escaped_where_they_are_put() -> None:
    """A value breaks out of neither a path nor a query nor a JSON string nor a form; an address in front stays whole."""
    row = {"v": 'a/b?c=d&e "\n{i}'}
    assert fill_url("http://h/{v}?q={v}&n={i}", 3, row).count("/") == 3
    assert fill_url("http://h/{v}", 3, row) == "http://h/a%2Fb%3Fc%3Dd%26e%20%22%0A%7Bi%7D"
    assert fill_url("{next}&n={i}", 3, {"next": "http://h/x?y=1"}) == "http://h/x?y=1&n=3"
    assert (
        fill_body(b'{"v": "{v}"}', "application/json; charset=utf-8", 3, row)
        == b'{"v": "a/b?c=d&e \\"\\n{i}"}'
    )
    assert (
        fill_body(b"v={v}", "application/x-www-form-urlencoded", 3, row)
        == b"v=a%2Fb%3Fc%3Dd%26e+%22%0A%7Bi%7D"
    )
    assert fill_body("ä {v}".encode(), "text/plain", 3, {"v": "ö"}) == "ä ö".encode()
    assert fill("{unknown} {i}", 3, row) == "{unknown} 3"


def test_answers_of_recording_requests_are_always_read() -> None:
    """A known head would hide what the answer says: recording and extracting switch that short cut off."""
    from resilience.load.judging import AnswerJudge

    assert not AnswerJudge(HttpRequest("http://h/")).reads_body
    assert AnswerJudge(HttpRequest("http://h/", record=(("a", "status"),))).reads_body
    assert AnswerJudge(HttpRequest("http://h/", extract=(("a", "json.a"),))).reads_body


@pytest.mark.parametrize(("keep", "stripes"), [(1, 1), (5, 1), (5, 2), (7, 3), (2, 4)])
def test_users_who_come_back_live_in_one_worker_each(keep: int, stripes: int) -> None:
    """Whatever the number of workers: every user has a turn, and (where there are enough of them) is known to one worker only."""
    from resilience.load.requests import SessionRequest
    from resilience.load.session_driver import SessionDriver

    request = SessionRequest((HttpRequest("http://h/"),), keep_users=keep)
    stream = Stream("x", constant(1, 1), "uniform", request, 1, 1)
    homes: dict[int, set[int]] = {}
    for stripe in range(stripes):
        recorder = Recorder(stream, PHASES, stripe, lambda _: None)
        driver = SessionDriver(stream, recorder, stripe=stripe, stripes=stripes, run_id="r")
        for number in driver.numbers():
            homes.setdefault(number, set()).add(stripe)
    assert set(homes) == set(range(keep))
    assert keep < stripes or all(len(home) == 1 for home in homes.values())
