"""Faults in plans: which can be in place together, and which would do nothing."""

from __future__ import annotations

import dataclasses

import pytest

from faults.toxics import OWN_TOXICS, TOXICS, toxic_class
from resilience.lab.system import ProxyPoint, System
from resilience.plan import PlanInvalid, Timeline, load_text
from resilience.plan.schema import Fault, Toxic
from resilience.plan.toxics import _IDLE, idle_because, toxic_name
from resilience.run.faulting import nemesis_for

PLAN = """\
version: 1
name: demo
lab: {}
phases: [{name: baseline, duration: 60s}]
load: {orders: {http: {url: "/orders"}, rate: 10/s}}
faults:
FAULTS
expect: {steady: {load: orders, p95: "< 150ms"}}
allow: {max_faults: 2}
"""
SLOW = "toxic: {type: latency, attributes: {latency: 100}}"


def compiled(*faults: str) -> Timeline:
    """The timeline of a plan with these faults."""
    text = PLAN.replace("FAULTS", "\n".join(f"  - {{{fault}}}" for fault in faults))
    return load_text(text, source="plan.yaml", environment={}).timeline


def refused(*faults: str) -> str:
    """What is said of a plan with these faults."""
    with pytest.raises(PlanInvalid) as caught:
        compiled(*faults)
    return "\n".join(caught.value.lines())


def slow(fault_id: str, start: str, name: str = "", proxy: str = "db") -> str:
    """A latency fault of ten seconds."""
    toxic = SLOW.replace("{type", f"{{name: {name}, type") if name else SLOW
    return f"id: {fault_id}, proxy: {proxy}, {toxic}, start: {start}, duration: 10s"


def test_unnamed_faults_of_one_type_may_overlap() -> None:
    """Each is called by its fault's id on the proxy, so healing one leaves the other."""
    assert len(compiled(slow("a", "10s"), slow("b", "15s")).faults) == 2


@pytest.mark.parametrize(
    "second", [slow("b", "15s", name="a"), slow("b", "10s", name="a"), slow("b", "1s", name="a")]
)
def test_name_that_is_another_faults_id_is_refused_while_both_are_in_place(second: str) -> None:
    """The two would be one toxic on that proxy."""
    assert "faults.1.start: 'b' and 'a' overlap and are the same on 'db'" in refused(slow("a", "10s"), second)


def test_same_name_is_fine_one_after_the_other_and_on_two_proxies() -> None:
    """Only what is in place at once can get in each other's way."""
    assert compiled(slow("a", "10s"), slow("b", "20s", name="a"))
    assert compiled(slow("a", "10s"), slow("b", "15s", name="a", proxy="cache"))
    down = "id: c, proxy: db, enabled: false, start: 15s, duration: 1s"
    assert compiled(slow("enabled", "10s"), down)
    assert "are the same" in refused(down, down.replace("id: c", "id: d"))


@pytest.mark.parametrize(
    ("first", "second", "fine"),
    [
        ("", "", False),
        ("", ", network: front", False),
        (", network: shop_front", "", False),
        (", network: front", ", network: shop_front", False),
        (", network: front", ", network: back", True),
    ],
)
def test_two_disconnects_of_one_container_must_leave_two_networks(
    first: str, second: str, *, fine: bool
) -> None:
    """Where one names none it may be the other's, and the engine's name of a network means the same as the file's."""
    faults = [
        f"id: {name}, container: redis, disconnect: true{network}, start: {start}, duration: 10s"
        for name, network, start in (("a", first, "10s"), ("b", second, "15s"))
    ]
    if fine:
        assert len(compiled(*faults).faults) == 2
    else:
        assert "'b' and 'a' overlap and are the same on 'redis'" in refused(*faults)


def test_overlap_is_found_behind_a_fault_without_a_place() -> None:
    """A fault whose start is wrong is left out, and does not shift what is said of the others."""
    said = refused(slow("lost", "nowhere+1s"), slow("a", "10s"), slow("b", "15s", name="a"), slow("c", "16s"))
    assert "plan.yaml:9:" in said
    assert "faults.2.start: 'b' and 'a' overlap" in said
    assert "faults.3.start: 3 faults at once (a, b, c)" in said
    assert "faults.1" not in said
    assert "IndexError" not in said


@pytest.mark.parametrize("name", [None, "own"])
def test_runner_gives_the_toxic_the_name_that_was_checked(name: str | None) -> None:
    """The nemesis on the proxy bears the name by which the plan was checked."""
    fault = Fault(
        id="f",
        proxy="db",
        toxic=Toxic(type="latency", name=name),
        start="1s",
        duration="1s",  # type: ignore[arg-type]
    )
    point = ProxyPoint(
        name="db", admin_url="http://127.0.0.1:1", proxy="db", listen="", upstream="", tap_url=None, tap=None
    )
    system = System(stack="external", base_url="http://127.0.0.1", proxies={"db": point}, instances=())
    assert nemesis_for(fault, system).describe()["toxic"]["name"] == toxic_name(fault)


@pytest.mark.parametrize(
    ("toxic", "said"),
    [
        ("{type: noop}", "noop does nothing"),
        ("{type: latency}", "latency and jitter are both 0"),
        ("{type: latency, attributes: {latency: 0, jitter: 0}}", "latency and jitter are both 0"),
        (
            "{type: latency, toxicity: 0, attributes: {latency: 9}}",
            "faults.0.toxic.toxicity: toxicity 0 touches no",
        ),
        ("{type: latency_normal}", "mean and deviation"),
        ("{type: latency_sine}", "low and high"),
        ("{type: latency_step}", "low and high"),
        ("{type: slow_close}", "delay is 0"),
        ("{type: corrupt}", "per_million is 0"),
        ("{type: fail_first, attributes: {connections: 0}}", "connections is 0"),
        ("{type: http, stream: upstream, attributes: {probability: 0.0}}", "probability is 0"),
        ("{type: http, stream: upstream, attributes: {status: 0}}", "status and delay are both 0"),
    ],
)
def test_toxic_that_does_nothing_is_refused(toxic: str, said: str) -> None:
    """A fault that is none would make every expectation hold."""
    assert said in refused(f"id: a, proxy: db, toxic: {toxic}, start: 10s, duration: 10s")


def test_every_toxic_is_idle_only_as_the_table_says() -> None:
    """The table names toxics and attributes that there are; jitter alone is a fault, and so is a rate of nothing."""
    kinds = {toxic.kind for toxic in TOXICS + OWN_TOXICS}
    assert set(_IDLE) <= kinds
    for kind in sorted(kinds):
        found = toxic_class(kind)
        assert found is not None
        assert dataclasses.is_dataclass(found)
        idle_because(found())
    assert compiled(
        "id: a, proxy: db, toxic: {type: latency, attributes: {jitter: 5}}, start: 10s, duration: 9s"
    )
    assert compiled(
        "id: a, proxy: db, toxic: {type: bandwidth, attributes: {rate: 0}}, start: 10s, duration: 9s"
    )
    assert compiled("id: a, proxy: db, toxic: {type: timeout}, start: 10s, duration: 9s")
