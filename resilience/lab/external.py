"""The external stack: a system that others run. It is checked that the addresses answer.

Nothing of theirs is started. A proxy that the plan gives an address of our own to listen at (a point without a control API) is
put there by us, tap and all, before the system is asked for anything, and taken away at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import aiohttp

from faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from resilience.lab.fronting import Front
from resilience.lab.probing import instances_now, probing_session, read_json
from resilience.lab.system import Instance, ProxyPoint, StackError, System


class ExternalStack:
    """A `Stack` at given addresses; `system` says them, and may leave the addresses of a proxy empty."""

    def __init__(self, system: System, *, correlate: Mapping[str, str] | None = None) -> None:
        self._system = system
        self._correlate = correlate or {}
        self._front = Front()

    def describe(self) -> str:
        """Such as "external system at http://10.0.0.5:8080"."""
        return f"external system at {self._system.base_url}"

    async def up(self) -> System:
        """Ask every address once; StackError naming the first that does not answer, with nothing left behind."""
        try:
            return await self._up()
        except BaseException:
            await self.down()
            raise

    async def _up(self) -> System:
        # Before the system is asked: it may call its dependency for the answer.
        ours = [point for point in self._system.proxies.values() if not point.admin_url]
        fronted = await self._front.up(ours, self._correlate) if ours else {}
        self._system = replace(self._system, proxies={**self._system.proxies, **fronted})
        async with probing_session() as session:
            try:
                async with session.get(self._system.base_url):
                    pass  # any answer will do
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise StackError(f"nothing answers at {self._system.base_url}: {_reason(error)}") from error
            for instance in self._system.instances:
                if instance.admin_url and await read_json(session, f"{instance.admin_url}/breakers") is None:
                    raise StackError(f"{instance.name} tells nothing at {instance.admin_url}/breakers")
            for point in self._system.proxies.values():
                if point.tap_url is not None:
                    taps = await read_json(session, f"{point.tap_url}/taps")
                    if taps is None or point.tap not in taps:
                        raise StackError(f"there is no tap {point.tap!r} at {point.tap_url}")
        points = await asyncio.gather(*(_found(point) for point in self._system.proxies.values()))
        self._system = replace(
            self._system,
            proxies={point.name: point for point in points},
            instances=await instances_now(self._system.instances),
        )
        return self._system

    async def down(self) -> None:
        """Take away what we put in front of the system; harmless when there is nothing."""
        await self._front.down()

    async def instances(self) -> tuple[Instance, ...]:
        """The named instances, asked on their admin ports."""
        return await instances_now(self._system.instances)


async def _found(point: ProxyPoint) -> ProxyPoint:
    """The point with the addresses that its proxy server knows."""
    try:
        async with ToxiproxyClient(point.admin_url) as client:
            spec = (await client.proxies()).get(point.proxy)
    except ToxiproxyError as error:
        raise StackError(
            f"the proxy server of {point.name} at {point.admin_url} does not answer: {error}"
        ) from error
    if spec is None:
        raise StackError(f"there is no proxy {point.proxy!r} at {point.admin_url}")
    return replace(point, listen=point.listen or spec.listen, upstream=point.upstream or spec.upstream)


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
