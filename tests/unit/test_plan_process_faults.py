"""Faults on processes and containers in plans: what may be written, and what each means on the stacks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.blast_radius import ContainerReach, Reach
from faults.errors import FaultNotInjected
from resilience.lab.system import ContainerPoint, Instance, LocalProcess, ProxyPoint, System
from resilience.plan import LoadedPlan, PlanInvalid, load_text
from resilience.plan.timeline import FaultSpan
from resilience.run.faulting import blast_radius, nemesis_for

PLAN = """\
version: 1
name: demo
SYSTEM
phases: [{name: baseline, duration: 60s}]
load: {orders: {http: {url: "/orders"}, rate: 10/s}}
faults:
FAULTS
expect: {steady: {load: orders, p95: "< 150ms"}}
ALLOW
"""
EXTERNAL = (
    "external: {base_url: 'http://127.0.0.1:1', proxies: {db: {admin_url: 'http://127.0.0.1:2', proxy: db}}}"
)
WHEN = "start: 10s, duration: 5s"
ENGINE = "unix:///run/docker.sock"
POINT = ProxyPoint("db", "http://127.0.0.1:2", "db", "127.0.0.1:3", "127.0.0.1:4", container="toxic")
REVIVE = ("python", "-m", "resilience.lab.revive", "http://127.0.0.1:9", "pricing")
EMBEDDED = System(
    "embedded",
    "http://127.0.0.1:1",
    {"db": POINT},
    instances=(
        Instance("gateway", "gateway-1", "http://127.0.0.1:7"),
        Instance("x", "x", "http://127.0.0.1:8"),
    ),
    pids={"toxiproxy": (100,), "tap": (101,), "pricing": (102,)},
    owners=(99,),
    processes={
        "pricing": LocalProcess(102, "127.0.0.1:6", REVIVE),
        "gateway-1": LocalProcess(103, "127.0.0.1:7", REVIVE),
    },
)
COMPOSE = System(
    "compose",
    "http://127.0.0.1:1",
    {"db": POINT},
    containers={name: ContainerPoint(name, ENGINE, f"id-{name}") for name in ("pricing", "postgres")},
)


def loaded(*faults: str, system: str = "lab: {}", allow: str = "") -> LoadedPlan:
    """A plan with these faults."""
    lines = "\n".join(f"  - {{id: f{number}, {fault}}}" for number, fault in enumerate(faults))
    text = PLAN.replace("FAULTS", lines).replace("SYSTEM", system).replace("ALLOW", allow)
    return load_text(text, source="plan.yaml", environment={})


def refused(*faults: str, system: str = "lab: {}", allow: str = "") -> str:
    """What is said of a plan with these faults."""
    with pytest.raises(PlanInvalid) as caught:
        loaded(*faults, system=system, allow=allow)
    return "\n".join(caught.value.lines())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("process: redis, restart: true", "restart"),
        ("process: pricing, kill: true", "kill"),
        ("process: gateway-2, freeze: true", "freeze"),
        ("container: postgres, pause: true", "pause"),
        ("container: haproxy, stop: true, grace: 2s", "stop"),
        ("container: redis, disconnect: true, network: backend", "disconnect"),
        ("container: pricing, cpu: 0.25", "cpu 0.25"),
    ],
)
def test_each_kind_is_written_with_its_target(fault: str, kind: str) -> None:
    """The timeline says what is done to what."""
    [span] = loaded(f"{fault}, {WHEN}").timeline.faults
    on, _, rest = fault.partition(": ")
    assert span.what == f"{on} {rest.partition(',')[0]}: {kind}"


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "process: redi, restart: true",
            "plan.yaml:7:23: faults.0.process: no process 'redi'; did you mean 'redis'?",
        ),
        ("process: gateway-3, kill: true", "no process 'gateway-3'; did you mean 'gateway-2'?"),
        ("container: tap, kill: true", "faults.0.container: no container 'tap'"),
        ("container: toxiproxy-db, kill: true", "no container 'toxiproxy-db'"),
        (
            "process: redis, pause: true",
            "a fault on a process is exactly one of `freeze: true`, `kill: true`",
        ),
        ("container: redis, freeze: true", "a fault on a container is exactly one of `pause: true`"),
        ("container: redis, pause: true, cpu: 0.5", "a fault on a container is exactly one of"),
        ("container: redis", "a fault on a container is exactly one of"),
        ("process: redis, proxy: db, kill: true", "a fault is on one of `proxy`, `process` and `container`"),
        ("restart: true", "a fault is on one of `proxy`, `process` and `container`"),
        ("process: redis, restart: false", "faults.0.restart"),
        ("container: redis, kill: true, grace: 1s", "`grace` belongs to `stop: true`"),
        ("container: redis, stop: true, grace: 6s", "`grace` is in whole seconds, 5s at most"),
        ("container: redis, stop: true, grace: 1500ms", "`grace` is in whole seconds"),
        ("container: redis, pause: true, network: a", "`network` belongs to `disconnect: true`"),
        ("container: redis, cpu: 0", "faults.0.cpu"),
        ("process: redis, kill: true, toxic: {type: latency}", "a fault on a process is exactly one of"),
    ],
)
def test_what_cannot_be_meant_is_refused(fault: str, said: str) -> None:
    """One message with the place, and the nearest name."""
    assert said in refused(f"{fault}, {WHEN}")


def test_two_things_cannot_be_done_to_one_life_at_once() -> None:
    """Pausing what is killed would be healed halfway; a limit on its CPU is another matter."""
    both = refused(
        f"container: redis, pause: true, {WHEN}", "process: redis, kill: true, start: 12s, duration: 1s"
    )
    assert "are the same on 'redis': healing one would heal the other; move one of them" in both
    assert loaded(f"container: redis, pause: true, {WHEN}", f"container: redis, cpu: 0.5, {WHEN}")
    assert loaded(f"container: redis, pause: true, {WHEN}", f"container: postgres, pause: true, {WHEN}")


def test_allowed_services_bound_what_may_be_faulted() -> None:
    """Who lists what may be faulted means nothing else."""
    allow = "allow: {services: [pricing, postgres]}"
    assert loaded(f"process: pricing, kill: true, {WHEN}", allow=allow)
    assert "'redis' may not be faulted; add it to allow.services" in refused(
        f"process: redis, kill: true, {WHEN}", allow=allow
    )


def test_external_containers_must_be_named_and_processes_cannot_be() -> None:
    """A container of somebody else's is touched only where the plan says so twice."""
    pause = f"container: shop-db-1, pause: true, {WHEN}"
    assert "'shop-db-1' may not be faulted; add it to allow.services" in refused(pause, system=EXTERNAL)
    allow = "allow: {services: [shop-db-1, db]}"
    assert loaded(pause, f"proxy: db, enabled: false, {WHEN}", system=EXTERNAL, allow=allow)
    assert "no target 'shop-db-2'" in refused(
        pause, system=EXTERNAL, allow="allow: {services: [shop-db-1, shop-db-2]}"
    )
    killing = refused(f"process: pricing, kill: true, {WHEN}", system=EXTERNAL)
    assert (
        "processes of an external system cannot be faulted; its containers can: `container: NAME`" in killing
    )


