"""Plans that are well formed and could not be run or judged: refused while nothing has been started."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from resilience.lab.breakers.registry import LIBRARIES, NONE
from resilience.plan import LoadedPlan, Plan, PlanInvalid, load_text
from resilience.plan.schema import LabBreaker

PLAN = """\
version: 1
name: demo
lab: {}
phases:
  - {name: warmup, duration: 5s, judge: false}
  - {name: baseline, duration: 10s}
  - {name: spike, duration: 20s}
  - {name: recovery, duration: 15s}
load:
  quotes:
    http:
      url: "/api/quote/{sku}?n={i}"
      method: POST
      headers: {X-Sku: "{sku}"}
      json: {sku: "{sku}", n: "{i}"}
      data: [{sku: "1"}, {sku: "2"}]
      degraded: {header: {X-Degraded: "true"}}
    rate: {default: 10/s, spike: {ramp: 40/s, rise: 2s, fall: 2s}}
faults:
  - {id: slow, proxy: pricing, toxic: {type: latency, attributes: {latency: 2000}}, start: spike+2s, duration: 5s}
breakers:
  pricing: {load: quotes, observe: {wire: pricing}, spec: {dialect: purgatory, failures: 5}}
expect:
  steady: {load: quotes, phase: baseline, p95: "< 150ms"}
  during: {load: quotes, fault: slow, settle: 1s, errors: "< 1%"}
  opens: {breaker: pricing, fault: slow, within: 5s}
  conforms: {breaker: pricing, require: [R1]}
  recovers: {fault: slow, load: quotes, time_to_recover: "< 4s", hold: 6s}
abort:
  - {load: quotes, errors: "> 50%", for: 5s}
