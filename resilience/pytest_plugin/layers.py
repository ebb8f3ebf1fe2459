"""Proxy layers: the embedded server that a test session starts for itself, or a Toxiproxy that somebody else runs.

The embedded server is a process of its own that dies with the session, however the session dies. Any other Toxiproxy may
stand in for it: an admin URL, a toxiproxy-python client, or a container (testcontainers and whatever looks like it: an object
that tells its host and the host's port for port 8474).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import faults
from faults.model import ProxySpec
from faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from resilience.pytest_plugin.errors import ChaosSetupError

CONTROL_PORT = 8474
_READY_S = 20.0
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class Proxy:
    """A toxic proxy: what a client dials, and where faults go in."""

    name: str
    admin_url: str
    host: str
    port: int
    upstream: str

    @property
    def address(self) -> str:
        """`host:port` to dial."""
        return f"{self.host}:{self.port}"

    def url(self, path: str = "") -> str:
        """`http://host:port` and a path."""
        return f"http://{self.address}{path}"

    def __str__(self) -> str:
        return self.name


class EmbeddedServer:
    """Our own Toxiproxy-compatible server on a free loopback port."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._process: Process | None = None
        self.admin_url = ""

    async def start(self) -> str:
        """Start it; its admin URL. Raises ChaosSetupError with its last words if it does not come up."""
        # -P and the path: a folder `faults` in the user's repository must not be started instead of ours.
        home = str(Path(faults.__file__).parent.parent)
        path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH")) if part)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "faults.proxy", "--port", "0", "--die-with-parent"),
            *("--seed", str(self._seed)),
            stdin=PIPE,
            stdout=PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self._process.stdout is not None  # it is a pipe
        try:
            async with asyncio.timeout(_READY_S):
                line = await self._process.stdout.readline()
            self.admin_url = str(json.loads(line)["admin"])
        except (TimeoutError, ValueError, KeyError) as error:
            await self.stop()
            raise ChaosSetupError(f"the embedded proxy server did not start: {error}") from error
        return self.admin_url

    async def stop(self) -> None:
        """End it: its standard input ends, which it watches."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def admin_url_of(layer: Any) -> str:
    """The admin URL of whatever stands for a Toxiproxy server. ChaosSetupError for what cannot."""
    if isinstance(layer, str):
        return (layer if "://" in layer else f"http://{layer}").rstrip("/")
    if hasattr(layer, "get_exposed_port") and hasattr(layer, "get_container_host_ip"):
        return f"http://{layer.get_container_host_ip()}:{layer.get_exposed_port(CONTROL_PORT)}"
    if type(layer).__module__.split(".")[0] == "toxiproxy":
        from toxiproxy.api import APIConsumer  # noqa: PLC0415 - only where somebody uses it

        return f"http://{APIConsumer.host}:{APIConsumer.port}"
    raise ChaosSetupError(
        f"a {type(layer).__qualname__} is no Toxiproxy that is known: give its admin URL, a toxiproxy-python client, or a "
        "container with get_container_host_ip() and get_exposed_port()"
    )


def mapped_port_of(layer: Any) -> Callable[[int], int]:
    """From a port inside the layer to the port that this host dials."""
    if hasattr(layer, "get_exposed_port"):
        return lambda port: int(layer.get_exposed_port(port))
    return lambda port: port


def proxy_of(spec: ProxySpec, admin_url: str, mapped: Callable[[int], int] = lambda port: port) -> Proxy:
    """What a server says of a proxy, as its clients on this host see it."""
    host, _, port = spec.listen.rpartition(":")
    host = host.strip("[]")
    if host in {"", "0.0.0.0", "::", "127.0.0.1"}:  # noqa: S104 - compared with, not bound
        host = urlsplit(admin_url).hostname or "127.0.0.1"
    return Proxy(spec.name, admin_url, host, mapped(int(port)), spec.upstream)


async def create_proxy(admin_url: str, name: str, upstream: str, listen: str) -> ProxySpec:
    """A new proxy on a server."""
    try:
        async with ToxiproxyClient(admin_url) as client:
            return await client.create(ProxySpec(name=name, listen=listen, upstream=upstream))
    except ToxiproxyError as error:
        raise ChaosSetupError(f"no proxy {name!r} can be made at {admin_url}: {error}") from error


async def find_proxy(admin_url: str, name: str) -> ProxySpec:
    """A proxy that a server has."""
    try:
        async with ToxiproxyClient(admin_url) as client:
            proxies = await client.proxies()
    except ToxiproxyError as error:
        raise ChaosSetupError(f"no Toxiproxy answers at {admin_url}: {error}") from error
    if name not in proxies:
        raise ChaosSetupError(
            f"there is no proxy {name!r} at {admin_url}; there is {', '.join(proxies) or 'none'}"
        )
    return proxies[name]


async def delete_proxy(admin_url: str, name: str) -> None:
    """Take a proxy away; one that is gone is fine."""
    with contextlib.suppress(ToxiproxyError):
        async with ToxiproxyClient(admin_url) as client:
            await client.delete(name)


async def reset(admin_url: str) -> None:
    """Every proxy enabled, without toxics."""
    with contextlib.suppress(ToxiproxyError):
        async with ToxiproxyClient(admin_url) as client:
            await client.reset()
