"""Whatever is written at whatever key of a plan: it loads, or it is said what is wrong. Never a traceback."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.plan import PlanInvalid, load_text

PLAN = """\
version: 1
name: demo
lab: {breaker: hyx}
phases: [{name: baseline, duration: 10s}, {name: spike, duration: 20s}, {name: recovery, duration: 15s}]
load:
  quotes:
    http: {url: "/q/{sku}", headers: {X-Sku: "{sku}"}, json: {sku: "{sku}"}, data: [{sku: "1"}], degraded: {header: {X: "1"}}}
    rate: {default: 10/s, spike: {ramp: 40/s, rise: 2s, fall: 2s}}
faults:
  - {id: slow, proxy: pricing, toxic: {type: latency, attributes: {latency: 2000}}, start: spike+2s, duration: 5s}
breakers:
  pricing: {load: quotes, observe: {wire: pricing}, spec: {dialect: purgatory, failures: 5}}
expect:
  steady: {load: quotes, phase: baseline, p95: "< 150ms"}
  opens: {breaker: pricing, fault: slow, within: 5s}
  recovers: {fault: slow, load: quotes, time_to_recover: "< 4s", hold: 6s}
abort: [{load: quotes, errors: "> 50%", for: 5s}]
allow: {services: [pricing], max_faults: 2}
"""


def keys(node: object, path: tuple[str, ...] = ()) -> list[str]:
    """Every path of a plan's values, as `--set` writes it."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [".".join(path)] if path else []
    for key, child in children:
        found += keys(child, (*path, str(key)))
    return found


def all_keys() -> list[str]:
    """Of the plan above."""
    from ruamel.yaml import YAML

    return keys(YAML(typ="safe").load(PLAN))


PIECES = [
    "x", "[", "]", "{", "}", ":", " ", "!!", "&a", "*a", "${", "$$", "-", "1", "'", '"', "\n", "0s", "null", "true", "#", "%",
    "<<", "?", "1e400", ".nan", "-5s", "\x07", "{a: 1}", "[[]]", "[null]", "99999999999999999999", "http://[", "{sku}",
]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(all_keys()), st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))
def test_any_value_at_any_key_loads_or_is_a_problem(key: str, value: str) -> None:
    """Shapes, tags, numbers and broken YAML where something else belongs."""
    said: list[str] = []
    recorded = ""
    try:
        recorded = load_text(PLAN, source="p", environment={}, settings=[f"{key}={value}"]).recorded
    except PlanInvalid as error:
        said = error.lines()
    assert bool(recorded) != bool(said)
    assert all(line.startswith(("p:", "--set ")) for line in said)
    if recorded:
        assert load_text(recorded, source="r", environment=None).recorded == recorded
