"""A breaker service around any Python breaker library: `/call`, `/breakers` and `/breakers/events` on one address.

The library decides; what stands here is the same for all of them. Listening, the ready line and the end are the lab's
(`resilience.lab.service`), and so are the breaker routes and the log of transitions behind them. A call that the caller
abandons is cancelled inside the breaker, as a web framework would do it. Each call to the upstream opens a connection of
its own: a pooled one that has died in the meantime would fail without a request on the wire.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from resilience.lab.breakers.base import Breaker, CallRejected, Emit
from resilience.lab.breakers.transitions import TransitionLog
from resilience.lab.gateway.admin import Admin
from resilience.lab.gateway.context import BREAKER_HEADER, INSTANCE_HEADER, REQUEST_ID_HEADER, Identity
from resilience.lab.service import Service, ServiceOptions
from resilience.lab.settings import BreakerSettings, SettingsError

_LAB = "resilience.lab.breakers"
_OURS = "tests.conformance.python.adapters"
ADAPTERS: Mapping[str, str] = {
    "aiobreaker": f"{_LAB}.aiobreaker",
    "circuitbreaker": f"{_LAB}.circuitbreaker",
    "fluxgate": f"{_OURS}.fluxgate_adapter",
    "hyx": f"{_LAB}.hyx",
    "purgatory": f"{_LAB}.purgatory",
    "pybreaker": f"{_OURS}.pybreaker_adapter",
    "pyresilience": f"{_OURS}.pyresilience_adapter",
}
"""Library -> module with `make(name, settings, emit)`; those of the lab run here as they run there."""

COUNTS_SUCCESSES = frozenset({"hyx", "pybreaker", "pyresilience"})
"""The others close at the first success."""


class UpstreamFailed(Exception):  # noqa: N818 - what the dependency did, not what is wrong with us
    """The dependency answered with an error of its own."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the environment asks of the service."""

    upstream: str
    breaker: str
    settings: BreakerSettings

    @classmethod
    def from_environ(cls, library: str, environ: Mapping[str, str]) -> Wanted:
        """SettingsError names the variable that is missing or wrong."""
        if library not in ADAPTERS:
            raise SettingsError(f"{library!r} is not one of {', '.join(ADAPTERS)}")
        if not environ.get("UPSTREAM"):
            raise SettingsError("UPSTREAM is not set")
        successes = _whole(environ, "SUCCESSES", 1)
        if successes != 1 and library not in COUNTS_SUCCESSES:
            raise SettingsError(f"{library} closes at the first success; SUCCESSES must be 1")
        return cls(
            upstream=environ["UPSTREAM"].rstrip("/"),
            breaker=environ.get("BREAKER", "dependency"),
            settings=BreakerSettings(
                library=library,
                failures=_whole(environ, "FAILURES", 3),
                wait_ms=_whole(environ, "WAIT_MS", 1000),
                timeout_ms=_whole(environ, "CALL_TIMEOUT_MS", 300),
                successes=successes,
            ),
        )


def _whole(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name}={text!r} is not a whole number above 0")
    return int(text)


class Calls:
    """`GET /call`."""

    def __init__(self, wanted: Wanted, breaker: Breaker, identity: Identity) -> None:
        self._url = f"{wanted.upstream}/"
        self._timeout_s = wanted.settings.timeout_ms / 1000
        self._breaker = breaker
        self._instance = identity.instance
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None),
        )

    async def close(self) -> None:
        """Close what calls are made with."""
        await self._session.close()

    async def answer(self, request: web.Request) -> web.Response:
        """Call the upstream through the breaker and say what became of it."""
        request_id = request.headers.get(REQUEST_ID_HEADER)
        headers = {} if request_id is None else {REQUEST_ID_HEADER: request_id}

        async def call() -> None:
            async with asyncio.timeout(self._timeout_s), self._session.get(self._url, headers=headers) as got:
                await got.read()
                if got.status >= 500:
                    raise UpstreamFailed

        try:
            await self._breaker.guard(call)
        except CallRejected:
            return self._said(503, "rejected")
        except (UpstreamFailed, aiohttp.ClientError, OSError, TimeoutError):
            return self._said(502, "failed")
        return self._said(200, "ok")

    def _said(self, status: int, word: str) -> web.Response:
        return web.Response(
            status=status, text=f"{word}\n", headers={BREAKER_HEADER: word, INSTANCE_HEADER: self._instance}
        )


async def serve(library: str, options: ServiceOptions) -> None:
    """Serve until told to end; SettingsError on an environment that makes no sense."""
    wanted = Wanted.from_environ(library, os.environ)
    async with Service(options, library) as service:
        identity = Identity(options.instance, service.boot)
        log = TransitionLog()
        breaker = await _make(library, wanted, _recorder(wanted.breaker, log))
        if hasattr(breaker, "close"):
            service.at_end(breaker.close)
        calls = Calls(wanted, breaker, identity)
        service.at_end(calls.close)
        admin = Admin(
            identity,
            breaker,
            _promise(wanted),
            log,
            name=wanted.breaker,
            draining=lambda: service.draining,
        )
        application = web.Application()
        application.add_routes([
            web.get("/call", calls.answer),
            web.get("/breakers", admin.breakers),
            web.get("/breakers/events", admin.events),
        ])  # fmt: skip
        await service.public(
            web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        )
        await service.run_until_told()


async def _make(library: str, wanted: Wanted, emit: Emit) -> Breaker:
    try:
        module = importlib.import_module(ADAPTERS[library])
    except ModuleNotFoundError as missing:
        raise SettingsError(f"{missing.name} is not installed: pip install 'chaos-spike[dev]'") from missing
    breaker: Breaker = await module.make(wanted.breaker, wanted.settings, emit)
    return breaker


def _recorder(breaker: str, log: TransitionLog) -> Emit:
    def emit(source: str, target: str, since_ns: int, at_ns: int) -> None:
        log.record(breaker, source, target, since_ns, at_ns)

    return emit


def _promise(wanted: Wanted) -> dict[str, object]:
    """What the breaker is meant to do, in the verifier's words."""
    settings = wanted.settings
    return {
        "dialect": settings.library,
        "failures": settings.failures,
        "wait_ms": settings.wait_ms,
        "timeout_ms": settings.timeout_ms,
        "successes": settings.successes,
        "permitted": 1,
    }