def test_calls_to_a_killed_dependency_are_seen_by_the_tap_before_it() -> None:
    """The judge asks there whether anything met the fault; nothing stands before a gateway."""
    plan = loaded(f"process: redis, restart: true, {WHEN}", f"process: gateway-1, freeze: true, {WHEN}")
    assert [span.proxy for span in plan.timeline.faults] == ["cache", None]
    assert isinstance(plan.timeline.faults[0], FaultSpan)


@pytest.mark.parametrize(
    ("fault", "kind"), [("freeze: true", "freeze"), ("kill: true", "kill"), ("restart: true", "restart")]
)
def test_process_faults_are_on_this_hosts_process_or_on_its_container(fault: str, kind: str) -> None:
    """The same plan, on either stack."""
    [fault_of] = loaded(f"process: pricing, {fault}, {WHEN}").plan.faults
    here = nemesis_for(fault_of, EMBEDDED)
    assert here.describe()["kind"] == kind
    assert here.reach().processes == (102,)
    there = nemesis_for(fault_of, COMPOSE)
    assert there.describe()["kind"] == {"freeze": "pause"}.get(kind, kind)
    assert there.undo().args["container"] == "id-pricing"


def test_revival_asks_the_supervisor_and_is_over_with_it() -> None:
    """A command that returns when the process is back; without its keeper there is nothing to bring back."""
    [fault] = loaded(f"process: pricing, kill: true, {WHEN}").plan.faults
    args = nemesis_for(fault, EMBEDDED).undo().args
    assert args["command"] == list(REVIVE)
    assert args["returns"] is True


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("pause: true", {"kind": "pause"}),
        ("kill: true", {"kind": "kill"}),
        ("stop: true", {"kind": "stop"}),
        ("restart: true", {"kind": "restart"}),
        ("disconnect: true, network: backend", {"kind": "disconnect", "network": "backend"}),
        ("cpu: 0.5", {"kind": "throttle", "cpus": 0.5}),
    ],
)
def test_container_faults_are_on_the_container_of_that_name(fault: str, kind: dict[str, object]) -> None:
    """By its id, on its engine."""
    [planned] = loaded(f"container: postgres, {fault}, {WHEN}").plan.faults
    described = nemesis_for(planned, COMPOSE).describe()
    assert kind.items() <= described.items()
    assert described["engine"] == ENGINE
    assert described["container"] == "id-postgres"


