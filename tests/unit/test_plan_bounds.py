"""Bounds that cannot fail or cannot hold: refused where that is certain, told where it may be meant."""

from __future__ import annotations

import os
import re

import pytest

from resilience.cli.scenarios import load_or_exit, scenario_names
from resilience.load import schedule
from resilience.load.model import Shape
from resilience.plan import LoadedPlan, Plan, PlanInvalid, load_text
from resilience.plan.units import DURATION, NUMBER, SHARE, parse_comparison

PLAN = """\
version: 1
name: demo
lab: {}
phases:
  - {name: baseline, duration: 10s}
  - {name: spike, duration: 20s}
  - {name: recovery, duration: 25s}
load:
  quotes: {http: {url: "/q"}, rate: 10/s}
  bursts: {http: {url: "/b"}, rate: {default: 0/s, spike: 5/s}}
faults:
  - {id: slow, proxy: pricing, toxic: {type: latency, attributes: {latency: 2000}}, start: spike+2s, duration: 5s}
breakers:
  pricing: {load: quotes, observe: {wire: pricing}, spec: {dialect: purgatory, failures: 5}}
expect:
  steady: {load: quotes, phase: baseline, p95: "< 150ms", throughput: ">= 9/s"}
  quiet: {load: bursts, phase: spike, errors: "<= 5%"}
  opens: {breaker: pricing, fault: slow, within: 5s}
  recovers: {fault: slow, load: quotes, time_to_recover: "< 4s"}
  kept: {service: gateway, growth: "< 200MB", restarts: "== 0"}
abort:
  - {load: quotes, errors: "> 50%", for: 5s}
  - {service: gateway, memory: "> 500MB", for: 5s}
  - {load: bursts, errors: "> 50%", for: 10s}
  - {probe: /health, for: 50s}
"""


def changed(old: str, new: str) -> str:
    """The plan above with one thing changed."""
    assert PLAN.count(old) == 1, old
    return PLAN.replace(old, new)


def load(text: str) -> LoadedPlan:
    """A plan without an environment of interest."""
    return load_text(text, source="plan.yaml", environment={})


def test_sound_plan_raises_no_doubt() -> None:
    """What the cases below change is right to begin with."""
    assert load(PLAN).doubts == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"<= 5%"', '"<= 100%"', "plan.yaml:17:47: expect.quiet.errors: '<= 100%' holds whatever happens"),
        ('"<= 5%"', '"< 0%"', "expect.quiet.errors: '< 0%' can never hold"),
        ('"<= 5%"', '"> 100%"', "expect.quiet.errors: '> 100%' can never hold"),
        ('"< 150ms"', '">= 0ms"', "expect.steady.p95: '>= 0ms' holds whatever happens"),
        ('"== 0"', '">= 0"', "expect.kept.restarts: '>= 0' holds whatever happens"),
        ('">= 9/s"', '"> 10/s"', "expect.steady.throughput: '> 10/s' can never hold: the load 'quotes' offers 10/s"),
        ("bursts, phase: spike", "bursts, phase: baseline", "expect.quiet.phase: the load 'bursts' offers nothing in the phase"),
        ('"> 50%", for: 5s', '"< 80%", for: 5s', "plan.yaml:22:28: abort.0.errors: '< 80%' would stop the run while all is well; say what is too much, such as '> 80%'"),
        ('"> 50%", for: 5s', '"== 0%", for: 5s', "abort.0.errors: '== 0%' would stop the run while all is well"),
        ('"> 50%", for: 5s', '"> 100%", for: 5s', "abort.0.errors: '> 100%' can never hold"),
        ('"> 50%", for: 5s', '">= 0%", for: 5s', "abort.0.errors: '>= 0%' holds whatever happens"),
        ('"> 500MB"', '"<= 500MB"', "abort.1.memory: '<= 500MB' would stop the run while all is well"),
        ('"> 500MB"', '"== 500MB"', "abort.1.memory: '== 500MB' asks for exactly that figure, which a run may well never show; say '> 500MB'"),
        ('"> 50%", for: 5s', '"== 50%", for: 5s', "abort.0.errors: '== 50%' asks for exactly that figure"),
        ('"> 50%", for: 5s', '"> 50%", for: 10m', "plan.yaml:22:42: abort.0.for: the run lasts 55 s"),
        ('"> 50%", for: 5s', '"> 50%", for: 53s', "abort.0.for: the run lasts 55 s, and of a load the last 2 s at each moment are left out: nothing can hold for that long"),
        ('500MB", for: 5s', '500MB", for: 55s', "abort.1.for: the run lasts 55 s"),
        ('"> 50%", for: 10s', '"> 50%", for: 21s', "abort.2.for: the load 'bursts' offers calls in no more than 20 seconds in a row"),
        ("for: 50s", "for: 1m", "abort.3.for: the run lasts 55 s"),
    ],
)  # fmt: skip
def test_bound_that_decides_nothing_is_refused(old: str, new: str, said: str) -> None:
    """Each with the place of the value and why it says nothing of a system."""
    with pytest.raises(PlanInvalid) as caught:
        load(changed(old, new))
    assert said in "\n".join(caught.value.lines())


