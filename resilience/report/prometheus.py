"""A judged run as Prometheus samples, for a node exporter's textfile collector or a push gateway.

Gauges only: a run is over when they are written. Names and labels are ours; values are those of `verdict.json`. Infinite
figures ("did not recover while we watched") are `+Inf`, which Prometheus knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from resilience.history.figures import figures_of

VERDICTS = ("pass", "fail", "unknown", "invalid", "aborted", "setup_failed", "unhealed")


def render_prometheus(verdict: Mapping[str, Any]) -> str:
    """The exposition text of one verdict."""
    registry = CollectorRegistry()
    where = {"plan": str(verdict.get("plan") or ""), "stack": str(verdict.get("stack") or "")}
    labels = tuple(where)
    state = Gauge(
        "chaos_spike_run_verdict", "1 for the verdict of the run.", (*labels, "verdict"), registry=registry
    )
    for name in VERDICTS:
        state.labels(**where, verdict=name).set(verdict.get("verdict") == name)
    holds = Gauge(
        "chaos_spike_expectation_holds", "1 if it holds, 0 if not; absent where unknown.",
        (*labels, "expectation"), registry=registry,
    )  # fmt: skip
    for each in verdict.get("expectations") or ():
        if each.get("verdict") in ("pass", "fail"):
            holds.labels(**where, expectation=str(each.get("id"))).set(each["verdict"] == "pass")
    figure = Gauge(
        "chaos_spike_figure", "A figure of the run.", (*labels, "figure", "unit"), registry=registry
    )
    for each in figures_of(verdict):
        figure.labels(**where, figure=each.name, unit=each.unit).set(each.value)
    healed = Gauge(
        "chaos_spike_fault_verified_healed", "1 if the fault is verified as healed.",
        (*labels, "fault"), registry=registry,
    )  # fmt: skip
    for each in verdict.get("faults") or ():
        healed.labels(**where, fault=str(each.get("id"))).set(bool(each.get("verified")))
    return generate_latest(registry).decode()
