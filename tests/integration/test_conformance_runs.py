"""Python's breaker libraries, run for real under the conformance stimulus: they keep their dialects, and fail the ideal where known to.

All of them run once, a few at a time, and every test looks at the same records. What a busy machine may cost is sharpness: a rule
may stay open because the evidence is too coarse, and for no other reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from resilience.breaker.dialects import DIALECTS
from tests.conformance.candidates import CANDIDATES, Asked
from tests.conformance.runs import Judged, conformance_runs, instance_of, open_rules
from tests.conformance.table import page

pytestmark = [pytest.mark.integration, pytest.mark.alone, pytest.mark.timeout(300)]

PYTHON = {candidate.name: candidate for candidate in CANDIDATES if candidate.language == "python"}
UNBOUNDED = ("aiobreaker", "circuitbreaker", "purgatory", "hyx", "pyresilience")
"""Those that let any number of calls into half-open."""
ASKED = Asked(wait_ms=500, timeout_ms=900)
"""Half of what the page is made with: the wait is what takes time. Still, a call may last from closed into half-open."""

Runs = Mapping[str, Judged]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runs]:
    """One run of each library, a few at a time; each process keeps its journals in a directory of its own."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAOS_SPIKE_STATE_DIR", str(folder / "state"))
        yield await conformance_runs(PYTHON.values(), folder, ASKED)


@pytest.mark.parametrize("name", PYTHON)
def test_conformance_library_keeps_its_own_dialect(runs: Runs, name: str) -> None:
    """Nothing fails under the own dialect, what deviates is declared there, and what stays open is too coarse."""
    run = runs[name]
    assert run.own["verdict"] in {"pass", "unknown"}, run.own["reason"]
    rules = run.own_rules
    assert [rule for rule, found in rules.items() if found["verdict"] == "FAIL"] == []
    declared = {rule for rule, found in rules.items() if found["verdict"] == "DECLARED"}
    assert declared <= set(DIALECTS[name].deviations)
    assert {rule: why for rule, why in open_rules(run.own).items() if not why.startswith("too coarse")} == {}
    states = instance_of(run.own)["states"]
    assert states[0] == states[-1] == "closed"
    assert states.count("open") >= 10


@pytest.mark.parametrize("name", UNBOUNDED)
def test_conformance_unbounded_probes_fail_strictly_with_a_witness(runs: Runs, name: str) -> None:
    """R8 is declared under the dialect and fails under strict; the witness names the calls that were in at once."""
    run = runs[name]
    assert run.own_rules["R8"]["verdict"] == "DECLARED"
    assert run.strict["verdict"] == "fail"
    strictly = run.strict_rules["R8"]
    assert strictly["verdict"] == "FAIL"
    assert "probes at once, where 1 is permitted" in strictly["reason"]
    at_once = [line for line in strictly["witness"]["lines"] if line.startswith("call ")]
    assert len(at_once) >= 2
    assert all("started" in line and "admitted by" in line for line in at_once)


@pytest.mark.parametrize("name", ["pybreaker", "fluxgate"])
def test_conformance_capped_probes_hold_strictly(runs: Runs, name: str) -> None:
    """One call at a time in half-open, the others wait: R8 does not fail, though the same calls asked at once."""
    assert runs[name].strict_rules["R8"]["verdict"] != "FAIL"


def test_conformance_page_shows_every_run(runs: Runs) -> None:
    """A row and a section for each library, with the witness of each strict failure."""
    text = page(list(runs.values()), asked=ASKED)
    for name, run in runs.items():
        assert f"### {name} {PYTHON[name].version()}\n" in text
        for rule in run.strict_rules.values():
            if rule["verdict"] == "FAIL":
                assert "\n".join(rule["witness"]["lines"]) in text
