"""Faulty breakers, one mistake each: every one is caught with a witness, by the rule that it breaks, and the matrix says by which evidence."""

from __future__ import annotations

import pytest
from breaker_matrix import NOTHING, PAGE, WIRE_CANNOT, cell, row
from breaker_mutants import EVIDENCE, MUTANTS, Mutant, failed, judge
from breaker_stimulus import CORRECT, spec_for, stimulus

from resilience.breaker.history import State
from resilience.breaker.report import Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify


def written(name: str) -> str:
    """The row of the published matrix."""
    (found,) = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")
    ]
    return found


@pytest.mark.parametrize("hop_ms", [0, 5])
@pytest.mark.parametrize("evidence", EVIDENCE)
def test_breaker_mutants_spare_the_correct_one(evidence: str, hop_ms: int) -> None:
    """The workload that exposes every mutant finds nothing wrong with a correct breaker, under jitter too."""
    assert failed(judge(None, evidence, hop_ms=hop_ms)) == set()


def test_breaker_stimulus_exercises_every_rule() -> None:
    """No rule that applies is left unexercised by the workload."""
    report = judge(None, "all")
    silent = {r.rule for r in report.instances[0].rules.values() if r.verdict is not Verdict.PASS}
    assert silent == {"R18", "R19", "R20"}  # no back-off, no budget, no fleet


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_breaker_mutant_fails_the_rule_it_breaks(mutant: Mutant) -> None:
    """By all evidence the rule that it breaks fails, with a witness; and the published matrix says the same."""
    assert mutant.rule in failed(judge(mutant, "all"))
    assert written(mutant.name).split(" | ")[-2] == cell(mutant, "all")


@pytest.mark.parametrize("mutant", MUTANTS[::7], ids=lambda mutant: mutant.name)
def test_breaker_matrix_is_what_a_fresh_run_gives(mutant: Mutant) -> None:
    """Whole rows of the published matrix, run again; the others are the command's business."""
    assert written(mutant.name) == row(mutant)


def test_breaker_matrix_lists_every_mutant() -> None:
    """One row a mutant, and one for the correct breaker, which no evidence finds fault with."""
    names = [
        line.split("`")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    assert names == ["none", *[mutant.name for mutant in MUTANTS]]
    assert written("none").count(f"| {NOTHING} ") == len(EVIDENCE)


def test_breaker_matrix_explains_what_the_wire_cannot_see() -> None:
    """Whatever survives the wire alone is listed with the reason, and nothing else is."""
    lines = {name: written(name).split(" | ") for name in (mutant.name for mutant in MUTANTS)}
    assert {name for name, cells in lines.items() if cells[2] == NOTHING} == set(WIRE_CANNOT)


def test_breaker_blame_names_the_parameter_that_explains() -> None:
    """A breaker with another threshold is told by its threshold."""
    (mutant,) = [m for m in MUTANTS if m.name == "opens_late"]
    report = judge(mutant, "wire")
    assert report.instances[0].rules["R3"].blame == ("holds if failures = 4",)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_breaker_missing_event_fails(lost: int) -> None:
    """A transition that was not reported is noticed: the next one does not start where the last ended."""
    world = stimulus(CORRECT)
    world.drop_events = frozenset({lost})
    report = verify(world.run(), BreakerSpec.from_mapping(spec_for(CORRECT)))
    assert failed(report) & {"R1", "R17"}


def test_breaker_polls_alone_decide_nothing_they_cannot_see() -> None:
    """Polls alone leave every rule about calls open."""
    assert EVIDENCE["polls"] == (State,)
    rules = judge(None, "polls").instances[0].rules
    assert rules["R4"].verdict is Verdict.UNKNOWN
    assert rules["R8"].verdict is Verdict.UNKNOWN
