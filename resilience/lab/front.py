"""What stands in front of the lab's dependencies: for each one a tap, and behind it a toxic proxy.

    caller ──▶ tap (always listening, records) ──▶ toxic proxy (faults go in here) ──▶ dependency

The tap stands on the caller's side because what counts for a breaker is the call that leaves its caller, whatever a
toxic does to it afterwards. All proxies live in one process and all taps in another; both outlive the services that
they front, so that a fault's healing can be seen to the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from faults.model import ProxySpec
from faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from resilience.lab.ports import LOOPBACK
from resilience.lab.system import ProxyPoint, StackError

_TIMEOUT_S = 5.0
# Which protocol the tap of a dependency can read, and where it finds the caller's request id.
_PROTOCOLS: Mapping[str, tuple[str, str | None]] = {
    "pricing": ("http", "x-request-id"),
    "db": ("tcp", None),
    "cache": ("tcp", None),
}


async def build_points(
    proxy_admin: str, tap_control: str, upstreams: Mapping[str, str]
) -> dict[str, ProxyPoint]:
    """Put a proxy and a tap in front of each dependency ("host:port" by name); StackError if one cannot be made."""
    try:
        async with (
            ToxiproxyClient(proxy_admin, timeout_s=_TIMEOUT_S) as proxies,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
        ):
            points = await asyncio.gather(
                *(
                    _point(name, upstream, proxies, proxy_admin, session, tap_control)
                    for name, upstream in upstreams.items()
                )
            )
    except (ToxiproxyError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise StackError(f"the proxies in front of the dependencies cannot be set up: {error}") from error
    return {point.name: point for point in points}


async def _point(
    name: str,
    upstream: str,
    proxies: ToxiproxyClient,
    proxy_admin: str,
    session: aiohttp.ClientSession,
    tap_control: str,
) -> ProxyPoint:
    proxy = await proxies.create(ProxySpec(name=name, listen=f"{LOOPBACK}:0", upstream=upstream))
    protocol, correlate = _PROTOCOLS[name]
    wanted = {"name": name, "listen": f"{LOOPBACK}:0", "upstream": proxy.listen}
    async with session.post(
        f"{tap_control}/taps", json={**wanted, "protocol": protocol, "correlate": correlate}
    ) as response:
        if response.status != 201:
            raise StackError(f"the tap for {name} was refused: {response.status} {await response.text()}")
    async with session.get(f"{tap_control}/taps") as response:
        taps: Mapping[str, Mapping[str, Any]] = await response.json()
    return ProxyPoint(
        name=name,
        admin_url=proxy_admin,
        proxy=name,
        listen=str(taps[name]["listen"]),
        upstream=upstream,
        tap_url=tap_control,
        tap=name,
    )