def test_abort_where_everything_fails_is_a_bound() -> None:
    """All of the calls is a figure that a run does show."""
    assert load(changed('"> 50%", for: 5s', '"== 100%", for: 5s')).plan.abort[0].errors is not None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"<= 5%"', '"> 5%"', "plan.yaml:17:47: expect.quiet.errors: '> 5%' holds when things are bad; if they are to be good, write '<'"),
        ('">= 9/s"', '"< 9/s"', "expect.steady.throughput: '< 9/s' holds when things are bad; if they are to be good, write '>'"),
        ("within: 5s", "within: 10m", "expect.opens.within: longer than 'slow' lasts (5 s): a breaker that opens after the fault has gone would do"),
        ('"< 4s"', '"< 40s"', "expect.recovers.time_to_recover: the run has 38 s left for it, so that a later recovery is unknown and never a failure; make the last phase 12 s longer"),
    ],
)  # fmt: skip
def test_bound_that_may_be_meant_is_told_and_run(old: str, new: str, said: str) -> None:
    """Somebody may want to show that it goes wrong."""
    (line,) = load(changed(old, new)).doubt_lines()
    assert said in line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rate: 10/s", "arrival: poisson, rate: 10/s"),
        ("rate: 10/s", "users: 5"),
    ],
)
def test_rate_that_is_not_known_beforehand_is_no_ceiling(old: str, new: str) -> None:
    """Poisson arrivals may be more than their rate in a phase, and users who wait decide for themselves."""
    assert load(changed('">= 9/s"', '">= 12/s"').replace(old, new)).doubts == ()


def test_second_without_a_call_breaks_the_stretch_of_a_slow_load() -> None:
    """With a call every other second no two seconds in a row have one, so the condition could never hold for five."""
    with pytest.raises(PlanInvalid, match="offers calls in no more than 1 seconds in a row"):
        load(changed("rate: 10/s", "rate: 30/m").replace(', throughput: ">= 9/s"', ""))


def test_condition_that_just_fits_the_run_is_none_of_them() -> None:
    """A load's last two seconds are left out, so that of 55 a condition may hold for almost 53."""
    assert load(changed('"> 50%", for: 5s', '"> 50%", for: 52s')).doubts == ()


def test_soak_of_a_day_is_not_walked_second_by_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a load has offered calls for as long as the condition holds, nothing more is to be found out."""
    looks: list[int] = []
    counted = schedule.count

    def count(shape: Shape, arrival: str, seed: int, until_ns: int) -> int:
        looks.append(until_ns)
        return counted(shape, arrival, seed, until_ns)

    monkeypatch.setattr(schedule, "count", count)
    load(changed("recovery, duration: 25s", "recovery, duration: 24h"))
    assert 10 < len(looks) < 200


def test_plan_of_a_record_is_read_whatever_is_refused_today() -> None:
    """What was once run is judged: only a plan that is about to be run is looked at."""
    text = changed('"> 50%", for: 5s', '"< 80%", for: 10m')
    assert load_text(text, source="the record", environment=None).plan.abort[0].errors is not None


def test_doubt_does_not_spell_a_secret_out() -> None:
    """A value that came from the environment is called by its variable there, as in problems."""
    text = changed('"<= 5%"', '"${BOUND}"')
    loaded = load_text(text, source="plan.yaml", environment={"BOUND": "> 7%"})
    (line,) = loaded.doubt_lines()
    assert "expect.quiet.errors" in line
    assert "7%" not in line


@pytest.mark.parametrize("name", scenario_names())
def test_built_in_plan_raises_no_doubt(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it promises, its run is long enough to see that broken."""
    monkeypatch.setitem(os.environ, "CHAOS_TARGET", "http://127.0.0.1:8080")
    load_or_exit(name)
    assert capsys.readouterr().err == ""


