"""Names that one part of a plan uses and another must define. Pure.

Each section yields `Reference`s; one loop checks them all, so that a new kind of expectation adds one line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from resilience.plan.addresses import stand_ins
from resilience.plan.problems import Path, Problem, nearest
from resilience.plan.schema import Expectation, Plan
from resilience.plan.stimuli import stimulus_problems
from resilience.plan.targets import known_containers, known_proxies, where_to_add

LAB_SERVICES = ("gateway", "pricing", "postgres", "valkey")


_OTHER_NAMES = {
    "sockets": "load",
    "writes": "load",
    "ledger": "load",
    "watch": "phase",
    "again": "phase",
    "probes": "phase",
    "pool": "service",
    "cache": "address",
}
"""Keys of expectations that name something by another word."""


class Reference(NamedTuple):
    """A name used at a path; `what` is the kind of thing that it must name."""

    path: Path
    what: str
    name: str


def references(plan: Plan) -> Iterator[Problem]:
    """Problems with names, and with expectations that lack what they are measured against."""
    known: dict[str, Collection[str]] = {
        "phase": [phase.name for phase in plan.phases],
        "proxy": known_proxies(plan),
        "target": (*known_proxies(plan), *_containers(plan)),
        "load": plan.load,
        "fault": [fault.id for fault in plan.faults],
        "breaker": plan.breakers,
        "service": known_services(plan),
        "address": sorted(stand_ins(plan).keys() - {"base", "ws"}),
    }
    for path, what, name in (*_of_parts(plan), *_of_expectations(plan)):
        if name not in known[what]:
            yield Problem(path, f"no {what} {name!r}{nearest(name, known[what]) or where_to_add(plan, what)}")
    yield from _missing(plan)
    yield from stimulus_problems(plan)


def _containers(plan: Plan) -> Collection[str]:
    if plan.lab is not None:
        return known_containers(plan)
    return {fault.target for fault in plan.faults if fault.container is not None}


def known_services(plan: Plan) -> Collection[str]:
    """Services whose processes can be watched."""
    if plan.lab is not None:
        return LAB_SERVICES
    if plan.system is not None:
        return plan.system.watch
    return {instance.service for instance in (plan.external.instances if plan.external else ())}


def _of_parts(plan: Plan) -> Iterator[Reference]:
    for name, breaker in plan.breakers.items():
        if breaker.load not in plan.stimulus:
            yield Reference(("breakers", name, "load"), "load", breaker.load)
        if breaker.instances is not None and breaker.instances.service is not None:
            yield Reference(("breakers", name, "instances", "service"), "service", breaker.instances.service)
        if breaker.observe.wire is not None:
            yield Reference(("breakers", name, "observe", "wire"), "proxy", breaker.observe.wire)
    for index, abort in enumerate(plan.abort):
        if abort.load is not None:
            yield Reference(("abort", index, "load"), "load", abort.load)
        if abort.service is not None:
            yield Reference(("abort", index, "service"), "service", abort.service)
    for index, service in enumerate(plan.allow.services or ()):
        yield Reference(("allow", "services", index), "target", service)


def _of_expectations(plan: Plan) -> Iterator[Reference]:
    for name, expectation in plan.expect.items():
        for key in ("load", "phase", "fault", "breaker", "proxy", "service"):
            used = getattr(expectation, key, None)
            if used is not None and not (key == "breaker" and used == "*"):
                yield Reference(("expect", name, key), key, used)
        for key, what in _OTHER_NAMES.items():
            named = getattr(expectation, key, None) or ()
            for used in (named,) if isinstance(named, str) else tuple(named):
                yield Reference(("expect", name, key), what, used)


def _missing(plan: Plan) -> Iterator[Problem]:
    phases = {phase.name for phase in plan.phases}
    for name, breaker in plan.breakers.items():
        if breaker.spec == "lab" and plan.lab is None:
            message = "an external system's breaker needs its specification: spec: {dialect: ..., ...}"
            yield Problem(("breakers", name), message, at_key=True)
    for name, expectation in plan.expect.items():
        if (hasattr(expectation, "time_to_recover") or hasattr(expectation, "metastable")) and (
            "baseline" not in phases
        ):
            message = "recovery is measured against a phase named 'baseline'; add one"
            yield Problem(("expect", name), message, at_key=True)
        if _follows_all(expectation) and not plan.breakers:
            yield Problem(
                ("expect", name, "breaker"), "the plan follows no breaker; add one under `breakers:`"
            )


def _follows_all(expectation: Expectation) -> bool:
    return getattr(expectation, "breaker", None) == "*"
