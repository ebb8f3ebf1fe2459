"""Taps and toxic proxies of our own, put in front of dependencies of a system that others run.

    their service ──▶ tap (at the address that the service is told) ──▶ toxic proxy ──▶ dependency

Two child processes, one for all proxies and one for all taps, which die with us however we die. A dependency that is to be
played by ourselves is not there yet when its front is: until it is, the proxy refuses.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from faults.model import ProxySpec
from faults.toxiproxy import ToxiproxyClient, ToxiproxyError
from resilience.lab.child import Child, Program
from resilience.lab.handshake import FRONT_GRACE_S
from resilience.lab.system import ProxyPoint, StackError

_START_S: Final = 15.0
_TIMEOUT_S: Final = 5.0
_NOBODY: Final = "127.0.0.1:9"
"""The discard port: nobody listens there."""


class Front:
    """The two processes. `up` once, `down` any number of times."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._logs: tempfile.TemporaryDirectory[str] | None = None

    async def up(self, points: Sequence[ProxyPoint], correlate: Mapping[str, str]) -> dict[str, ProxyPoint]:
        """Put each point's tap at its `listen`, and a proxy to its `upstream` behind it.

        `correlate` names, by point, the request header that identifies a call. Raises StackError, with nothing left behind.
        """
        try:
            async with asyncio.timeout(_START_S):
                proxies, taps = await self._start()
                found = {}
                for point in points:
                    header = correlate.get(point.name, "X-Request-Id")
                    found[point.name] = await _point(point, proxies, taps, header)
                return found
        except BaseException as error:
            await self.down()
            if isinstance(error, TimeoutError):
                raise StackError(f"our proxies were not up within {_START_S:g} s") from None
            if isinstance(error, (ToxiproxyError, aiohttp.ClientError, OSError)):
                raise StackError(f"our proxies cannot be set up: {error}") from error
            raise

    async def down(self) -> None:
        """End both; harmless when none runs."""
        await asyncio.gather(*(child.stop(FRONT_GRACE_S) for child in self._children))
        self._children.clear()
        if self._logs is not None:
            self._logs.cleanup()
            self._logs = None

    async def _start(self) -> tuple[str, str]:
        self._logs = tempfile.TemporaryDirectory(prefix="chaos-spike-front-")
        ready: list[Mapping[str, Any]] = []
        for name, module in (("toxiproxy", "faults.proxy"), ("tap", "faults.proxy.tap")):
            # -P: a folder `faults` where we were started is somebody else's.
            command = [sys.executable, "-P", "-m", module, "--die-with-parent", "--port", "0"]
            child = await Child.start(Program(name, command), Path(self._logs.name) / f"{name}.log")
            self._children.append(child)
            ready.append(await child.ready())
        return str(ready[0]["admin"]), str(ready[1]["control"])


async def _point(point: ProxyPoint, admin_url: str, tap_url: str, correlate: str) -> ProxyPoint:
    async with (
        ToxiproxyClient(admin_url, timeout_s=_TIMEOUT_S) as proxies,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
    ):
        upstream = point.upstream or _NOBODY
        proxy = await proxies.create(ProxySpec(name=point.name, listen="127.0.0.1:0", upstream=upstream))
        wanted = {"name": point.name, "listen": point.listen, "upstream": proxy.listen}
        async with session.post(
            f"{tap_url}/taps", json={**wanted, "protocol": "http", "correlate": correlate}
        ) as response:
            answer = await response.json()
            if response.status != 201:
                raise StackError(
                    f"we cannot listen at {point.listen} for {point.name}: {answer.get('error', response.status)}; "
                    f"choose another address: --set external.proxies.{point.name}.listen=HOST:PORT"
                )
    return replace(
        point,
        admin_url=admin_url,
        proxy=point.name,
        listen=str(answer["listen"]),
        upstream=upstream,
        tap_url=tap_url,
        tap=point.name,
    )


async def repoint(point: ProxyPoint, upstream: str) -> None:
    """Let the proxy of a point lead to another dependency ("host:port"). Raises StackError."""
    try:
        async with ToxiproxyClient(point.admin_url, timeout_s=_TIMEOUT_S) as proxies:
            await proxies.update(point.proxy, upstream=upstream)
    except ToxiproxyError as error:
        raise StackError(f"the proxy of {point.name} cannot be led elsewhere: {error}") from error