def test_doubt_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """With the word that makes it a warning, and the place."""
    load_or_exit("breaker", settings=["expect.opens.within=20s"])
    told = capsys.readouterr().err
    assert told.startswith(
        "warning: --set expect.opens.within: expect.opens.within: longer than 'pricing-slow'"
    )


@pytest.mark.parametrize(
    ("text", "settled"),
    [
        ("< 0%", False), ("<= 0%", None), ("> 0%", None), (">= 0%", True), ("== 0%", None),
        ("< 100%", None), ("<= 100%", True), ("> 100%", False), (">= 100%", None),
    ],
)  # fmt: skip
def test_comparison_is_settled_where_no_value_could_change_it(text: str, settled: bool | None) -> None:
    """At both ends of what a share can be, with each operator."""
    assert parse_comparison(text, SHARE).settled is settled


def test_comparison_of_what_has_no_ends_is_never_settled() -> None:
    """Memory may shrink, and times have no upper end."""
    assert parse_comparison("< -3", NUMBER).settled is None
    assert parse_comparison("< 900h", DURATION).settled is None


def test_tap_that_reads_no_headers_has_none_to_tell_calls_apart() -> None:
    """`correlate` without `protocol: http` did nothing, without a word."""
    text = """\
version: 1
name: demo
system: {compose: {files: [docker-compose.yml]}, ready: {url: "http://127.0.0.1:8080/"}}
proxies: {pricing: {service: pricing, tap: {correlate: traceparent}}}
phases: [{name: baseline, duration: 10s}]
load: {quotes: {http: {url: /q}, rate: 10/s}}
expect: {steady: {load: quotes, p95: "< 150ms"}}
"""
    with pytest.raises(PlanInvalid, match=r"plan.yaml:4:\d+: proxies.pricing.tap.correlate: names a header"):
        load(text)
    assert load(text.replace("{correlate", "{protocol: http, correlate"))


def test_name_of_a_kind_that_the_plan_has_none_of_says_where_such_names_stand() -> None:
    """A list of what is known that is empty helps nobody."""
    text = """\
version: 1
name: demo
external: {base_url: "http://127.0.0.1:8080"}
phases: [{name: baseline, duration: 10s}]
load: {quotes: {http: {url: /q}, rate: 10/s}}
expect: {steady: {load: quotes, p95: "< 150ms"}}
abort: [{service: checkout, memory: "> 500MB", for: 5s}]
"""
    with pytest.raises(
        PlanInvalid, match=r"no service 'checkout'; the plan names none: add it under external.instances"
    ):
        load(text)
    fault = "faults: [{id: down, proxy: pricing, enabled: false, start: baseline+1s, duration: 2s}]\n"
    with pytest.raises(
        PlanInvalid, match=r"faults.0.proxy: no proxy 'pricing'; the plan names none: add it under external.p"
    ):
        load(text + fault)


def test_editors_know_which_way_an_abort_condition_looks() -> None:
    """The published schema offers the right examples, and no operator that would be refused."""
    limits = Plan.model_json_schema()["$defs"]["Abort"]["properties"]
    for key, example in (("errors", "> 20%"), ("memory", "> 500MB")):
        (limit,) = (each for each in limits[key]["anyOf"] if each["type"] == "string")
        assert limit["examples"] == [example]
        assert re.match(limit["pattern"], example)
        assert not re.match(limit["pattern"], "< 80%")
