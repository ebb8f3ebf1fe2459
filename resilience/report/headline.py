"""The shortest forms of a verdict: its sign and word, and one line for logs, notifications and summaries."""

from __future__ import annotations

from resilience.report.values import ReportModel

SIGNS = {"pass": "✔", "fail": "✘", "unknown": "?", "skipped": "-", "declared": "≈"}
"""A sign beside each word, so that a verdict does not stand on colour alone."""


def sign(verdict: str) -> str:
    """Give the sign of a verdict; what is neither passed nor failed gets an exclamation mark."""
    return SIGNS.get(verdict, "!")


def word(verdict: str) -> str:
    """Give a verdict as a heading says it."""
    return verdict.replace("_", " ").upper()


def one_line(model: ReportModel) -> str:
    """Give name, verdict and the one sentence that matters, without line breaks."""
    return f"{word(model.verdict)} {model.name}: {model.sentence}"
