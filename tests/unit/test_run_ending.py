"""Exit codes and abort conditions."""

from __future__ import annotations

import itertools

import pytest

from resilience.plan.schema import Abort
from resilience.run.abort import AbortWatch
from resilience.run.ending import PRECEDENCE, Verdict, exit_code, worst


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        ("pass", 0),
        ("fail", 1),
        ("unknown", 3),
        ("invalid", 3),
        ("aborted", 4),
        ("unhealed", 5),
        ("setup_failed", 6),
    ],
)
def test_exit_code_is_the_documented_one(verdict: str, code: int) -> None:
    """README's table."""
    assert exit_code(Verdict(verdict)) == code


def test_signals_exit_as_shells_expect_unless_a_fault_was_left() -> None:
    """130 and 143 after healing; 5 if something was left."""
    assert exit_code(Verdict.ABORTED, signal=2) == 130
    assert exit_code(Verdict.ABORTED, signal=15) == 143
    assert exit_code(Verdict.UNHEALED, signal=15) == 5


def test_worst_follows_the_precedence_for_every_pair() -> None:
    """Of two verdicts the one that stands earlier decides."""
    for first, second in itertools.combinations(PRECEDENCE, 2):
        assert worst([second, first]) is first
    assert worst([]) is Verdict.UNKNOWN


def watch(shares: list[float]) -> str | None:
    """Ask about one condition, after one second for each error share."""
    found = AbortWatch([Abort.model_validate({"load": "orders", "errors": "> 20%", "for": "3s"})])
    for second, share in enumerate(shares):
        counts = {"offered": 100, "ok": 100 - int(share * 100), "5xx": int(share * 100)}
        found.feed({"kind": "bins", "load": "orders", "s": second, "n": counts})
    return found.tripped(len(shares) + 2)


def test_abort_trips_when_the_condition_held_long_enough() -> None:
    """Three bad seconds trip a condition `for: 3s`, and the reason says what was seen."""
    assert "orders > 20% for 3 s" in (watch([0, 0.5, 0.5, 0.5]) or "")


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0, 0.5, 0.5], [0.2, 0.2, 0.2], []])
def test_abort_does_not_trip_early(shares: list[float]) -> None:
    """Too short, interrupted, or just at the bound."""
    assert watch(shares) is None
