"""What is nested without end is refused at once, wherever somebody else's text is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resilience.breaker.observers.base import TROUBLE
from resilience.breaker.observers.polling import Subject
from resilience.breaker.observers.resilience4j import ActuatorStates
from resilience.breaker.observers.streaming import StreamObserver
from resilience.cli.main import app
from resilience.plan import load_text
from resilience.plan.problems import PlanInvalid
from resilience.plan.texts import MAX_OPEN, dump, parse_value

DEEP = "[" * 5000


@pytest.mark.parametrize("text", [DEEP, '{"a": ' * 5000, "name: " + DEEP, "a: &b " + DEEP, "- !!seq " + DEEP])
def test_plan_with_thousands_of_open_brackets_is_refused_before_it_is_scanned(text: str):
    """A YAML scanner takes seconds for each few thousand of them; none of it is begun."""
    with pytest.raises(PlanInvalid, match=f"more than {MAX_OPEN} brackets are open"):
        load_text(text, source="plan.yaml", environment={})


def test_plan_text_with_many_brackets_that_close_is_read():
    """What counts is how many are open at once, not how many there are."""
    assert parse_value("[" + "[1], " * 1000 + "{}]", "--set") == [*([1] for _ in range(1000)), {}]
    assert parse_value("[" * MAX_OPEN + "]" * MAX_OPEN, "--set")


@pytest.mark.parametrize("word", ["'[%d, 10)'", '"[%d, \\"10)"', "range [%d", "1 # [%d", "'it''s [%d'"])
def test_brackets_that_are_part_of_a_text_may_stay_open(word: str):
    """Rows of data that name half-open intervals are no nesting, however many they are."""
    rows = "".join(f"- {word % number}\n" for number in range(2 * MAX_OPEN))
    values = parse_value(rows, "data.yaml")
    assert len(values) == 2 * MAX_OPEN
    assert parse_value(dump({"rows": values}), "the record") == {"rows": values}


def test_specification_that_is_nested_without_end_is_told_in_one_line(tmp_path: Path):
    """`verify-trace` says which file and what is wrong with it, and exits with 2."""
    (tmp_path / "spec.yaml").write_text(DEEP)
    (tmp_path / "trace.jsonl").write_text("")
    ran = CliRunner().invoke(
        app, ["verify-trace", str(tmp_path / "trace.jsonl"), "--spec", str(tmp_path / "spec.yaml")]
    )
    assert ran.exit_code == 2
    assert "spec.yaml: not YAML: nested too deeply" in ran.output


def test_answer_that_is_nested_without_end_is_trouble_of_the_service_and_not_of_the_run():
    """An observer takes it for nonsense, as it does what is no JSON at all, and asks again."""
    subject = Subject("pricing", "pricing", "gateway-1")
    with pytest.raises(TROUBLE):
        list(ActuatorStates(subject).read(DEEP, (1, 2)))


def test_event_that_is_nested_without_end_is_passed_over():
    """One event of a stream that cannot be read does not end the stream."""
    told: list[dict[str, object]] = []

    class Json:
        """Reads JSON, as the listeners of the product do."""

        def heard(self, text: str, heard_ns: int) -> list[dict[str, object]]:
            return [{"read": json.loads(text), "at": heard_ns}]

    observer = StreamObserver("http://127.0.0.1:1/", Subject("pricing", "pricing", "gateway-1"), Json())
    observer._take(DEEP, told.append)
    observer._take("1", told.append)
    assert told == [{"read": 1, "at": 0}]
