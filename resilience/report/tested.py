"""The page of one chaos test: its outcome, its timeline, its failure, and each breaker's rules with what failed first.

It has no script and loads nothing, like the page of a run, whose style it shares. Texts are escaped by the template engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from resilience.report.html import style_sheet, templates

_ORDER = {"fail": 0, "declared": 1, "pass": 2}


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """One rule on one instance; `verdict` in small letters."""

    rule: str
    title: str
    verdict: str
    found: str


@dataclass(frozen=True, slots=True)
class TestedBreaker:
    """One breaker as the test asserted on it: `how` says by what, `again` is the command that judges it again."""

    name: str
    verdict: str
    how: str
    reason: str
    again: str
    rules: tuple[RuleFinding, ...]

    @property
    def settled(self) -> list[RuleFinding]:
        """What was decided, the broken first."""
        return sorted(
            (each for each in self.rules if each.verdict in _ORDER), key=lambda each: _ORDER[each.verdict]
        )

    @property
    def open(self) -> list[RuleFinding]:
        """What the calls of the test did not decide."""
        return [each for each in self.rules if each.verdict not in _ORDER]


def render_test_page(
    title: str, *, outcome: str, seed: int, timeline: str, failure: str, breakers: Sequence[TestedBreaker]
) -> str:
    """Give the whole page; `outcome` is pass or fail."""
    return (
        templates()
        .get_template("test.html.j2")
        .render(
            title=title,
            outcome=outcome,
            seed=seed,
            timeline=timeline,
            failure=failure,
            breakers=breakers,
            style=Markup(style_sheet()),  # noqa: S704 - our own file and palette
        )
    )
