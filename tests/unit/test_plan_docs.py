"""The page about plans: its examples are plans, and its table of expectations holds expectations."""

from __future__ import annotations

import re
from pathlib import Path

from resilience.plan import load_text
from resilience.plan.loader import LoadedPlan
from resilience.plan.schema import LOAD_FIGURES

PAGE = (Path(__file__).parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
AROUND = """\
version: 1
name: page
lab: {}
phases: [{name: baseline, duration: 10s}, {name: spike, duration: 20s}, {name: recovery, duration: 20s}]
"""


def load(text: str) -> LoadedPlan:
    """A plan from the page, with the file and the variable that it speaks of."""
    return load_text(
        text, source="page", environment={"TEST_TOKEN": "t"}, read_data=lambda _: [{"sku": "1"}, {"sku": "2"}]
    )


def test_examples_of_the_page_are_one_plan() -> None:
    """Load, faults, breakers and every expectation of the table, put together, load."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert [block.split(":")[0] for block in blocks] == ["load", "faults", "breakers"]
    table = PAGE[PAGE.index("## Expectations") : PAGE.index("Figures of a load")]
    examples = re.findall(r"^\| [a-z ]+ \| `(\{.*\})` \|", table, re.MULTILINE)
    assert len(examples) == 7
    expect = "expect:\n" + "".join(f"  e{index}: {example}\n" for index, example in enumerate(examples))
    loaded = load(AROUND + "".join(blocks) + expect)
    assert len(loaded.plan.expect) == 7
    assert len(loaded.plan.faults) == 5


def test_page_explains_every_figure_of_a_load() -> None:
    """One row of the table or another names it."""
    figures = PAGE[PAGE.index("Figures of a load") : PAGE.index("**Required or not.**")]
    assert set(re.findall(r"`(\w+)`", figures)) == set(LOAD_FIGURES)
