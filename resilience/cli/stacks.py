"""The stack that a word on the command line means."""

from __future__ import annotations

from resilience.lab.embedded import EmbeddedStack
from resilience.lab.external import ExternalStack
from resilience.lab.system import Instance, ProxyPoint, Stack, System
from resilience.plan.schema import External, Plan


def make_stack(kind: str, plan: Plan) -> Stack:
    """A stack that is ready to be brought up; raises `StackError` where something that it needs is missing."""
    if kind == "external" and plan.external is not None:
        return ExternalStack(system_of(plan.external))
    lab = plan.lab
    gateways, breaker = (lab.gateways, lab.breaker) if lab else (2, None)
    if kind == "compose":
        # Not before it is asked for: Docker's client takes a while to import.
        from resilience.lab.compose.stack import ComposeStack

        return ComposeStack(gateways=gateways, breaker=breaker)
    return EmbeddedStack(gateways=gateways, breaker=breaker)


def system_of(external: External) -> System:
    """The addresses that a plan gives, as a system."""
    return System(
        stack="external",
        base_url=external.base_url,
        proxies={
            name: ProxyPoint(
                name=name,
                admin_url=proxy.admin_url,
                proxy=proxy.proxy,
                listen="",
                upstream="",
                tap_url=proxy.tap_url,
                tap=proxy.tap,
            )
            for name, proxy in external.proxies.items()
        },
        instances=tuple(Instance(i.service, i.name, i.admin_url) for i in external.instances),
    )
