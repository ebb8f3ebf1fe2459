"""What a compose project that is up tells about itself: addresses, proxies, clocks, versions.

Reads only: inspected containers, the control APIs of its taps and Toxiproxies, and short commands inside its containers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import aiohttp

from faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from resilience.lab.compose.command import ComposeCommand
from resilience.lab.compose.engine import Container, Engine
from resilience.lab.ports import LOOPBACK
from resilience.lab.probing import probing_session, read_json
from resilience.lab.system import ContainerPoint, Instance, ProxyPoint, StackError

DEPENDENCIES = ("pricing", "db", "cache")
GATEWAY = "gateway"
ADMIN_PORT = "9000/tcp"
_FAULTABLE = (GATEWAY, "pricing", "postgres", "redis", "haproxy")
# A reading is bracketed by two of ours; beyond that, clocks that are the same cannot differ.
_CLOCK_SLACK_NS = 20_000_000
# How each service tells its version.
_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "postgres": ("postgres", "--version"),
    "redis": ("redis-server", "--version"),
    "haproxy": ("haproxy", "-v"),
    "gateway": ("python", "-c", "import platform; print('python', platform.python_version())"),
}
_LIBRARY = (
    "python",
    "-c",
    "from os import environ; from resilience.lab.breakers.registry import library_version as version; print(version(environ['CHAOS_SPIKE_LAB_BREAKER']))",
)


def published(containers: tuple[Container, ...], service: str, port: str) -> str:
    """The URL under which the host reaches a service's port; StackError if it is not published."""
    for each in containers:
        if each.service == service and port in each.ports:
            return f"http://{LOOPBACK}:{each.ports[port]}"
    raise StackError(f"{service} does not publish its port {port.partition('/')[0]}")


def addresses(containers: tuple[Container, ...], password: str) -> dict[str, str]:
    """The database and the cache through their taps and proxies, as a plan's loads reach them."""
    database, cache = (
        published(containers, "tap", port).removeprefix("http://") for port in ("5432/tcp", "6379/tcp")
    )
    return {
        "db": f"postgresql://lab:{password}@{database}/lab?sslmode=disable",
        "cache": f"redis://{cache}/0",
    }


async def proxy_points(engine: str, containers: tuple[Container, ...]) -> dict[str, ProxyPoint]:
    """One point per dependency, asked of its Toxiproxy and of the tap before it."""
    tap_url = published(containers, "tap", "9100/tcp")
    async with probing_session() as session:
        taps = await read_json(session, f"{tap_url}/taps")
    if taps is None:
        raise StackError(f"the tap at {tap_url} does not tell its taps")
    found = await asyncio.gather(*(_point(name, containers, tap_url, taps) for name in DEPENDENCIES))
    ids = {each.service: each.id for each in containers}
    return {
        point.name: replace(point, engine=engine, container=ids[f"toxiproxy-{point.name}"]) for point in found
    }


async def _point(
    name: str, containers: tuple[Container, ...], tap_url: str, taps: Mapping[str, Any]
) -> ProxyPoint:
    service = f"toxiproxy-{name}"
    admin_url = published(containers, service, "8474/tcp")
    try:
        async with ToxiproxyClient(admin_url) as client:
            proxies = await client.proxies()
    except ToxiproxyError as error:
        raise StackError(f"{service} at {admin_url} does not answer: {error}") from error
    if name not in proxies or name not in taps:
        raise StackError(f"{service} has no proxy {name!r}, or the tap no tap of that name")
    return ProxyPoint(
        name=name,
        admin_url=admin_url,
        proxy=name,
        listen=f"tap:{str(taps[name]['listen']).rpartition(':')[2]}",
        upstream=proxies[name].upstream,
        tap_url=tap_url,
        tap=name,
    )


def container_points(engine: str, containers: tuple[Container, ...]) -> dict[str, ContainerPoint]:
    """The containers that a plan may put faults on, by the names that plans use: "gateway-2", and the other services by their own."""
    return {
        name: ContainerPoint(name, engine, each.id)
        for each in containers
        if each.service in _FAULTABLE
        for name in [f"gateway-{each.number}" if each.service == GATEWAY else each.service]
    }


async def gateways(containers: tuple[Container, ...], doors: Mapping[str, str]) -> tuple[Instance, ...]:
    """Every replica, under the name and the boot that it tells itself; both as compose numbers it while it is silent.

    `doors` are the addresses of the admin ports that stay the same; one without is named by where it is published now.
    """
    replicas = [
        (each, doors.get(each.id) or f"http://{LOOPBACK}:{each.ports[ADMIN_PORT]}")
        for each in containers
        if each.service == GATEWAY and ADMIN_PORT in each.ports
    ]
    async with probing_session() as session:
        return tuple(await asyncio.gather(*(_gateway(session, *each) for each in replicas)))


async def _gateway(session: aiohttp.ClientSession, replica: Container, admin_url: str) -> Instance:
    answer = await read_json(session, f"{admin_url}/breakers") or {}
    return Instance(
        service="gateway",
        name=str(answer.get("instance") or f"gateway-{replica.number}"),
        admin_url=admin_url,
        pid=replica.pid or None,
        boot=str(answer["boot"]) if "boot" in answer else None,
    )


async def check_clock(instances: tuple[Instance, ...]) -> None:
    """StackError if a container's CLOCK_MONOTONIC is not ours: its evidence could not be compared with ours."""
    async with probing_session() as session:
        for instance in instances:
            before = time.monotonic_ns()
            answer = await read_json(session, f"{instance.admin_url}/breakers")
            after = time.monotonic_ns()
            if answer is None:
                raise StackError(f"{instance.name} tells nothing at {instance.admin_url}/breakers")
            now_ns = int(answer.get("now_ns", 0))
            if not before - _CLOCK_SLACK_NS <= now_ns <= after + _CLOCK_SLACK_NS:
                raise StackError(
                    "the Docker engine runs on another clock than this program (it is in a virtual machine), so what "
                    "its containers saw cannot be ordered with what we did.\n"
                    "Way out: run chaos-spike inside of that machine, or use `--stack embedded`."
                )


def system_facts(
    engine: Engine, compose: ComposeCommand, containers: tuple[Container, ...]
) -> dict[str, str]:
    """Versions, images, and which container is which Toxiproxy: for the environment record."""
    first = {each.service: each for each in reversed(containers)}
    questions = {service: command for service, command in _VERSIONS.items() if service in first}
    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="facts") as pool:
        answers = pool.map(lambda item: engine.output(first[item[0]], item[1]), questions.items())
        library = pool.submit(engine.output, first["gateway"], _LIBRARY)
        facts = {
            service: answer.splitlines()[0] if answer else "unknown"
            for service, answer in zip(questions, answers, strict=True)
        }
        facts["breaker_library"] = library.result() or "unknown"
    facts["engine"] = f"docker {engine.version()}"
    facts["compose"] = str(compose)
    for service, each in first.items():
        facts[f"container_{service}"] = f"{each.name} {each.id[:12]} {each.image}"
    return facts
