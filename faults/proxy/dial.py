"""Dialling an upstream: names looked up once a second at most, then addresses connected in turn, with a time limit.

A dial that costs a lookup, as `create_connection(name, port)` does, halves the rate of new connections; a
lookup that is never repeated would miss a container that came back with another address. With an address in numbers
`create_connection` looks nothing up, and is cheaper than a socket of our own.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from faults.proxy.addresses import AddressError, parse_address

__all__ = ["DEFAULT_DIAL_TIMEOUT_S", "Dialler"]

DEFAULT_DIAL_TIMEOUT_S = 10.0
_LOOKUP_NS = 1_000_000_000

_Target = tuple[str, int]


class Dialler:
    """Connects to one upstream `host:port`."""

    def __init__(self, upstream: str, *, timeout_s: float = DEFAULT_DIAL_TIMEOUT_S) -> None:
        self.upstream = upstream
        self._timeout_s = timeout_s
        self._targets: list[_Target] = []
        self._literal = False
        self._looked_up_ns = 0
        self._lookup: asyncio.Task[list[_Target]] | None = None

    async def connect(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Connect `protocol()`; raise OSError, TimeoutError or AddressError where that fails."""
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        async with asyncio.timeout(self._timeout_s):
            for host, port in await self._resolve():
                try:
                    await loop.create_connection(protocol, host, port)
                except OSError as error:
                    failure = failure or error
                else:
                    return
        try:
            raise failure or OSError(f"no address for {self.upstream}")
        finally:
            del (
                failure
            )  # which holds this frame by its traceback, which holds it: a circle for each dial that fails

    async def _resolve(self) -> list[_Target]:
        if self._targets and (self._literal or time.monotonic_ns() - self._looked_up_ns < _LOOKUP_NS):
            return self._targets
        if self._lookup is None:
            self._lookup = asyncio.get_running_loop().create_task(self._look_up())
            self._lookup.add_done_callback(self._looked_up)
        # Shielded: one dial that is given up does not take the lookup away from the others.
        return await asyncio.shield(self._lookup)

    def _looked_up(self, task: asyncio.Task[list[_Target]]) -> None:
        self._lookup = None
        if not task.cancelled() and task.exception() is None:
            self._targets = task.result()
            self._looked_up_ns = time.monotonic_ns()

    async def _look_up(self) -> list[_Target]:
        address = parse_address(self.upstream)
        if not address.port:
            raise AddressError(f"dial tcp {self.upstream}: no port to connect to")
        host = address.host or "127.0.0.1"
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except OSError:
                continue
            self._literal = True
            return [(host, address.port)]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
        found.sort(key=lambda info: info[0] != socket.AF_INET)
        return [_literal(where) for *_, where in found]


def _literal(where: tuple[Any, ...]) -> _Target:
    """Write what a lookup found as an address in numbers, with its scope where it has one."""
    scoped = len(where) == 4 and where[3]
    return (f"{where[0]}%{where[3]}" if scoped else str(where[0])), int(where[1])
