"""What the faults of a plan can be put on: the proxies, processes and containers of the system that it is about. Pure.

The lab's processes have the same names on every stack (`pricing`, `postgres`, `redis`, `gateway-1` ...): processes of this host on the embedded
stack, containers on compose. An external system's processes are nobody's to kill; its containers may be faulted where
`allow.services` names them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from resilience.plan.problems import Path, Problem, nearest
from resilience.plan.schema import Fault, Plan

LAB_PROXIES = ("pricing", "db", "cache")
_FRONTED = {"pricing": "pricing", "postgres": "db", "redis": "cache"}
"""The lab's dependencies by the names of their processes, with the proxy before each."""


def known_proxies(plan: Plan) -> tuple[str, ...]:
    """Names that a fault or an observation may use."""
    if plan.system is not None:
        return tuple(plan.proxies)
    return LAB_PROXIES if plan.lab is not None else tuple(plan.external.proxies if plan.external else ())


def known_processes(plan: Plan) -> tuple[str, ...]:
    """Names of the processes that a fault may be on."""
    if plan.lab is None:
        return ()
    return (*_FRONTED, *(f"gateway-{number}" for number in range(1, plan.lab.gateways + 1)))


def known_containers(plan: Plan) -> tuple[str, ...]:
    """Names of the containers that a fault may be on; of an external system those that the plan allows."""
    if plan.lab is not None:
        return (*known_processes(plan), "haproxy")
    if plan.system is not None:
        return plan.allow.services or ()  # a proxy may be called as its service
    proxies = known_proxies(plan)
    return tuple(name for name in plan.allow.services or () if name not in proxies)


def wire_of(plan: Plan, fault: Fault) -> str | None:
    """The proxy whose tap sees the calls that this fault is about; None where none does."""
    if fault.proxy is not None:
        return fault.proxy
    behind = {proxy.service: name for name, proxy in plan.proxies.items()}
    return (_FRONTED if plan.lab is not None else behind).get(fault.target)


def where_to_add(plan: Plan, what: str) -> str:
    """Where names of this kind come from, for a plan that has none at all."""
    of_instances = "external.instances: [{name: NAME-1, service: NAME}]"
    places = {
        "proxy": "external.proxies" if plan.external is not None else "proxies",
        "target": "external.proxies" if plan.external is not None else "proxies",
        "load": "load",
        "fault": "faults",
        "breaker": "breakers",
        "service": "system.watch" if plan.system is not None else of_instances,
        "address": "external.addresses",
    }
    return f"; the plan names none: add it under {places[what]}" if what in places else ""


def target_problems(plan: Plan, fault: Fault, path: Path) -> Iterator[Problem]:
    """What is wrong with the target of a fault."""
    known: Collection[str] = {
        "proxy": known_proxies,
        "process": known_processes,
        "container": known_containers,
    }[fault.on](plan)
    place = (*path, fault.on)
    if fault.process is not None and plan.lab is None:
        yield Problem(
            place, "processes of an external system cannot be faulted; its containers can: `container: NAME`"
        )
    elif fault.container is not None and plan.lab is None and fault.target not in known:
        yield Problem(place, f"{fault.target!r} may not be faulted; add it to allow.services")
    elif fault.target not in known:
        hint = nearest(fault.target, known) or where_to_add(plan, fault.on)
        yield Problem(place, f"no {fault.on} {fault.target!r}{hint}")
    allowed = plan.allow.services
    bounded = plan.lab is not None or fault.proxy is not None
    if bounded and allowed is not None and fault.target not in allowed:
        yield Problem(place, f"{fault.target!r} may not be faulted; add it to allow.services")


def tap_problems(plan: Plan) -> Iterator[Problem]:
    """A header that calls are told apart by, where the tap reads no headers."""
    for name, proxy in plan.proxies.items():
        if proxy.tap.correlate is not None and proxy.tap.protocol != "http":
            message = (
                "names a header, and this tap reads connections only: add `protocol: http`, or leave it out"
            )
            yield Problem(("proxies", name, "tap", "correlate"), message)
