"""Numbers of a record have a bound, whatever JSON allows: nothing that reads them need fear to divide them."""

from __future__ import annotations

import json

import pytest

from resilience.run.shapes import bins_problem, event_problem

BINS = {
    "kind": "bins",
    "load": "orders",
    "phase": "spike",
    "s": 1,
    "n": {"offered": 1},
    "first": 0,
    "worker": 0,
}


def test_figures_of_a_real_second_have_nothing_wrong():
    """Whatever the bound is, it is far beyond them."""
    assert bins_problem({**BINS, "n": {"offered": 2**63, "ok": 0}}) is None


@pytest.mark.parametrize("sign", ["", "-"])
def test_count_of_hundreds_of_digits_is_told(sign: str):
    """Four hundred digits divided by one are too many for a float, and the judge must not crash."""
    assert bins_problem({**BINS, "n": {"offered": int(sign + "9" * 400)}}) is not None
    assert bins_problem({**BINS, "s": int(sign + "9" * 400)}) is not None


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN"])
def test_number_that_is_none_is_told(number: str):
    """Infinite, or not a number at all: JSON as Python reads it has both."""
    line = {"v": 1, "t": 1, "kind": "machine", "at": [1, 2], "cores": 2, "idle_s": 0.5, "foreign_s": 0}
    assert event_problem(line) is None
    assert event_problem({**line, "idle_s": json.loads(number)}) is not None
