"""What messages on a WebSocket mean: which answers which, what is a push, what is neither."""

from __future__ import annotations

import json

from resilience.load.requests import WebSocketRequest
from resilience.load.socket_talk import Talk


def talk(**fields: object) -> Talk:
    """A conversation of user 5, whose row has a name that needs escaping."""
    request = WebSocketRequest(**{"url": "ws://h/", "send": '{"n": {n}, "who": "{who}"}', **fields})  # type: ignore[arg-type]
    return Talk(request, 5, {"who": 'Ann "x"'})


def send(conversation: Talk, *numbers: int) -> None:
    """Put messages under way."""
    for number in numbers:
        conversation.sends(number, conversation.message(number), number)


def test_messages_are_filled_in_and_escaped() -> None:
    """`{n}` counts and fields are escaped where the message is JSON."""
    assert json.loads(talk().message(3)) == {"n": 3, "who": 'Ann "x"'}
    assert talk(send="hello {who} {n} {i}").message(1) == 'hello Ann "x" 1 5'


def test_answers_find_their_message_in_any_order() -> None:
    """Conditions tell which of the messages under way is answered; a lost answer shifts nothing."""
    conversation = talk(answer_json=(("type", '"echo"'), ("payload.n", '"{n}"')))
    send(conversation, 0, 1, 2)
    said = conversation.hears('{"type": "echo", "payload": {"n": 2}}')
    assert (said.meaning, said.sent and said.sent.number) == ("answer", 2)
    assert conversation.hears('{"type": "echo", "payload": {"n": 2}}').meaning == "wrong"
    assert conversation.hears('{"type": "other"}').meaning == "wrong"
    assert conversation.hears("no json").meaning == "wrong"
    assert list(conversation.under_way) == [0, 1]


def test_push_is_no_answer() -> None:
    """Between a message and its answer anything may be pushed; its id is read, as text."""
    conversation = talk(push_json=(("type", '"news"'),), push_id="payload.id")
    send(conversation, 0)
    said = conversation.hears('{"type": "news", "payload": {"id": 7}}')
    assert (said.meaning, said.push) == ("push", "7")
    assert conversation.hears("whatever").sent is not None
    assert conversation.hears("whatever").meaning == "wrong"


def test_echo_is_the_message_itself() -> None:
    """Another text answers nothing."""
    conversation = talk(send="hi {n}", echo=True)
    send(conversation, 0, 1)
    assert conversation.hears("hi 2").meaning == "wrong"
    said = conversation.hears("hi 1")
    assert said.sent is not None
    assert said.sent.number == 1


def test_silent_user_takes_everything_for_a_push() -> None:
    """Whoever sends nothing and waits for nothing in particular is pushed whatever comes."""
    listener = talk(send=None, push_id="id")
    said = listener.hears('{"id": "a"}')
    assert (said.meaning, said.push) == ("push", "a")
    assert listener.hears("text").push is None


def test_message_nested_too_deeply_is_no_json() -> None:
    """It answers nothing and has no id, and it ends nobody's stay, be it too deep to be read or only to be written again."""
    conversation = talk(answer_json=(("type", '"echo"'),))
    send(conversation, 0)
    assert conversation.hears("[" * 200_000).meaning == "wrong"
    assert list(conversation.under_way) == [0]
    listener = talk(send=None, push_id="id")
    for depth in range(900, 1_000):
        said = listener.hears('{"id": ' + "[" * depth + "]" * depth + "}")
        assert said.push is None or len(said.push) == 2 * depth
    assert said.meaning == "push"


def test_broadcast_is_known_by_the_id_that_others_will_read() -> None:
    """The sender's message comes to the others wrapped up: the path to its id is longer there."""
    conversation = talk(push_id="payload.id")
    assert conversation.broadcast_id('{"id": "news-1"}') == "news-1"
    assert conversation.broadcast_id('{"payload": {"id": "x"}, "id": "y"}') == "x"
    assert conversation.broadcast_id("text") is None
