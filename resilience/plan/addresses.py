"""Where a system can be reached, by the names that plans use for it. Pure.

`{base}` is the system itself, `{ws}` the same for WebSockets; the lab adds `{db}` and `{cache}`, an external system what its `addresses` say.
The lab's databases are reached through their proxies, so that a load on them meets the faults that are put there. Stand-ins take
the place of addresses that are known only once a system is up, or not any more when its record is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from resilience.plan.schema import Plan

NO_HOST: Final = "http://system.invalid/"
"""Stands for a system whose address is known only once it is up."""
LAB_ADDRESSES: Final[Mapping[str, str]] = {
    "db": "postgresql://system.invalid/",
    "cache": "redis://system.invalid/",
}


def websocket_address(base_url: str) -> str:
    """The address of the same host for WebSockets."""
    return f"ws{base_url.removeprefix('http')}" if base_url.startswith("http") else base_url


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def stand_ins(plan: Plan) -> dict[str, str]:
    """Every address that the plan's system will have: its own where the plan says it, else one that leads nowhere."""
    external = plan.external
    if plan.system is not None:
        base = origin_of(plan.system.ready.url)
        return {"base": base, "ws": websocket_address(base)}
    base = external.base_url if external is not None else NO_HOST
    named: Mapping[str, str] = external.addresses if external is not None else LAB_ADDRESSES
    return {"base": base, "ws": websocket_address(base), **named}


def resolved(plan: Plan, base_url: str, told: Mapping[str, str]) -> dict[str, str]:
    """The addresses of a system that is up at `base_url`; `told` are those that it names itself."""
    return {**stand_ins(plan), **told, "base": base_url, "ws": websocket_address(base_url)}


def unknown_addresses(addresses: Mapping[str, str]) -> set[str]:
    """The names whose addresses lead nowhere: nobody can be asked there."""
    return {name for name, url in addresses.items() if urlsplit(url).hostname == "system.invalid"}
