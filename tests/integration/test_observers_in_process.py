"""Real breaker objects, observed in this process on the real clock: what the verifier says of them, under both standards."""

from __future__ import annotations

import pytest
from in_process_world import FAILURES, MAKERS, WAIT_S, spike, threads_through

from resilience.breaker.observers.in_process.registry import attach
from resilience.breaker.report import Verdict
from resilience.breaker.sources.objects import spec_of_object
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

pytestmark = [pytest.mark.integration, pytest.mark.alone]


@pytest.mark.parametrize("library", MAKERS)
async def test_in_process_library_passes_its_dialect_and_fails_probe_cap_under_strict(library: str) -> None:
    """Under its dialect the unbounded probes are declared and nothing fails; under strict R8 fails with the calls named."""
    breaker, guard = MAKERS[library]()
    observer = attach(breaker, "b")
    await spike(guard)
    observer.detach()
    spec = BreakerSpec.from_mapping(spec_of_object(breaker, "b"))
    assert (spec.dialect, spec.failures, spec.wait_ns) == (library, FAILURES, WAIT_S * 1e9)
    history = observer.recorder.history()
    report = verify(history, spec, required={"R1", "R3", "R4", "R5", "R8", "R10", "R15"})
    assert report.verdict() == "pass", report.reason()
    assert "R8" in report.declared
    assert report.instances[0].healthy_path, report.instances[0].states
    strict = verify(history, spec, strict=True).instances[0].rules["R8"]
    assert strict.verdict is Verdict.FAIL
    assert "probes at once, where 1 is permitted" in strict.reason
    assert strict.witness is not None
    lines = strict.witness.lines
    assert lines[0].startswith("opened at")
    assert len([line for line in lines if line.startswith("call ")]) >= 2


def test_in_process_pybreaker_of_threads_passes_strict() -> None:
    """One lock around each call: four threads see one probe at a time, and the strict standard has nothing to say."""
    pybreaker = pytest.importorskip("pybreaker")
    breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=WAIT_S, success_threshold=2)
    observer = attach(breaker, "b")
    threads_through(breaker.call)
    observer.detach()
    spec = BreakerSpec.from_mapping(spec_of_object(breaker, "b"))
    report = verify(
        observer.recorder.history(),
        spec,
        strict=True,
        required={"R1", "R3", "R4", "R5", "R8", "R10", "R15", "R17"},
    )
    assert report.verdict() == "pass", report.reason()
    assert report.instances[0].healthy_path
