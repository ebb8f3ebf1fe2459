"""The stack that a word on the command line means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from resilience.lab.autoscaler import AutoscalePolicy
from resilience.lab.broken import said_of_broken
from resilience.lab.embedded import EmbeddedStack, lab_environ, options_from
from resilience.lab.external import ExternalStack
from resilience.lab.options import LabOptions
from resilience.lab.settings import SettingsError
from resilience.lab.system import NOTICE, Instance, ProxyPoint, Stack, StackError, System
from resilience.plan.schema import External, Lab, Plan
from resilience.plan.stimuli import scripted_proxies


def make_stack(kind: str, plan: Plan, target: System | None = None, notice: str = "") -> Stack:
    """A stack that is ready to be brought up; raises `StackError` where something that it needs is missing.

    `target` is the external system of `--target`: what it does not know is taken from the plan. `notice` is what people
    must know of the system first; it goes into the record, and so does that a lab of ours is broken on purpose.
    """
    broken = "" if kind == "external" else _broken(os.environ)
    stack = _made(kind, plan, target)
    said = " ".join(text for text in (notice, broken) if text)
    return _Noticed(stack, said) if said else stack


def _broken(environ: Mapping[str, str]) -> str:
    try:
        return said_of_broken(environ)
    except SettingsError as error:
        raise StackError(str(error)) from error


def autoscale_policy(lab: Lab) -> AutoscalePolicy | None:
    """The autoscaler that a plan asks for."""
    scaled = lab.autoscale
    return None if scaled is None else AutoscalePolicy(scaled.most, scaled.per_gateway, least=lab.gateways)


def lab_options(lab: Lab) -> LabOptions:
    """What a plan asks of the embedded lab, over what the environment says."""
    return options_from(
        gateways=lab.gateways,
        breaker=lab.breaker,
        settings=lab.settings.given(),
        autoscale=autoscale_policy(lab),
    )


def _made(kind: str, plan: Plan, target: System | None) -> Stack:
    if kind == "external":
        return ExternalStack(external_system(plan, target), correlate=scripted_proxies(plan))
    lab = plan.lab or Lab()
    if kind == "compose":
        # Not before it is asked for: Docker's client takes a while to import.
        from resilience.lab.compose.stack import ComposeStack

        environ = {**os.environ, **lab_environ(lab.settings.given())}
        return ComposeStack(
            gateways=lab.gateways, breaker=lab.breaker, autoscale=autoscale_policy(lab), environ=environ
        )
    return EmbeddedStack(lab_options(lab))


def external_system(plan: Plan, target: System | None) -> System:
    """The plan's external system, at the target's address and with what the target knows of itself."""
    told = system_of(plan.external) if plan.external is not None else None
    if target is None or told is None:
        found = told or target
        assert found is not None  # the command line lets no plan without addresses come this far
        return found
    return replace(
        target,
        proxies=target.proxies or told.proxies,
        instances=target.instances or told.instances,
        facts={**told.facts, **target.facts},
    )


class _Noticed:
    """A stack whose system carries one more fact: what people must be told before anything else."""

    def __init__(self, stack: Stack, notice: str) -> None:
        self._stack = stack
        self._notice = notice

    def describe(self) -> str:
        """The stack's own words."""
        return self._stack.describe()

    async def up(self) -> System:
        """Bring it up, and add the notice."""
        system = await self._stack.up()
        return replace(system, facts={**system.facts, NOTICE: self._notice})

    async def down(self) -> None:
        """Take it down."""
        await self._stack.down()

    async def instances(self) -> tuple[Instance, ...]:
        """The instances as they are now."""
        return await self._stack.instances()


def system_of(external: External) -> System:
    """The addresses that a plan gives, as a system."""
    return System(
        stack="external",
        base_url=external.base_url,
        proxies={
            name: ProxyPoint(
                name=name,
                # Without an address it is one of ours: the stack puts it there.
                admin_url=proxy.admin_url or "",
                proxy=proxy.proxy or name,
                listen=proxy.listen or "",
                upstream=proxy.upstream or "",
                tap_url=proxy.tap_url,
                tap=proxy.tap,
            )
            for name, proxy in external.proxies.items()
        },
        instances=tuple(Instance(i.service, i.name, i.admin_url) for i in external.instances),
    )
