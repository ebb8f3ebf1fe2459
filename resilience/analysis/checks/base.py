"""What every checker is: evidence and findings in, one judgement out. Pure.

A checker says `unknown` where the evidence does not suffice, and names what is missing under "why".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import UNKNOWN, Judgement

Checker = Callable[[RunEvidence, Findings, str, Any], Judgement]


def unknown(name: str, expected: str, why: str) -> Judgement:
    """Nothing was observed that could settle the expectation."""
    return Judgement(name, expected, "nothing", UNKNOWN, evidence={"why": why})
