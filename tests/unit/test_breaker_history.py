"""The public form of a history: round trips, refusals with line numbers, and its JSON Schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from resilience.breaker.history import (
    Arrival,
    Boot,
    Call,
    Fault,
    Gap,
    HistoryError,
    Interval,
    Observation,
    State,
    Transition,
    dump_jsonl,
    parse_jsonl,
    to_json,
)
from resilience.breaker.schema import history_schema

EXACT, WIDE = Interval(1_500_000_000, 1_500_000_000), Interval(1_500_000_001, 2_000_000_000)
ONE_OF_EACH: list[Observation] = [
    Call("b", "i", "7", EXACT, WIDE, "ok", fallback=False, boot="x"),
    Call("b", None, "8", EXACT, None, "unknown", note="no answer"),
    Arrival("b", "i", None, WIDE, done=WIDE, failed=True),
    Transition("b", "i", "open", "half_open", EXACT, seq=3),
    State("b", "i", "closed", WIDE, failures=2),
    Fault("slow", EXACT, None),
    Boot("i", EXACT, "x"),
    Gap("wire", WIDE, lost=4),
]


def test_breaker_history_round_trips() -> None:
    """Every kind of observation survives being written and read."""
    assert parse_jsonl(dump_jsonl(ONE_OF_EACH)) == ONE_OF_EACH


@pytest.mark.parametrize("entry", ONE_OF_EACH, ids=lambda entry: type(entry).__name__)
def test_breaker_history_fits_its_schema(entry: Observation) -> None:
    """What is written validates against the published schema."""
    jsonschema.validate(to_json(entry), history_schema())


def test_breaker_history_reads_the_documented_form() -> None:
    """Numbers as ids, hyphens in states, null for what is not known."""
    call_line = '{"kind":"call","breaker":"b","instance":"i","id":1,"start":1,"end":null,"outcome":"ok"}'
    whose = '{"kind":"transition","breaker":"b","instance":"i"'
    text = f'{call_line}\n\n{whose},"from":"open","to":"half-open","at":[1,2.5]}}'
    call, transition = parse_jsonl(text)
    assert isinstance(call, Call)
    assert call.id == "1"
    assert isinstance(transition, Transition)
    assert transition.to_state == "half_open"
    assert transition.at == Interval(1_000_000_000, 2_500_000_000)


CALL = {
    "kind": "call",
    "breaker": "b",
    "instance": "i",
    "id": 1,
    "start": 1,
    "end": 2,
    "outcome": "ok",
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "cal"}, "unknown kind"),
        ({"outcome": "fine"}, "known: ok"),
        ({"start": "1"}, "seconds"),
        ({"start": [2, 1]}, "ends before it begins"),
        ({"start": [1, 2, 3]}, r"\[lo, hi\]"),
        ({"start": True}, "not a number"),
        ({"end": 0}, "ends before it starts"),
        ({"decision": 0}, "was decided before it starts"),
        ({"finish": 0}, "finishes before it starts"),
        ({"decision": 3}, "ends before it was decided"),
        ({"decision": 3, "end": None, "finish": 2.5}, "ends before it was decided"),
        ({"id": None}, "null"),
        ({"breaker": ""}, "non-empty"),
        ({"fallback": 1}, "true or false"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_breaker_history_refuses_with_the_line(change: dict[str, object], reason: str) -> None:
    """A line that cannot be understood is named by its number, and so is what is wrong with it."""
    text = json.dumps(CALL) + "\n\n" + json.dumps({**CALL, **change}) + "\n"
    with pytest.raises(HistoryError, match=reason) as caught:
        parse_jsonl(text)
    assert caught.value.line == 3


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "1",
        '{"kind":"boot","instance":"i","at":NaN}',
        '{"kind":"boot","instance":"i","at":1e999999}',
        '{"kind":"boot","instance":"i","at":1e' + "9" * 50 + "}",
        "9e" + "9" * 400 + '{"kind":"boot"}',
        "[" * 5000,
    ],
)
def test_breaker_history_refuses_what_is_no_object(line: str) -> None:
    """Broken or hostile JSON is a HistoryError, never another exception."""
    with pytest.raises(HistoryError):
        parse_jsonl(line)


def test_breaker_history_keeps_nanoseconds_of_a_long_uptime() -> None:
    """A clock that has run for years loses no nanosecond."""
    text = '{"kind":"boot","instance":"i","at":123456789.123456789}'
    assert parse_jsonl(text) == [Boot("i", Interval(123456789123456789, 123456789123456789))]
