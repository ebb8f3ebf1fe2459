"""From a plan's fault to the nemesis that puts it in, on whatever system is up. No IO: nemeses do that themselves."""

from __future__ import annotations

from faults.blast_radius import BlastRadius, address_of_url
from faults.model import ToxicSpec
from faults.nemesis import Nemesis, ProxyDownFault, ToxicFault
from faults.undo import Undo
from resilience.lab.system import ProxyPoint, System
from resilience.plan.schema import Fault, Plan
from resilience.plan.toxics import toxic_name

GRACE_NS = 5_000_000_000
"""Beyond its planned duration a fault may stay this long before the guardian takes it out: the runner is late, not dead."""


def nemesis_for(fault: Fault, system: System) -> Nemesis:
    """The nemesis of one planned fault."""
    point = system.proxies[fault.proxy]
    limit_ns = fault.duration + GRACE_NS
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


def _on_frozen(point: ProxyPoint) -> Undo | None:
    """What the guardian does when the proxy's control API does not answer: restart its container, if it is one."""
    if point.engine is None or point.container is None:
        return None
    return Undo("docker.restart", {"engine": point.engine, "container": point.container})


def blast_radius(plan: Plan, system: System) -> BlastRadius:
    """What this plan may touch: loopback, what its `allow` names, and the containers that this run itself has made."""
    own = {point.upstream for point in system.proxies.values()} if system.stack == "compose" else set()
    longest_ns = max((fault.duration for fault in plan.faults), default=0)
    return BlastRadius(
        allow=frozenset({*plan.allow.hosts, *own}),
        max_simultaneous=plan.allow.max_faults,
        max_duration_ns=max(plan.allow.max_fault_duration, longest_ns) + GRACE_NS,
        control_plane=frozenset(
            address_of_url(url)
            for url in (
                *(point.admin_url for point in system.proxies.values()),
                *(point.tap_url for point in system.proxies.values()),
                *(instance.admin_url for instance in system.instances),
            )
            if url
        ),
    )
