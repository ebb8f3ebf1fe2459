"""Asking a system from outside: which start an instance is on, and whether an address answers at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from resilience.lab.system import Instance

_TIMEOUT_S = 2.0


def probing_session() -> aiohttp.ClientSession:
    """A client that gives up after two seconds."""
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))


async def read_json(session: aiohttp.ClientSession, url: str) -> Mapping[str, Any] | None:
    """The JSON object at `url`; `None` if there is none to be had."""
    try:
        async with session.get(url) as response:
            body = await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


async def instances_now(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """The same instances with the boot ids that their admin ports tell now; `None` where nobody answers."""
    async with probing_session() as session:
        return tuple(await asyncio.gather(*(_now(session, instance) for instance in instances)))


async def _now(session: aiohttp.ClientSession, instance: Instance) -> Instance:
    if instance.admin_url is None:
        return instance
    answer = await read_json(session, f"{instance.admin_url}/breakers")
    return replace(instance, boot=None if answer is None else str(answer.get("boot")))
