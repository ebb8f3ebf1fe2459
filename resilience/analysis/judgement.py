"""What a checker says about one expectation. Three-valued; false beats unknown beats true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PASS = "pass"  # noqa: S105 - not a password
FAIL = "fail"
UNKNOWN = "unknown"
_ORDER = (FAIL, UNKNOWN, PASS)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One expectation's verdict in words and numbers. `margin` is in words; `at_s` is where it broke, if that is known."""

    expectation: str
    expected: str
    observed: str
    verdict: str
    margin: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    at_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in `verdict.json`."""
        return {
            "id": self.expectation,
            "expected": self.expected,
            "observed": self.observed,
            "verdict": self.verdict,
            "margin": self.margin,
            "evidence": dict(self.evidence),
            "at_s": None if self.at_s is None else round(self.at_s, 3),
        }


def compose(verdicts: Iterable[str]) -> str:
    """Verdict over several: fail beats unknown beats pass; unknown over none."""
    found = set(verdicts)
    return next((verdict for verdict in _ORDER if verdict in found), UNKNOWN)
