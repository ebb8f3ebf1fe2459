"""The page about the built-in plans: its examples of expectations are expectations, of every kind that there is."""

from __future__ import annotations

import re
from pathlib import Path

from resilience.analysis.checks import CHECKERS
from resilience.plan import load_text
from resilience.plan.schema.expect_promises import PROMISE_KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
AROUND = """\
version: 1
name: page
lab: {}
phases: [{name: baseline, duration: 10s}, {name: aftermath, duration: 40s}, {name: half, duration: 20s},
         {name: none, duration: 20s}, {name: again, duration: 20s}]
load:
  quotes: &load {http: {url: "/"}, rate: 5/s}
  chat: *load
  web: *load
  items: *load
  orders: *load
  audit: *load
faults: [{id: outage, proxy: pricing, enabled: false, start: baseline+8s, duration: 2s}]
"""


def test_scenarios_page_examples_are_expectations_of_every_kind() -> None:
    """The table of the page, as one plan; every kind has its checker."""
    table = PAGE[PAGE.index("## Expectations beyond") :]
    examples = re.findall(r"^\| [a-z ]+ \| `(\{.*?\})` \|", table, re.MULTILINE)
    expect = "expect:\n" + "".join(f"  e{index}: {example}\n" for index, example in enumerate(examples))
    found = load_text(AROUND + expect, source="page", environment={}).plan.expect.values()
    kinds = {type(each) for each in found}
    assert {kind.__name__ for kind in kinds} == {*PROMISE_KEYS, "ResourceExpectation"}
    assert kinds <= set(CHECKERS)
