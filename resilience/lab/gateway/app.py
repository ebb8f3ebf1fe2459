"""The gateway's applications: routes, and what surrounds every request.

    public port   /auth/login  /api/quote/{sku}  /api/orders  /api/orders/{request_id}  /api/items/{id}  /ws  /ws/test
                  /health/live  /health/ready  /metrics
    admin port    /breakers  /breakers/events  /health/live  /health/ready  /metrics

Around each request: `X-Instance` on every answer, the caller's `X-Request-Id` (or one of ours) handed on and echoed,
metrics by route pattern, and the database's troubles turned into statuses: 503 with Retry-After when it is busy or
away, 504 when it is late. A draining process answers `Connection: close`.

Ready means: started, reached its database once, neither draining nor about to (leaving). A dependency that goes away later is reported in the
body but does not make the instance unready: every instance shares it, and taking all of them out of the balancer would
turn one broken dependency into a whole outage, the quotes' fallback included.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Middleware

from resilience.lab.gateway.admin import Admin
from resilience.lab.gateway.auth import Logins
from resilience.lab.gateway.context import INSTANCE_HEADER, REQUEST_ID, REQUEST_ID_HEADER, Identity, refusal
from resilience.lab.gateway.database import Database, DatabaseBusy, DatabaseFailed, DatabaseLate
from resilience.lab.gateway.items import ItemCache, Items
from resilience.lab.gateway.metrics import Metrics
from resilience.lab.gateway.orders import Orders
from resilience.lab.gateway.quotes import Quotes
from resilience.lab.gateway.sockets import Sockets

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_MAX_BODY_BYTES = 64 * 1024
_MAX_REQUEST_ID = 128


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that the routes need, put together by __main__."""

    identity: Identity
    database: Database
    cache: ItemCache
    logins: Logins
    quotes: Quotes
    orders: Orders
    items: Items
    sockets: Sockets
    metrics: Metrics
    admin: Admin
    draining: Callable[[], bool]
    leaving: Callable[[], bool]


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "unknown" if resource is None else resource.canonical


def _around(parts: Parts) -> Middleware:
    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[REQUEST_ID] = request.headers.get(REQUEST_ID_HEADER, "")[
            :_MAX_REQUEST_ID
        ] or secrets.token_hex(8)
        began = perf_counter()
        status = 500
        try:
            response = await _answer(request, handler)
            status = response.status
            if parts.draining() and not response.prepared:
                response.force_close()
            return response
        except web.HTTPException as answer:
            status = answer.status
            raise
        finally:
            parts.metrics.answered(_route(request), status, perf_counter() - began)

    return around


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except DatabaseBusy as busy:
        return refusal(503, str(busy), retry_after_s=1)
    except DatabaseFailed as failed:
        return refusal(503, str(failed), retry_after_s=1)
    except DatabaseLate as late:
        return refusal(504, str(late))


def _health(parts: Parts) -> tuple[Handler, Handler]:
    async def live(_request: web.Request) -> web.Response:
        return web.json_response(
            {"status": "ok", "instance": parts.identity.instance, "boot": parts.identity.boot}
        )

    async def ready(_request: web.Request) -> web.Response:
        going = "draining" if parts.draining() else "leaving" if parts.leaving() else ""
        dependencies = {
            "db": "up" if await parts.database.reachable() else "down",
            "cache": "up" if await parts.cache.reachable() else "down",
        }
        return web.json_response(
            {"status": going or "ready", "dependencies": dependencies},
            status=503 if going else 200,
        )

    return live, ready


def public_app(parts: Parts) -> web.Application:
    """What callers see."""
    app = web.Application(middlewares=[_around(parts)], client_max_size=_MAX_BODY_BYTES)

    async def sign(request: web.Request, response: web.StreamResponse) -> None:
        response.headers[INSTANCE_HEADER] = parts.identity.instance
        request_id = request.get(REQUEST_ID)
        if request_id is not None:
            response.headers[REQUEST_ID_HEADER] = request_id

    app.on_response_prepare.append(sign)
    live, ready = _health(parts)
    app.add_routes(
        [
            web.get("/api/quote/{sku}", parts.quotes.quote),
            web.post("/api/orders", parts.orders.create),
            web.get("/api/orders/{request_id}", parts.orders.count),
            web.get("/api/items/{id}", parts.items.get),
            web.put("/api/items/{id}", parts.items.put),
            web.post("/auth/login", parts.logins.login),
            web.get("/ws", parts.sockets.handle),
            web.get("/ws/test", parts.sockets.handle),
            web.get("/health/live", live),
            web.get("/health/ready", ready),
            web.get("/metrics", parts.metrics.scrape),
        ]
    )
    return app


def admin_app(parts: Parts) -> web.Application:
    """What observers of this one instance see."""
    app = web.Application()
    live, ready = _health(parts)
    app.add_routes(
        [
            web.get("/breakers", parts.admin.breakers),
            web.get("/breakers/events", parts.admin.events),
            web.get("/health/live", live),
            web.get("/health/ready", ready),
            web.get("/metrics", parts.metrics.scrape),
        ]
    )
    return app
