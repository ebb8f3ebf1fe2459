"""Plans with a stimulus: what is refused, what is written down, and what the record of one says of a call whose caller left."""

from __future__ import annotations

from typing import Any

import pytest

from resilience.breaker.observation import Arrival, Call
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.wire import from_record
from resilience.cli.scenarios import expanded
from resilience.lab.system import StackError, System
from resilience.load.identity import call_id, trace_of
from resilience.load.model import request_id
from resilience.load.stimulus_driver import Rejection
from resilience.load.threshold import Threshold, threshold_of
from resilience.plan import PlanInvalid, load_text
from resilience.plan.specs import specification
from resilience.plan.stimuli import scripted_proxies
from resilience.run.stimulating import _refuse_foreign

LAB = """
version: 1
name: stimulated
lab: {gateways: 1}
phases: [{name: stimulus, duration: 30s}]
stimulus: {calls: {http: {url: /api/quote/1001}, rejected: {header: {X-Breaker: rejected}}}}
breakers: {pricing: {load: calls, observe: {wire: pricing}}}
expect: {conforms: {breaker: pricing, require: [R4]}}
"""
EXTERNAL = """
version: 1
name: stimulated
external:
  base_url: "http://127.0.0.1:8080"
  proxies: {dependency: {listen: "127.0.0.1:9100"}}
phases: [{name: stimulus, duration: 30s}]
stimulus: {calls: {http: {url: /call, headers: {Authorization: "Bearer ${TOKEN}"}}}}
breakers: {dependency: {load: calls, spec: {failures: 3}, observe: {wire: dependency}}}
expect: {conforms: {breaker: dependency, require: [R4]}}
"""


def problems(text: str, *settings: str) -> str:
    """Everything that is wrong with a plan, as one text."""
    with pytest.raises(PlanInvalid) as caught:
        load_text(text, source="plan.yaml", environment={"TOKEN": "secret"}, settings=settings)
    return "\n".join(caught.value.lines())


@pytest.mark.parametrize("text", [LAB, EXTERNAL])
def test_conformance_plan_with_nothing_but_a_stimulus_is_a_plan(text: str) -> None:
    """It needs no load; its proxy is known with the header that calls are known by."""
    plan = load_text(text, source="plan.yaml", environment={"TOKEN": "secret"}).plan
    assert not plan.load
    assert set(scripted_proxies(plan).values()) == {"X-Request-Id"}


def test_conformance_plan_keeps_secrets_of_its_requests_out_of_the_record() -> None:
    """As for any load: variables stand as they were written, and the record can be read back."""
    loaded = load_text(EXTERNAL, source="plan.yaml", environment={"TOKEN": "secret"})
    assert "secret" not in loaded.recorded
    again = load_text(loaded.recorded, source="record", environment=None)
    assert again.plan.stimulus["calls"].http.url == "/call"


@pytest.mark.parametrize(
    ("text", "setting", "message"),
    [
        (LAB, "breakers.pricing.load=others", "exactly one breaker has to say `load: calls`: none does"),
        (LAB, "breakers.more={load: calls, observe: {wire: pricing}}", "pricing, more do"),
        (LAB, "breakers.pricing.observe.wire=null", "a breaker that is stimulated is judged from the wire"),
        (LAB, "stimulus.calls.correlate=traceparent", "the lab passes X-Request-Id on"),
        (LAB, "load.calls={http: {url: /x}, rate: 1/s}", "there is a load 'calls' already"),
        (LAB, "stimulus.calls.rejected={}", "say how a rejection is told"),
        (LAB, "stimulus.calls.rejected={any: true, status: 503}", "leave status and header out"),
        (LAB, "stimulus={}", "nothing would happen"),
        (EXTERNAL, "external.proxies.dependency.upstream=127.0.0.1:1", "leave `upstream` out"),
        (
            EXTERNAL,
            "external.proxies.dependency={admin_url: 'http://h:1', proxy: p}",
            "give `listen` instead",
        ),
        (EXTERNAL, "external.proxies.dependency.proxy=p", "`listen` means a proxy of ours"),
        (
            EXTERNAL,
            "external.proxies.other={listen: '127.0.0.1:1'}",
            "`upstream` says where the dependency is",
        ),
        (EXTERNAL, "external.proxies.other={admin_url: 'http://h:1'}", "give `admin_url` and `proxy`"),
        (EXTERNAL, "breakers.dependency.observe.actuator=http://h/a", ""),
        (EXTERNAL, "breakers.dependency.observe={actuator: a, sse: {url: b, to: c}}", "would both tell"),
        (EXTERNAL, "breakers.dependency.observe={json: {url: b}}", "where the state is"),
        (EXTERNAL, "breakers.dependency.instances={service: web}", "no service 'web'"),
    ],
)
def test_conformance_plan_refuses_what_could_not_be_played(text: str, setting: str, message: str) -> None:
    """Before anything is started, with the place and what to write instead."""
    if not message:
        load_text(text, source="plan.yaml", environment={"TOKEN": "secret"}, settings=[setting])
        return
    assert message in problems(text, setting)


def test_conformance_has_a_form_of_its_own_for_external_systems() -> None:
    """The same word on the command line; other plans, and files, are what they are."""
    assert expanded(["conformance", "breaker"], external=True) == ["conformance-external", "breaker"]
    assert expanded(["conformance"]) == ["conformance"]


