"""From a plan's fault to the nemesis that puts it in, on whatever system is up. No IO: nemeses do that themselves."""

from __future__ import annotations

from faults import processes
from faults.blast_radius import BlastRadius, address_of_url
from faults.errors import FaultNotInjected
from faults.model import ToxicSpec
from faults.nemesis import Nemesis, ProxyDownFault, ToxicFault
from faults.undo import Undo
from resilience.lab.system import ContainerPoint, ProxyPoint, System
from resilience.plan.schema import Fault, Plan
from resilience.plan.toxics import toxic_name

GRACE_NS = 5_000_000_000
"""Beyond its planned duration a fault may stay this long before the guardian takes it out: the runner is late, not dead."""

_GRACE_NS = 1_000_000_000
"""Of a stop, where the plan does not say."""
_FRONTS = ("toxiproxy", "tap")
"""The embedded lab's processes that faults are put in through, and seen by."""


def nemesis_for(fault: Fault, system: System) -> Nemesis:
    """The nemesis of one planned fault. FaultNotInjected where the system has no such process or container."""
    limit_ns = fault.duration + GRACE_NS
    if fault.container is not None:
        return _on_container(fault, _container_of(fault, system), limit_ns)
    if fault.process is not None:
        if system.containers:
            return _on_container(fault, _container_of(fault, system), limit_ns)
        return _on_process(fault, system, limit_ns)
    assert fault.proxy is not None  # the schema has seen that it is on something
    point = system.proxies[fault.proxy]
    frozen = _on_frozen(point)
    if fault.toxic is None:
        return ProxyDownFault(fault.id, point.admin_url, point.proxy, limit_ns, on_frozen=frozen)
    toxic = ToxicSpec(
        type=fault.toxic.type,
        name=toxic_name(fault),
        stream=fault.toxic.stream,
        toxicity=fault.toxic.toxicity,
        attributes=dict(fault.toxic.attributes),
    )
    return ToxicFault(fault.id, point.admin_url, point.proxy, toxic, limit_ns, on_frozen=frozen)


def _container_of(fault: Fault, system: System) -> ContainerPoint:
    found = system.containers.get(fault.target)
    if found is None:
        known = ", ".join(sorted(system.containers)) or "none"
        raise FaultNotInjected(f"the {system.stack} stack has no container {fault.target!r} (it has {known})")
    return found


def _on_container(fault: Fault, point: ContainerPoint, limit_ns: int) -> Nemesis:
    from faults import containers  # noqa: PLC0415 - Docker's client takes a while to import, and most plans need none

    words = (fault.id, point.container, limit_ns, point.engine)
    match fault.action:
        case "freeze" | "pause":
            return containers.PauseFault(*words)
        case "kill":
            return containers.KillFault(*words)
        case "stop":
            return containers.StopFault(*words, grace_s=(fault.grace or _GRACE_NS) // 1_000_000_000)
        case "restart":
            return containers.RestartFault(*words)
        case "disconnect":
            return containers.DisconnectFault(*words, network=fault.network)
        case _:
            assert fault.cpu is not None  # the last of the actions
            return containers.ThrottleFault(*words, cpus=fault.cpu)


def _on_process(fault: Fault, system: System, limit_ns: int) -> Nemesis:
    found = system.processes.get(fault.target)
    if found is None:
        known = ", ".join(sorted(system.processes)) or "none"
        raise FaultNotInjected(f"the {system.stack} stack has no process {fault.target!r} (it has {known})")
    if fault.action == "freeze":
        return processes.FreezeFault(fault.id, found.pid, limit_ns)
    keeper = system.owners[0] if system.owners else None
    revival = processes.Revival(found.revive, found.ready, returns=True, keeper=keeper)
    kind = processes.KillFault if fault.action == "kill" else processes.RestartFault
    return kind(fault.id, found.pid, limit_ns, revival=revival)


def _on_frozen(point: ProxyPoint) -> Undo | None:
    """What the guardian does when the proxy's control API does not answer: restart its container, if it is one."""
    if point.engine is None or point.container is None:
        return None
    return Undo("docker.restart", {"engine": point.engine, "container": point.container})


def blast_radius(plan: Plan, system: System) -> BlastRadius:
    """What this plan may touch: loopback, what its `allow` names, and the containers that this run itself has made."""
    own = {point.upstream for point in system.proxies.values()} if system.stack == "compose" else set()
    # Those that a plan can name, and no others: what carries proxies and taps is not among them.
    named = {f"container:{point.container}" for point in system.containers.values()}
    longest_ns = max((fault.duration for fault in plan.faults), default=0)
    return BlastRadius(
        allow=frozenset({*plan.allow.hosts, *own, *named}),
        max_simultaneous=plan.allow.max_faults,
        max_duration_ns=max(plan.allow.max_fault_duration, longest_ns) + GRACE_NS,
        control_plane=_control_plane(system),
        # What a supervisor starts again has another pid; all that it keeps descend from it.
        processes=frozenset(system.owners) if system.processes else frozenset(),
    )


def _control_plane(system: System) -> frozenset[str]:
    """What no fault may hurt: the way to put faults in and out, and to watch."""
    urls = (
        *(point.admin_url for point in system.proxies.values()),
        *(point.tap_url for point in system.proxies.values()),
        *(instance.admin_url for instance in system.instances),
    )
    carriers = {f"container:{point.container}" for point in system.proxies.values() if point.container}
    fronts = {f"process:{pid}" for name in _FRONTS for pid in system.pids.get(name, ())}
    keepers = {f"process:{pid}" for pid in system.owners}
    # A process that may be killed takes its own admin port with it.
    own = {found.ready for found in system.processes.values()}
    return frozenset({*({address_of_url(url) for url in urls if url} - own), *carriers, *fronts, *keepers})
