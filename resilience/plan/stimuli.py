"""Which breaker a stimulus is for, and what keeps it from being stimulated. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from resilience.plan.problems import Path, Problem
from resilience.plan.schema import Breaker, Plan

LAB_CORRELATE = "x-request-id"
"""The header that the lab passes on."""


def stimulated(plan: Plan) -> Mapping[str, str]:
    """Names of stimuli, and of the breaker that each is for; only what is sound."""
    found = {name: _followers(plan, name) for name in plan.stimulus}
    return {name: breakers[0] for name, breakers in found.items() if len(breakers) == 1}


def scripted_proxies(plan: Plan) -> Mapping[str, str]:
    """Proxies whose dependency is the scripted one, and the header by which calls are known there."""
    found: dict[str, str] = {}
    for name, breaker in stimulated(plan).items():
        wire = plan.breakers[breaker].observe.wire
        if wire is not None:
            found[wire] = plan.stimulus[name].correlate
    return found


def stimulus_problems(plan: Plan) -> Iterator[Problem]:
    """Stimuli without a breaker, breakers without a wire, and proxies that have one dependency too many or too few."""
    for name, stimulus in plan.stimulus.items():
        path: Path = ("stimulus", name)
        if name in plan.load:
            yield Problem(path, f"there is a load {name!r} already; choose another name", at_key=True)
        followers = _followers(plan, name)
        if len(followers) != 1:
            found = f"{', '.join(followers)} do" if followers else "none does"
            message = f"exactly one breaker has to say `load: {name}`: {found}"
            yield Problem(path, message, at_key=True)
            continue
        yield from _wire_problems(plan, followers[0], plan.breakers[followers[0]])
        if plan.lab is not None and stimulus.correlate.lower() != LAB_CORRELATE:
            yield Problem((*path, "correlate"), "the lab passes X-Request-Id on, and no other header")
    scripted = scripted_proxies(plan)
    for name, proxy in (plan.external.proxies if plan.external else {}).items():
        if proxy.listen is not None and proxy.upstream is None and name not in scripted:
            message = "`upstream` says where the dependency is: upstream: 127.0.0.1:8000"
            yield Problem(("external", "proxies", name), message, at_key=True)


def _followers(plan: Plan, stimulus: str) -> list[str]:
    return [name for name, breaker in plan.breakers.items() if breaker.load == stimulus]


def _wire_problems(plan: Plan, name: str, breaker: Breaker) -> Iterator[Problem]:
    wire = breaker.observe.wire
    if wire is None:
        message = "a breaker that is stimulated is judged from the wire: observe: {wire: PROXY}"
        yield Problem(("breakers", name, "observe"), message, at_key=True)
        return
    proxy = plan.external.proxies.get(wire) if plan.external else None
    if proxy is None:
        return  # the lab's, or one that does not exist, which is said elsewhere
    if proxy.listen is None:
        message = (
            "the scripted dependency stands behind a proxy of ours: give `listen` instead of `admin_url`"
        )
        yield Problem(("external", "proxies", wire), message, at_key=True)
    elif proxy.upstream is not None:
        message = "the scripted dependency is upstream of a breaker that is stimulated: leave `upstream` out"
        yield Problem(("external", "proxies", wire, "upstream"), message)
