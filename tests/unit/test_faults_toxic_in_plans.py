"""Plans know every toxic, the only stream of those that have one, and the types of attributes."""

from __future__ import annotations

import pytest

from faults.toxics import OWN_TOXICS, TOXICS, Toxic, only_stream
from resilience.plan import PlanInvalid, load_text

PLAN = """\
version: 1
name: demo
lab: {}
phases:
  - {name: baseline, duration: 10s}
load:
  quotes: {rate: 10/s, http: {url: /api/quote/1}}
faults:
  - {id: f, proxy: pricing, toxic: TOXIC, start: baseline+1s, duration: 5s}
expect:
  steady: {load: quotes, phase: baseline, p95: "< 150ms"}
"""


def complaints(toxic: str) -> str:
    """What is said about a plan with that toxic; nothing where it is fine."""
    try:
        load_text(PLAN.replace("TOXIC", toxic), source="plan.yaml", environment={})
    except PlanInvalid as invalid:
        return "\n".join(invalid.lines())
    return ""


@pytest.mark.parametrize("kind", [toxic for toxic in TOXICS + OWN_TOXICS if toxic.kind != "slicer"])
def test_plan_takes_every_toxic(kind: type[Toxic]):
    """In the stream where it makes sense; at most it says that the defaults of its attributes would do nothing."""
    stream = only_stream(kind)
    said = complaints(f"{{type: {kind.kind}, stream: {stream.value if stream else 'downstream'}}}")
    assert not said or "would do nothing" in said


@pytest.mark.parametrize(
    ("toxic", "said"),
    [
        (
            "{type: http, stream: upstream, attributes: {probability: 0.5, headers: 'Retry-After: 1', delay: 5}}",
            "",
        ),
        ("{type: http, stream: upstream, attributes: {probability: 1}}", ""),
        ("{type: http, attributes: {}}", "http acts upstream only"),
        (
            "{type: http, stream: upstream, attributes: {probability: high}}",
            "probability of http is a number",
        ),
        (
            "{type: http, stream: upstream, attributes: {probability: 2}}",
            "probability must be between 0 and 1",
        ),
        ("{type: http, stream: upstream, attributes: {body: 5}}", "body of http is a text"),
        ("{type: http, stream: upstream, attributes: {delay: 0.5}}", "delay of http is a whole number"),
        ("{type: latency_sine, attributes: {hihg: 5}}", "did you mean 'high'?"),
        ("{type: latency_nromal}", "did you mean 'latency_normal'?"),
    ],
)
def test_plan_says_what_is_wrong_with_a_toxic(toxic: str, said: str):
    """Types, ranges, names and streams."""
    found = complaints(toxic)
    assert said in found
    assert bool(said) == bool(found)
