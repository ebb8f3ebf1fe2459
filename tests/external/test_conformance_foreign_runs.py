"""Libraries of npm, Go and Java under the conformance stimulus: they keep their dialects, and gobreaker keeps the ideal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from resilience.breaker.dialects import DIALECTS
from tests.conformance.builds import missing_tools
from tests.conformance.candidates import CANDIDATES
from tests.conformance.runs import Judged, conformance_runs, open_rules

pytestmark = [pytest.mark.external, pytest.mark.alone, pytest.mark.timeout(500)]

FOREIGN = {candidate.name: candidate for candidate in CANDIDATES if candidate.language != "python"}
Runs = Mapping[str, Judged]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    """One run of each library that this machine can run, a few at a time."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    able = [candidate for candidate in FOREIGN.values() if not missing_tools(candidate.language)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAOS_SPIKE_STATE_DIR", str(folder / "state"))
        yield await conformance_runs(able, folder)


def run_of(name: str, runs: Runs) -> Judged:
    """The run of a library; skips, or fails where one of its tools is required, if there is none."""
    if missing := missing_tools(FOREIGN[name].language):
        reason = f"{name} needs {', '.join(missing)} on PATH"
        if set(missing) & set(os.environ.get("CHAOS_SPIKE_REQUIRE", "").split(",")):
            pytest.fail(f"CHAOS_SPIKE_REQUIRE names it, but {reason}")
        pytest.skip(reason)
    return runs[name]


@pytest.mark.parametrize("name", FOREIGN)
def test_conformance_foreign_library_keeps_its_own_dialect(runs: Runs, name: str) -> None:
    """Nothing fails under the own dialect, and what deviates is declared there."""
    run = run_of(name, runs)
    assert run.own["verdict"] in {"pass", "unknown"}, run.own["reason"]
    rules = run.own_rules
    assert [rule for rule, found in rules.items() if found["verdict"] == "FAIL"] == []
    assert {rule for rule, found in rules.items() if found["verdict"] == "DECLARED"} <= set(
        DIALECTS[name].deviations
    )


def test_conformance_gobreaker_keeps_the_ideal(runs: Runs) -> None:
    """The one with a generation on every permit fails nothing strictly, and nothing but coarse evidence leaves a rule open."""
    run = run_of("gobreaker", runs)
    assert [rule for rule, found in run.strict_rules.items() if found["verdict"] == "FAIL"] == []
    assert {
        rule: why for rule, why in open_rules(run.strict).items() if not why.startswith("too coarse")
    } == {}


@pytest.mark.parametrize("name", ["resilience4j", "failsafe", "failsafe-go", "opossum", "cockatiel"])
def test_conformance_libraries_without_epochs_fail_strictly(runs: Runs, name: str) -> None:
    """An outcome of a call begun before the opening counts in half-open: R13 fails strictly, with a witness."""
    strictly = run_of(name, runs).strict_rules["R13"]
    assert strictly["verdict"] == "FAIL"
    assert any("no explanation left" in line for line in strictly["witness"]["lines"])
