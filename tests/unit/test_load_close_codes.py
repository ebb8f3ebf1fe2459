"""Close codes and what they mean for an operation."""

import pytest

from resilience.load.close_codes import closed_outcome
from resilience.metrics.outcomes import CATEGORIES


@pytest.mark.parametrize(
    ("code", "outcome"),
    [(1000, "reset"), (1002, "protocol"), (1008, "4xx"), (1011, "5xx"), (1013, "shed"), (1014, "5xx"), (1015, "protocol")],
)  # fmt: skip
def test_closed_outcome_of_a_code(code, outcome):
    """The codes that say most."""
    assert closed_outcome(code) == outcome


@pytest.mark.parametrize(("code", "outcome"), [(3000, "reset"), (4999, "reset"), (999, "protocol"), (2000, "protocol"), (5000, "protocol")])  # fmt: skip
def test_closed_outcome_of_codes_beyond_the_registry(code, outcome):
    """Applications may close with codes of their own; nobody may close with the rest."""
    assert closed_outcome(code) == outcome


def test_closed_outcome_is_a_category():
    """Whatever the code, the law of conservation knows where it belongs."""
    assert {closed_outcome(code) for code in range(65_536)} <= set(CATEGORIES)
