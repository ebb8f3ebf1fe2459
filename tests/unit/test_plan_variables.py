"""Variables in plans: filled in, asked for, escaped, and never sent as they stand when they are misspelt."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.plan.loader import load_text
from resilience.plan.problems import PlanInvalid, Problem
from resilience.plan.variables import fill

ENVIRONMENT = {"TOKEN": "hush", "EMPTY": "", "DOLLARS": "a$$b${X}"}


def filled(text: str) -> tuple[str, list[Problem]]:
    """A text with its variables, and what was wrong with them."""
    problems: list[Problem] = []
    return fill({"key": text}, ENVIRONMENT, ("at",), problems)["key"], problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Bearer ${TOKEN}", "Bearer hush"),
        ("${NONE:-x y}", "x y"),
        ("${NONE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${TOKEN:?say it}", "hush"),
        ("$${TOKEN}", "${TOKEN}"),
        ("$$$${x", "$${x"),
        ("5 $ and $TOKEN", "5 $ and $TOKEN"),
        ("${DOLLARS}", "a$$b${X}"),
    ],
)
def test_variables_are_filled_in_and_dollars_escaped(text: str, value: str) -> None:
    """docker-compose's forms; `$$` is a dollar; what a variable gave is not looked at again."""
    assert filled(text) == (value, [])


@pytest.mark.parametrize(
    "text", ["${TOKEN", "${TOKEN?say it}", "${TOKEN-x}", "${}", "${1}", "$$${", "a ${to ken}"]
)
def test_misspelt_variables_are_problems_with_their_place(text: str) -> None:
    """Whatever begins with `${` and is no variable would be sent as it stands: it is refused."""
    _, problems = filled(text)
    assert [p.path for p in problems] == [("at", "key")]
    assert "begins no variable" in problems[0].message


@pytest.mark.parametrize(
    ("text", "said"),
    [("${NONE:?say it}", "NONE is not set: say it"), ("${EMPTY:?}", "EMPTY is"), ("${NONE}", "NONE")],
)
def test_missing_variables_are_problems(text: str, said: str) -> None:
    """Not set; or, where a message was written, empty."""
    _, problems = filled(text)
    assert said in problems[0].message


def test_variable_in_a_key_is_a_problem() -> None:
    """Keys are not filled in, and nobody is left to find that out by himself."""
    problems: list[Problem] = []
    fill({"a": [{"${TOKEN}": 1}]}, ENVIRONMENT, (), problems)
    assert problems[0].path == ("a", 0, "${TOKEN}")
    assert problems[0].at_key


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("duration: 4s", "duration: '${TEST_TOKEN}'"),
        ("duration: 4s", "duration: 'at ${TEST_TOKEN}!'"),
        ("proxy: pricing, toxic", "proxy: '${TEST_TOKEN}', toxic"),
        ('">= 95%"', "'${TEST_TOKEN}'"),
        ("deadline: 500ms", "timeout: '${TEST_TOKEN}'"),
    ],
)
def test_variables_value_is_not_told_where_it_is_wrong(right: str, wrong: str) -> None:
    """A password in the wrong place must not end up in a log: the message has the variable's name instead."""
    text = (Path(__file__).parents[1] / "data" / "short.yaml").read_text(encoding="utf-8")
    text = text.replace("degraded:", "deadline: 500ms\n      degraded:")
    secret = "it's a \\ password"
    with pytest.raises(PlanInvalid) as caught:
        load_text(text.replace(right, wrong, 1), source="plan", environment={"TEST_TOKEN": secret})
    assert "password" not in str(caught.value)
    assert "${TEST_TOKEN}" in str(caught.value)
    assert caught.value.__cause__ is None
