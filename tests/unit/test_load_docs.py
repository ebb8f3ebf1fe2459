"""The page about load: its YAML is plans, its Python is code that the package has, its table of the context is complete."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from resilience.load.script_driver import UserContext
from resilience.metrics.outcomes import CATEGORIES
from resilience.plan import load_text
from resilience.plan.schema import calls

PAGE = (Path(__file__).parents[2] / "docs" / "load.md").read_text(encoding="utf-8")
AROUND = """\
version: 1
name: page
lab: {}
phases: [{name: baseline, duration: 20s}, {name: spike, duration: 40s}]
"""
YAML = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = [
    {"sku": "1001", "name": "user-1", "password": "p"},
    {"sku": "1002", "name": "user-2", "password": "q"},
]
SCRIPT = next(block for block in PYTHON if "place_order" in block)


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.split()[1])
def test_examples_of_the_page_are_plans(block: str) -> None:
    """Each block loads, with the files that it names beside it."""
    name = re.findall(r"^  (\w+):", block, re.MULTILINE)[0]
    loaded = load_text(
        f'{AROUND}{block}\nexpect: {{e: {{load: {name}, errors: "< 1%"}}}}\n',
        source="page",
        environment={"TEST_TOKEN": "t"},
        read_data=lambda _: [dict(row) for row in ROWS],
        read_text=lambda _: SCRIPT,
        find=lambda name: f"/beside/{name}",
    )
    assert name in loaded.plan.load


def test_examples_use_every_driver_and_nearly_every_key() -> None:
    """Whoever reads the page has seen them all; what a text of the page explains counts, too."""
    assert {driver for block in YAML for driver in re.findall(r"^    (\w+):", block, re.MULTILINE)} >= set(
        calls.DRIVERS
    )
    for model in (
        calls.HttpLoad,
        calls.SessionStep,
        calls.WebSocketLoad,
        calls.PostgresLoad,
        calls.RedisLoad,
        calls.Messages,
        calls.Pushes,
    ):
        for name, field in model.model_fields.items():
            assert re.search(rf"\b{field.alias or name}\b", PAGE), f"{model.__name__}.{name}"


def test_python_of_the_page_uses_what_there_is() -> None:
    """Every import of the page can be made, and every name that is called with keywords takes them."""
    for block in PYTHON:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_table_of_the_context_is_complete() -> None:
    """What a script can use is in the table, and nothing else is."""
    table = PAGE[PAGE.index("| `ctx.` |") : PAGE.index("It returns None")]
    told = set(
        re.findall(
            r"`(\w+)(?:\(.*?\))?`",
            table.replace('`["cache"]`', "").replace('`["ws"]`', "").replace('`["base"]`', ""),
        )
    )
    slots = {name for name in UserContext.__slots__ if not name.startswith("_")}
    methods = {
        name for name, _ in inspect.getmembers(UserContext, inspect.isfunction) if not name.startswith("_")
    }
    assert told == slots | methods


def test_page_names_every_category() -> None:
    """The sentence about what becomes of an operation holds all twelve."""
    sentence = PAGE[PAGE.index("ends in exactly one category") :].split("sum to what was")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) >= set(CATEGORIES)
