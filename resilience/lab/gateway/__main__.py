"""`python -m resilience.lab.gateway`: one gateway process. Environment: settings.py; flags: service.py."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

from aiohttp import web

from resilience.lab.breakers.base import Breaker
from resilience.lab.breakers.registry import breaker_spec, make_breaker
from resilience.lab.breakers.transitions import TransitionLog
from resilience.lab.broken import (
    ACKNOWLEDGES_EARLY,
    BREAKER_STAYS_OPEN,
    DROPS_SOCKETS,
    LEAKS_SOCKETS,
    LOGINS_FAIL,
    NO_FALLBACK,
    NO_INVALIDATION,
    POOL_WAITS,
    broken_from,
)
from resilience.lab.gateway import broken
from resilience.lab.gateway.admin import Admin
from resilience.lab.gateway.app import Parts, admin_app, public_app
from resilience.lab.gateway.auth import Logins, Tokens
from resilience.lab.gateway.context import Identity
from resilience.lab.gateway.database import ACQUIRE_S, Database
from resilience.lab.gateway.items import ItemCache, Items, cache_client
from resilience.lab.gateway.metrics import Metrics
from resilience.lab.gateway.orders import Orders
from resilience.lab.gateway.quotes import BREAKER_NAME, PricingClient, Quotes, pricing_session
from resilience.lab.gateway.sockets import Sockets
from resilience.lab.service import Service, ServiceOptions, parse_options, run_service
from resilience.lab.settings import GatewaySettings

_KEEP_ALIVE_S = 75.0


async def _breaker(settings: GatewaySettings, log: TransitionLog, metrics: Metrics) -> Breaker | None:
    def emit(source: str, target: str, since_ns: int, at_ns: int) -> None:
        log.record(BREAKER_NAME, source, target, since_ns, at_ns)
        metrics.transition(BREAKER_NAME, target)

    return await make_breaker(BREAKER_NAME, settings.breaker, emit)


@dataclass(frozen=True, slots=True)
class _Kinds:
    """Which class is at work for each part: the right one, unless CHAOS_SPIKE_LAB_BROKEN names a wrong one."""

    quotes: type[Quotes] = Quotes
    orders: type[Orders] = Orders
    items: type[Items] = Items
    sockets: type[Sockets] = Sockets
    logins: type[Logins] = Logins


def _kinds(ways: frozenset[str]) -> _Kinds:
    wrong: dict[str, tuple[str, type]] = {
        NO_FALLBACK: ("quotes", broken.QuotesWithoutFallback),
        ACKNOWLEDGES_EARLY: ("orders", broken.OrdersAcknowledgedEarly),
        NO_INVALIDATION: ("items", broken.ItemsWithoutInvalidation),
        LEAKS_SOCKETS: ("sockets", broken.SocketsThatLeak),
        DROPS_SOCKETS: ("sockets", broken.SocketsThatDrop),
        LOGINS_FAIL: ("logins", broken.LoginsThatFail),
    }
    return replace(_Kinds(), **dict(wrong[way] for way in sorted(ways) if way in wrong))


async def _parts(service: Service, settings: GatewaySettings) -> Parts:
    identity = Identity(service.options.instance, service.boot)
    metrics, log, tokens = Metrics(), TransitionLog(), Tokens(settings.jwt_secret)
    ways = broken_from(os.environ)
    kinds = _kinds(ways)
    breaker = await _breaker(settings, log, metrics)
    if breaker is not None and BREAKER_STAYS_OPEN in ways:
        breaker = broken.BreakerThatStaysOpen(breaker)
    database = await Database.open(
        settings.database_url,
        size=settings.pool_size,
        timeout_ms=settings.database_timeout_ms,
        acquire_s=None if POOL_WAITS in ways else ACQUIRE_S,
    )
    service.at_end(database.close)
    await database.prepare(settings.scrypt_log2_n)
    redis = cache_client(settings.cache_url, settings.cache_timeout_ms)
    service.at_end(redis.aclose)
    ear = cache_client(settings.cache_url, settings.cache_timeout_ms, blocking_reads=True)
    service.at_end(ear.aclose)
    session = pricing_session()
    service.at_end(session.close)
    sockets = kinds.sockets(identity, tokens, bus=redis, ear=ear)
    service.at_end(sockets.close)
    logins = kinds.logins(database, tokens, settings.scrypt_log2_n)
    service.at_end(logins.close)
    metrics.watch(state=breaker.state if breaker else None, sockets=lambda: len(sockets), pool=database.sizes)
    cache = ItemCache(redis, settings.cache_ttl_ms)
    client = PricingClient(
        session, settings.pricing_url, settings.breaker.timeout_ms, retries=settings.retries
    )
    return Parts(
        identity=identity,
        database=database,
        cache=cache,
        logins=logins,
        quotes=kinds.quotes(client, breaker, metrics.quoted),
        orders=kinds.orders(database),
        items=kinds.items(database, cache),
        sockets=sockets,
        metrics=metrics,
        admin=Admin(
            identity, breaker, breaker_spec(settings.breaker), log, draining=lambda: service.draining
        ),
        draining=lambda: service.draining,
        leaving=lambda: service.leaving,
    )


async def _serve(options: ServiceOptions) -> None:
    settings = GatewaySettings.from_environ(os.environ)
    async with Service(options, "gateway") as service:
        parts = await _parts(service, settings)
        parts.sockets.start()
        for application, serve in ((admin_app(parts), service.admin), (public_app(parts), service.public)):
            await serve(
                web.AppRunner(
                    application, access_log=None, keepalive_timeout=_KEEP_ALIVE_S, shutdown_timeout=0.5
                )
            )
        await service.run_until_told()


if __name__ == "__main__":
    sys.exit(run_service(_serve, parse_options("resilience.lab.gateway", sys.argv[1:])))
