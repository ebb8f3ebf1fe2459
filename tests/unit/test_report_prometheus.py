"""A run as Prometheus samples: parsed back by Prometheus' own parser."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from resilience.report.prometheus import render_prometheus

VERDICT = {
    "plan": 'a "plan"\nof two lines', "stack": "embedded", "verdict": "fail",
    "expectations": [
        {"id": "steady", "verdict": "pass"}, {"id": "opens", "verdict": "fail"}, {"id": "x", "verdict": "unknown"},
    ],
    "phases": [{"name": "baseline", "judge": True}],
    "loads": {"quotes": {"baseline": {"p95_ms": 12.5, "good_share": 0.99}}},
    "recovery": {"down": {"time_to_recover_s": {"censored_above_s": 9.0}}},
    "faults": [{"id": "down", "verified": True}],
}  # fmt: skip


def samples() -> dict[tuple[str, str], float]:
    """Value by name of the metric and its last own label."""
    found = {}
    for family in text_string_to_metric_families(render_prometheus(VERDICT)):
        for sample in family.samples:
            assert sample.labels["plan"] == VERDICT["plan"]
            own = {k: v for k, v in sample.labels.items() if k not in ("plan", "stack", "unit")}
            found[sample.name, "".join(own.values())] = sample.value
    return found


def test_prometheus_samples_say_what_the_verdict_says() -> None:
    """An unknown expectation has no sample: neither 0 nor 1 would be true."""
    found = samples()
    assert found["chaos_spike_run_verdict", "fail"] == 1
    assert found["chaos_spike_run_verdict", "pass"] == 0
    assert found["chaos_spike_expectation_holds", "steady"] == 1
    assert found["chaos_spike_expectation_holds", "opens"] == 0
    assert ("chaos_spike_expectation_holds", "x") not in found
    assert found["chaos_spike_figure", "quotes baseline p95"] == 12.5
    assert math.isinf(found["chaos_spike_figure", "down time to recover"])
    assert found["chaos_spike_fault_verified_healed", "down"] == 1
