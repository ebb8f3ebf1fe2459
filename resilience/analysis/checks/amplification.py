"""The expectation that nobody multiplies calls by retrying, counted on the wire. Pure."""

from __future__ import annotations

from resilience.analysis.checks.base import unknown
from resilience.analysis.evidence import RunEvidence
from resilience.analysis.findings import Findings
from resilience.analysis.judgement import FAIL, PASS, Judgement
from resilience.plan.schema import AmplificationExpectation
from resilience.plan.units import format_number


def check_amplification(
    evidence: RunEvidence, findings: Findings, name: str, wanted: AmplificationExpectation
) -> Judgement:
    """Requests that the tap saw per distinct request id of the loads that cause them."""
    expected = f"calls to {wanted.proxy} per call offered {wanted.amplification.text}"
    arrivals = findings.arrivals.get(wanted.proxy, ())
    if not arrivals:
        return unknown(name, expected, f"no tap stands before {wanted.proxy}, or nothing passed it")
    lost = [gap for gap in evidence.events.get("gap", ()) if gap.get("proxy") == wanted.proxy]
    if lost:
        return unknown(
            name, expected, f"the tap before {wanted.proxy} lost records: a retry may be among them"
        )
    loads = [wanted.load] if wanted.load is not None else list(evidence.plan.load)
    mine = [found for found in arrivals if _load_of(found, evidence.run_id) in loads]
    distinct = len(set(mine))
    if not distinct:
        return unknown(name, expected, "no call on the wire carries an id of this run's load")
    ratio = len(mine) / distinct
    return Judgement(
        name,
        expected,
        format_number(ratio),
        PASS if wanted.amplification.holds(ratio) else FAIL,
        margin=f"{wanted.amplification.margin(ratio):+.0%}",
        evidence={"arrivals": len(mine), "distinct_ids": distinct, "loads": loads},
    )


def _load_of(request_id: str, run_id: str) -> str | None:
    """The load in an id `RUN-LOAD-NUMBER`; names of loads may hold dashes themselves."""
    run, _, rest = request_id.partition("-")
    load, _, number = rest.rpartition("-")
    return load if run == run_id and number.isdigit() else None