def test_missing_target_is_said_before_anything_is_touched() -> None:
    """A stack that has no such process or container."""
    kill, pause = loaded(
        f"process: redis, kill: true, {WHEN}", f"container: haproxy, pause: true, {WHEN}"
    ).plan.faults
    with pytest.raises(FaultNotInjected, match=r"no process 'redis' \(it has gateway-1, pricing\)"):
        nemesis_for(kill, EMBEDDED)
    with pytest.raises(FaultNotInjected, match=r"no container 'haproxy' \(it has postgres, pricing\)"):
        nemesis_for(pause, COMPOSE)


def test_blast_radius_is_what_a_plan_can_name() -> None:
    """What the supervisor keeps, however often it starts it anew; never proxies, taps, or itself."""
    plan = loaded(f"process: pricing, kill: true, {WHEN}").plan
    radius = blast_radius(plan, EMBEDDED)

    def refusal(pid: int, *ancestors: int, hurts: tuple[str, ...] = ()) -> str | None:
        reach = Reach("", hurts, (pid,), ancestors=frozenset(ancestors))
        return radius.refusal(reach, duration_ns=1, active=0)

    assert refusal(500, 99, 1) is None
    assert refusal(500, 99, hurts=("127.0.0.1:7",)) is None
    assert "not one of the system under test" in str(refusal(500, 98, 1))
    assert "belongs to the control plane" in str(refusal(100, 99))
    assert "belongs to the control plane" in str(refusal(99))
    assert "belongs to the control plane" in str(refusal(500, 99, hurts=("127.0.0.1:8",)))
    without = blast_radius(plan, replace(EMBEDDED, processes={}))
    assert without.refusal(Reach("", processes=(500,), ancestors=frozenset({99})), duration_ns=1, active=0)


def test_blast_radius_of_containers_is_those_that_a_plan_can_name() -> None:
    """Neither the Toxiproxy's container nor a stranger's, whatever labels they bear."""
    radius = blast_radius(loaded(f"container: postgres, kill: true, {WHEN}").plan, COMPOSE)

    def refusal(container: str) -> str | None:
        reach = Reach(ENGINE, containers=(ContainerReach(container, "name", frozenset({"a=b"})),))
        return radius.refusal(reach, duration_ns=1, active=0)

    assert refusal("id-postgres") is None
    assert "control plane" in str(refusal("toxic"))
    assert "bears no label" in str(refusal("stranger"))