"""


def load(text: str) -> LoadedPlan:
    """A plan without an environment of interest."""
    return load_text(text, source="plan.yaml", environment={})


def refused(old: str, new: str) -> str:
    """What is said of the plan above with one thing changed."""
    assert old in PLAN
    with pytest.raises(PlanInvalid) as caught:
        load(PLAN.replace(old, new, 1))
    return "\n".join(caught.value.lines())


def test_sound_plan_is_loaded() -> None:
    """What the cases below change is right to begin with."""
    assert load(PLAN).timeline.duration_ns == 50 * 10**9


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("failures: 5", "failurs: 5", "plan.yaml:22:80: breakers.pricing.spec.failurs: unknown key; did you mean 'failures'?"),
        ("failures: 5", "failures: 0", "breakers.pricing.spec.failures: must be a whole number, at least 1"),
        ("dialect: purgatory", "dialect: purgatry", "breakers.pricing.spec.dialect: unknown dialect 'purgatry'; did you mean 'purgatory'?"),
        ("spec: {dialect: purgatory, failures: 5}", "spec: lab, dialect: hix", "plan.yaml:22:73: breakers.pricing.dialect: unknown dialect 'hix'"),
        ("failures: 5}", "failures: 5}, dialect: nope", "breakers.pricing.dialect: unknown dialect 'nope'"),
        ("/api/quote/{sku}", "/api/quote/{skuu}", "plan.yaml:12:12: load.quotes.http.url: URL: {skuu} is neither {i} nor a field of the data (sku)"),
        ("/api/quote/{sku}", "ftp://h/{sku}", "load.quotes.http.url: 'ftp://h/{sku}?n={i}' is not an http:// or https:// URL"),
        ("/api/quote/{sku}", "http://u:p@h/{sku}", "load.quotes.http.url: credentials belong into"),
        ("/api/quote/{sku}", "http://[h/{sku}", "load.quotes.http.url: "),
        ('{sku: "2"}', '{sk: "2"}', "load.quotes.http.url: URL: {sku} is neither"),
        ("method: POST", "method: PO ST", "load.quotes.http.method: 'PO ST' is not an HTTP method"),
        ('X-Sku: "{sku}"', 'X-Sku: "{sk}"', "plan.yaml:14:24: load.quotes.http.headers.X-Sku: header X-Sku: {sk} is neither"),
        ('X-Sku: "{sku}"', 'X-Sku: "a\\r\\nEvil: b"', "load.quotes.http.headers.X-Sku: header 'X-Sku' holds a character"),
        ('X-Sku: "{sku}"', 'X Sku: "a"', "load.quotes.http.headers.X Sku: header 'X Sku' holds a character"),
        ('X-Sku: "{sku}"', 'Content-Length: "3"', "the length of a body is computed"),
        ('json: {sku: "{sku}"', 'json: {sku: "{skuu}"', "load.quotes.http.json: body: {skuu} is neither {i} nor a field"),
        ("lab: {}", "lab: {breaker: purgatry}", "plan.yaml:3:16: lab.breaker: input should be 'purgatory', 'aiobreaker'"),
        ("settle: 1s", "settle: 5s", "expect.during.settle: the fault 'slow' lasts 5 s: nothing of it is left"),
        ("settle: 1s", "settle: 4s", "expect.during.settle: between then and the end of 'slow' lies no whole second"),
        ("hold: 6s", "hold: 15s", "expect.recovers.hold: the run has 15 s left once the load 'quotes' is back at its baseline, and recovery must hold for 15 s"),
        ("name: recovery, duration: 15s", "name: recovery, duration: 5s", "expect.recovers.hold: the run has 5 s left"),
        ("method: POST", "deadline: 0s", "load.quotes.http.deadline: longer than zero"),
        ("method: POST", "timeout: 0ms", "load.quotes.http.timeout: longer than zero"),
        ("wire: pricing", "poll: 0s", "breakers.pricing.observe.poll: longer than zero"),
        ("within: 5s", "within: 0s", "expect.opens.within: longer than zero"),
        ("for: 5s", "for: 0s", "abort.0.for: longer than zero"),
        ("default: 10/s", "default: 1000001/s", "load.quotes.rate.default: nothing offers more than 1,000,000/s"),
        ("ramp: 40/s", "ramp: 60000060/m", "load.quotes.rate.spike.ramp: nothing offers more"),
        ('{X-Degraded: "true"}', "{}", "load.quotes.http.degraded: exactly one header tells a fallback"),
        ('{X-Degraded: "true"}', '{A: "1", B: "2"}', "load.quotes.http.degraded: exactly one header tells a fallback"),
        ("require: [R1]", "require: []", "expect.conforms.require: is empty; it needs at least one entry"),
        ("phase: baseline", "phase: warmup", "plan.yaml:24:33: expect.steady.phase: the phase 'warmup' has `judge: false`"),
        ("name: baseline, duration: 10s", "name: baseline, duration: 10s, judge: false", "expect.recovers: recovery is measured against the phase 'baseline', which has"),
    ],
)  # fmt: skip
def test_plan_that_could_not_be_run_or_judged_is_refused(old: str, new: str, said: str) -> None:
    """Each with the place of the key at fault and the reason."""
    assert said in refused(old, new)


def test_recovery_without_hold_needs_the_default_or_twice_the_wait() -> None:
    """10 s, or twice the longest wait of a specification that is written out."""
    text = PLAN.replace(", hold: 6s", "")
    assert load(text)
    with pytest.raises(PlanInvalid, match=r"must hold for 10 s \(the default\)"):
        load(text.replace("name: recovery, duration: 15s", "name: recovery, duration: 10s"))
    with pytest.raises(PlanInvalid, match=r"must hold for 16 s \(the default\)"):
        load(text.replace("failures: 5", "wait_ms: 8000"))


def test_recovery_of_all_loads_counts_the_one_that_is_back_last() -> None:
    """Without `load` every stream must recover, so the last one decides how much of the run is left."""
    other = '  other: {http: {url: "/x"}, rate: {default: 1/s, recovery: 5/s}}\nfaults:'
    text = PLAN.replace("faults:", other, 1).replace("slow, load: quotes, time", "slow, time")
    with pytest.raises(PlanInvalid, match="the run has 0 ns left once the load 'other' is back"):
        load(text)


@pytest.mark.parametrize(
    ("key", "at"),
    [
        ('base_url: "shop:80"', "external.base_url"),
        (
            'base_url: "http://h", proxies: {db: {admin_url: "h:8474", proxy: db}}',
            "external.proxies.db.admin_url",
        ),
        (
            'base_url: "http://h", proxies: {db: {admin_url: "http://h", tap_url: x, proxy: db}}',
            "external.proxies.db.tap_url",
        ),
        ('base_url: "http://h", instances: [{name: a, admin_url: "//x"}]', "external.instances.0.admin_url"),
    ],
)
def test_address_of_an_external_system_must_be_one(key: str, at: str) -> None:
    """Once, at the address; not again at every request that is relative to it."""
    text = f"""\
version: 1
name: demo
external: {{{key}}}
phases: [{{name: baseline, duration: 10s}}]
load: {{quotes: {{http: {{url: /q}}, rate: 10/s}}}}
expect: {{steady: {{load: quotes, p95: "< 150ms"}}}}
"""
    with pytest.raises(PlanInvalid) as caught:
        load(text)
    assert [".".join(map(str, p.path)) for p in caught.value.problems] == [at]


def test_plan_and_lab_know_the_same_breakers() -> None:
    """The schema's list is the lab's, which a plan cannot import: it would draw in clocks and sockets."""
    assert set(get_args(LabBreaker)) == {*LIBRARIES, NONE}


def test_schema_of_quantities_is_text() -> None:
    """Checks behind the reading of a quantity leave the published schema as it was."""
    schema = json.dumps(Plan.model_json_schema())
    deadline = Plan.model_json_schema()["$defs"]["HttpLoad"]["properties"]["deadline"]
    assert deadline["type"] == "string"
    assert '"examples": ["50/s"]' in schema