def test_specification_of_a_lab_without_breaker_is_the_ideal_where_it_is_stimulated() -> None:
    """The negative control is held to what it lacks; elsewhere it has no specification."""
    plan = load_text(LAB, source="plan.yaml", environment={}).plan
    facts = {"breaker_spec": '{"dialect": "none", "timeout_ms": 300}'}
    spec = specification(plan, plan.breakers["pricing"], facts)
    assert (spec.dialect, spec.trip, spec.timeout_ns) == ("strict", "consecutive", 300_000_000)


@pytest.mark.parametrize(("text", "stack"), [(LAB, "compose"), (LAB, "external")])
def test_stimulus_leads_nobody_elses_proxy_elsewhere(text: str, stack: str) -> None:
    """Only proxies that go away with the run are led to the scripted dependency."""
    plan = load_text(text, source="plan.yaml", environment={"TOKEN": "secret"}).plan
    with pytest.raises(StackError, match="pricing is not one"):
        _refuse_foreign(plan, System(stack, "http://127.0.0.1:1"), "pricing")


def test_stimulus_may_have_the_labs_proxies_and_its_own() -> None:
    """The embedded lab's end with it, and so do those that the plan has put in front of an external system."""
    for text, stack, proxy in ((LAB, "embedded", "pricing"), (EXTERNAL, "external", "dependency")):
        plan = load_text(text, source="plan.yaml", environment={"TOKEN": "secret"}).plan
        _refuse_foreign(plan, System(stack, "http://127.0.0.1:1"), proxy)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"failures": 3}, Threshold(2, 3, 1, 9)),
        ({"window": 10, "ratio": 0.5, "minimum_calls": 5}, Threshold(4, 5, 10, 23, 5)),
        ({"window": 10, "ratio": 0.5, "strictly_above": True}, Threshold(5, 6, 10, 23, 1)),
        ({"trip": "count", "window": 4, "failures": 9}, Threshold(3, 4, 4, 11)),
        (
            {"window_ms": 1000, "ratio": 0.5, "minimum_calls": 3},
            Threshold(0, 3, 5, 400, fresh=3, forgets_ns=1_300_000_000),
        ),
        ({"window_ms": 60_000, "ratio": 0.5, "minimum_calls": 3}, Threshold(0, 3, 5, 400)),
    ],
)
def test_threshold_of_each_kind_of_window(written: dict[str, Any], expected: Threshold) -> None:
    """How many failures a breaker bears, and how many open it."""
    assert threshold_of(BreakerSpec.from_mapping(written)) == expected


@pytest.mark.parametrize(
    ("rejection", "status", "header", "arrived", "matches"),
    [
        (Rejection(status=503), 503, b"", True, True),
        (Rejection(status=503), 502, b"", False, False),
        (Rejection(header=("X-Breaker", "rejected")), 200, b" Rejected ", False, True),
        (Rejection(header=("X-Breaker", "rejected")), 200, b"failed", False, False),
        (Rejection(503, ("X-Breaker", "rejected")), 200, b"rejected", False, False),
        (Rejection(), 200, b"", False, True),
        (Rejection(), 200, b"", True, False),
    ],
)
def test_rejection_is_told_by_all_that_is_given(
    rejection: Rejection, status: int, header: bytes, arrived: bool, matches: bool
) -> None:
    """Status, header, both; or any answer that came without the dependency."""
    headers = [(b"content-length", b"0"), (b"x-breaker", header)]
    assert rejection.matches(status, headers, arrived=arrived) is matches


def test_calls_are_known_by_their_trace() -> None:
    """A service makes a span of its own and keeps the trace id."""
    sent = request_id("run", "calls", 7, "traceparent")
    passed_on = "-".join([*sent.split("-")[:2], "f" * 16, "01"])
    assert trace_of(passed_on, "traceparent") == call_id("run", "calls", 7, "traceparent")
    assert call_id("run", "calls", 7) == "run-calls-7"


MS = 1_000_000


def left(end: str, status: int | None, *, outcome: str = "cancelled", ended_ms: int = 40) -> Call:
    """A call whose caller left after 30 ms, and how it ended on the wire."""
    wire = [
        {"what": "arrival", "n": 1, "id": "r-calls-0", "at": [MS, 2 * MS]},
        {"what": "done", "n": 1, "status": status, "at": [ended_ms * MS, (ended_ms + 1) * MS], "end": end},
    ]
    row = [0, 0, 0, 0, None, 30 * MS, None, outcome, None]
    history = from_record(
        breaker="b",
        run_id="r",
        calls=[{"kind": "call", "load": "calls", "rows": [row]}],
        wire=wire,
        timeout_ns=300 * MS,
    )
    (call,) = [entry for entry in history if isinstance(entry, Call)]
    assert any(isinstance(entry, Arrival) for entry in history)
    return call


def test_wire_tells_how_a_call_ended_whose_caller_left() -> None:
    """Given up as well: cancelled. Answered: what was answered. Ended by its own time limit, or who knows: unknown."""
    assert left("caller_closed", None).outcome == "cancelled"
    assert left("response", 200).outcome == "ok"
    assert left("response", 500).outcome == "failure"
    assert left("caller_closed", None, ended_ms=300).outcome == "unknown"
    assert left("upstream_closed", None).outcome == "unknown"
    assert left("caller_closed", None, outcome="timeout").outcome == "unknown"


def test_wire_lets_a_breaker_be_told_after_its_caller_left() -> None:
    """The outcome comes with the end on the wire or soon after, not by the time at which the caller had gone."""
    finish = left("response", 200, ended_ms=200).finish
    assert finish is not None
    assert finish.lo_ns == 200 * MS
    assert finish.hi_ns > 400 * MS
