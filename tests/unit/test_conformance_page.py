"""The conformance page and what its command's exit code says, from verdicts as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.__main__ import exit_code, main
from tests.conformance.candidates import CANDIDATES, Asked
from tests.conformance.runs import Judged, open_rules
from tests.conformance.table import Missing, page

CANDIDATE = next(c for c in CANDIDATES if c.name == "gobreaker")


def rule(verdict: str, reason: str = "", lines: tuple[str, ...] = (), margin: str | None = None) -> dict:
    """One rule as it stands in a verdict."""
    witness = {"window_s": [0, 1], "lines": list(lines)} if lines else None
    return {
        "title": "a rule",
        "verdict": verdict,
        "reason": reason,
        "witness": witness,
        "blame": ["holds if permitted = 5"] if lines else [],
        "margin": margin,
    }


def verdict(word: str, **rules: dict) -> dict:
    """A verdict on a run with one instance of the one breaker."""
    instance = {
        "rules": rules,
        "states": ["closed", "open", "half_open", "closed"],
        "observations": {"calls": 40, "arrivals": 30},
    }
    return {
        "verdict": word,
        "reason": word,
        "breakers": {"dependency": {"required": ["R2", "R8"], "instances": [instance]}},
    }


def judged(own: str = "pass", strict: str = "fail") -> Judged:
    """A library whose probes have no bound."""
    return Judged(
        CANDIDATE,
        Path("record"),
        verdict(
            own, R2=rule("UNKNOWN", "too coarse"), R8=rule("DECLARED", margin="at most 5 certainly at once")
        ),
        verdict(
            strict,
            R2=rule("UNKNOWN", "too coarse"),
            R8=rule("FAIL", "5 probes at once", ("call 1", "call 2"), "at most 5 certainly at once"),
        ),
    )


def test_conformance_page_has_figures_marks_and_witnesses() -> None:
    """The row counts, the matrix marks the declared rule, the section quotes witness, blame and what stayed open."""
    text = page([judged()], asked=Asked(), machine="a machine")
    assert "| gobreaker | 2.4.0 | Go | pass | fail | R8 | 5 |  | 40 | 30 | 1 |" in text
    assert "| gobreaker | · | D |" in text
    assert "```\ncall 1\ncall 2\nholds if permitted = 5\n```" in text
    assert "R2 a rule is required, and open: too coarse." in text
    assert "Measured on a machine." in text
    assert open_rules(judged().own) == {"R2": "too coarse"}


def test_conformance_page_says_what_was_not_run() -> None:
    """A language that is not there is a row with the reason, and no section."""
    text = page([Missing(CANDIDATE, "go not on this machine")])
    assert "| gobreaker | 2.4.0 | Go | not run: go not on this machine |" in text
    assert "### gobreaker" not in text


def test_conformance_exit_code_is_that_of_the_worst_library() -> None:
    """A broken dialect beats one that is open or was not run; strict failures are what the page is about."""
    missing = Missing(CANDIDATE, "go not on this machine")
    assert exit_code([judged()]) == 0
    assert exit_code([judged(), missing]) == 3
    assert exit_code([judged("unknown")]) == 3
    assert exit_code([judged("fail"), missing]) == 1


def test_conformance_command_refuses_an_unknown_library(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, naming what is known."""
    with pytest.raises(SystemExit) as end:
        main(["hystrix"])
    assert end.value.code == 2
    assert "no such library: hystrix; known: pybreaker, aiobreaker" in capsys.readouterr().err


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda c: c.name)
def test_conformance_candidate_is_pinned_and_its_specification_holds(candidate: object) -> None:
    """A version of numbers, and a specification that the verifier takes."""
    from resilience.breaker.spec import BreakerSpec

    assert candidate.version()[0].isdigit()
    spec = BreakerSpec.from_mapping(candidate.spec(Asked()))
    assert spec.dialect == candidate.name
