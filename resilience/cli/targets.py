"""`--target`: the external system that a plan is run against, found and made sure of before anything is sent to it.

    lab     the lab that `chaos-spike lab up` started, with its proxies, instances and processes
    auto    whatever serves on loopback ports 8000 and 8200 *and* says that it may be loaded
    URL     an address that the user vouches for

A service that merely answers on a port may be anybody's. `auto` therefore takes two kinds only: the gateway of the lab
that `lab up` started, known from its state file, and a service that answers `GET /health/ready` with 200 and the
header `X-Chaos-Spike: allowed`. It looks for `LOOK_S` at most; nothing but that one request is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import aiohttp

from resilience.cli.addresses import is_http_address
from resilience.lab.detached import lab_state
from resilience.lab.system import StackError, System

AUTO_PORTS = (8000, 8200)
CONSENT_HEADER = "X-Chaos-Spike"
CONSENT = "allowed"
LOOK_S = 0.8
"""How long `auto` looks; a service on loopback that needs longer is not ready for a spike."""


class TargetError(ValueError):
    """What was written after --target cannot be a target."""


@dataclass(frozen=True, slots=True)
class _Seen:
    port: int
    answers: bool
    allowed: bool


def target_system(target: str) -> System:
    """The system that `target` means.

    Raises `TargetError` for what is no target, and `StackError` where none is there.
    """
    if target == "lab":
        return _lab()
    if target == "auto":
        return _auto(asyncio.run(_look(AUTO_PORTS)))
    if not is_http_address(target):
        raise TargetError(f"{target!r}: write auto, lab, or an address such as http://127.0.0.1:8000")
    return System(stack="external", base_url=target.rstrip("/"))


def _lab() -> System:
    system = lab_state()
    if system is None:
        raise StackError("no lab is up; start one with `chaos-spike lab up`")
    return replace(system, stack="external")


async def _look(ports: Sequence[int]) -> list[_Seen]:
    timeout = aiohttp.ClientTimeout(total=LOOK_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        return list(await asyncio.gather(*(_ask(session, port) for port in ports)))


async def _ask(session: aiohttp.ClientSession, port: int) -> _Seen:
    try:
        async with session.get(f"http://127.0.0.1:{port}/health/ready", allow_redirects=False) as answer:
            allowed = answer.status == 200 and answer.headers.get(CONSENT_HEADER, "").lower() == CONSENT
            return _Seen(port, answers=True, allowed=allowed)
    except aiohttp.ClientConnectorError:
        return _Seen(port, answers=False, allowed=False)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return _Seen(port, answers=True, allowed=False)  # somebody is there, and does not speak as expected


def _auto(seen: Sequence[_Seen]) -> System:
    lab = lab_state()
    for each in seen:
        if each.answers and lab is not None and urlsplit(lab.base_url).port == each.port:
            return replace(lab, stack="external")
        if each.allowed:
            return System(stack="external", base_url=f"http://127.0.0.1:{each.port}")
    strangers = [str(each.port) for each in seen if each.answers]
    if strangers:
        where = " and ".join(strangers)
        raise StackError(
            f"something answers on port {where}, but does not say that it may be loaded. Let it answer GET /health/ready "
            f"with the header `{CONSENT_HEADER}: {CONSENT}`, or vouch for it: --target http://127.0.0.1:{strangers[0]}"
        )
    looked = " and ".join(str(each.port) for each in seen)
    raise StackError(
        f"nothing answers on ports {looked}; start your service, name it with --target URL, or add --fallback lab"
    )
