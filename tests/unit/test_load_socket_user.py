"""What a user on a WebSocket writes down of its stay, on a link that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from time import monotonic_ns
from typing import Any

import pytest

from resilience.load import socket_user
from resilience.load.model import PhaseWindow, Stream
from resilience.load.recorder import Recorder
from resilience.load.requests import WebSocketRequest
from resilience.load.shapes import constant
from resilience.load.socket_link import ABNORMAL, Link, LinkLostError
from resilience.load.socket_user import SocketUser
from resilience.load.websocket_driver import WebSocketDriver

S = 10**9


class Spoken:
    """A link on which everything that is said stands already; then it is lost."""

    subprotocol = None

    def __init__(self, messages: Iterable[str]) -> None:
        self._messages = iter(messages)

    async def recv(self) -> str:
        """The next message."""
        for message in self._messages:
            return message
        raise LinkLostError(ABNORMAL)

    async def send(self, message: str) -> None:
        """Nobody listens."""

    async def close(self) -> None:
        """Nobody minds."""


Speak = Callable[[Iterable[str]], None]


@pytest.fixture
def speak(monkeypatch: pytest.MonkeyPatch) -> Speak:
    """Has every link that is opened say these messages."""

    def says(messages: Iterable[str]) -> None:
        async def opened(*_: object, **__: object) -> Spoken:
            return Spoken(messages)

        monkeypatch.setattr(Link, "open", opened)

    return says


def stream(request: WebSocketRequest) -> tuple[Stream, Recorder]:
    """A stream of such users, and where they write."""
    found = Stream("chat", constant(1, 1), "uniform", request, S, S)
    recorder = Recorder(found, (PhaseWindow("all", 0, 10**18),), 0, lambda _: None)
    recorder.begin(0)
    return found, recorder


def user_of(request: WebSocketRequest, recorder: Recorder) -> SocketUser:
    """User 4."""
    return SocketUser(request, recorder, i=4, row={}, id_header=("X-Request-Id", "r"), tls=None)


async def note_of(request: WebSocketRequest) -> dict[str, Any]:
    """The note of a user who arrives and stays until the link is lost."""
    _, recorder = stream(request)
    user = user_of(request, recorder)
    await user.open()
    await user.greet()
    assert not await user.stay(monotonic_ns() + 60 * S)
    (note,) = recorder.notes
    return note


async def test_user_writes_down_the_messages_without_an_answer(speak: Speak) -> None:
    """Five messages, three answers: two were waited for until the socket was lost."""
    speak(["a", "b", "c"])
    note = await note_of(WebSocketRequest("ws://h/", send="{n}", every_ns=1, count=5, hold_ns=S, record=True))
    assert (len(note["latencies"]), note["latencies_dropped"], note["unanswered"]) == (3, 0, 2)
    assert len(note["waited"]) == 2
    assert all(0 < waited <= note["left"] - note["opened"] for waited in note["waited"])
    assert note["lost"] is True


async def test_user_counts_the_latencies_that_its_note_cannot_hold(speak: Speak) -> None:
    """A thousand stand in the note, of answers as of waits; the others are counted."""
    speak(["x"] * 1_003)
    request = WebSocketRequest("ws://h/", send="{n}", every_ns=1, count=2_010, hold_ns=S, record=True)
    note = await note_of(request)
    assert (len(note["latencies"]), note["latencies_dropped"]) == (1_000, 3)
    assert (len(note["waited"]), note["unanswered"]) == (1_000, 1_007)
    assert note["waited"] == sorted(note["waited"], reverse=True)


async def test_user_counts_the_pushes_that_its_note_cannot_hold(speak: Speak) -> None:
    """A push heard again is none that was dropped."""
    speak(json.dumps({"id": f"news-{n}"}) for n in (*range(1_003), 5))
    note = await note_of(WebSocketRequest("ws://h/", push_id="id", hold_ns=S, record=True))
    assert (len(note["heard"]), note["heard_dropped"]) == (1_000, 3)
    assert (note["latencies"], note["unanswered"], note["waited"]) == ([], 0, [])


async def test_user_stays_whatever_nesting_it_hears(speak: Speak) -> None:
    """A message nested too deeply to be read is wrong; the one after it is an answer."""
    speak(["[" * 200_000, '{"type": "echo"}'])
    answer = (("type", '"echo"'),)
    request = WebSocketRequest(
        "ws://h/", send="{n}", every_ns=1, count=1, answer_json=answer, hold_ns=S, record=True
    )
    note = await note_of(request)
    assert (len(note["latencies"]), note["unanswered"]) == (1, 0)


async def test_user_whose_stay_ends_in_an_error_leaves_its_note(speak: Speak) -> None:
    """A condition that is no JSON once it is filled in is found out in the middle of the stay: the socket counts all the same."""
    speak([])
    answer = (("n", "{n} {n}"),)
    request = WebSocketRequest("ws://h/", send="{n}", count=1, answer_json=answer, hold_ns=S, record=True)
    found, recorder = stream(request)
    driver = WebSocketDriver(found, recorder, stripe=0, stripes=1, run_id="r")
    user = user_of(request, recorder)
    await user.open()
    with pytest.raises(ValueError, match="Extra data"):
        await driver._stay(user, monotonic_ns() + 60 * S)
    (note,) = recorder.notes
    assert (note["lost"], note["code"]) == (True, None)
    assert not user.connected


async def test_user_numbers_every_socket_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A return that is not welcomed leaves a note as any socket does, under a number of its own; only welcomed ones are reconnects."""
    said = iter((['{"type": "hello"}'], ['{"type": "who?"}'], [], ['{"type": "hello"}']))

    async def opened(*_: object, **__: object) -> Spoken:
        return Spoken(next(said))

    monkeypatch.setattr(Link, "open", opened)
    monkeypatch.setattr(socket_user, "_LEAST_WAIT_NS", 0)
    welcome = (("type", '"hello"'),)
    request = WebSocketRequest(
        "ws://h/", welcome=True, welcome_json=welcome, hold_ns=S, reconnect_ns=0, record=True
    )
    _, recorder = stream(request)
    user = user_of(request, recorder)
    await user.open()
    await user.greet()
    assert not await user.stay(monotonic_ns() + 60 * S)
    assert await user.come_back(monotonic_ns() + 60 * S)
    assert not await user.stay(monotonic_ns() + 60 * S)
    assert [note["again"] for note in recorder.notes] == [0, 1, 2, 3]
    assert [note["welcomed"] is not None for note in recorder.notes] == [True, False, False, True]
    counted = [message["n"] for message in recorder.figures.drain()]
    assert sum(n.get("reconnects", 0) for n in counted) == 1
    assert sum(n.get("opened", 0) for n in counted) == sum(n.get("lost", 0) for n in counted) == 4
