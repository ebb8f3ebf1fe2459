"""The pricing service: `GET /price/{sku}` in a few milliseconds, computed, no database. The dependency to break.

`python -m resilience.lab.pricing --port 0` prints one JSON line when it serves. It is deliberately well-behaved: what
goes wrong with it is put in by the toxic proxy in front of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from time import monotonic_ns

from aiohttp import web

from resilience.lab.catalogue import is_sku, live_price_cents
from resilience.lab.service import Service, ServiceOptions, parse_options, run_service
from resilience.lab.settings import PricingSettings

# Longer than any caller keeps an idle connection: the caller, not we, lets go first, so no request meets a close.
_KEEP_ALIVE_S = 75.0


def pricing_app(settings: PricingSettings) -> web.Application:
    """The application, with nothing of the process around it."""
    work_s = settings.work_ms / 1000
    turns = asyncio.Semaphore(settings.capacity) if settings.capacity else None
    waiting = 0

    async def work() -> bool:
        """Work on a price, when it is its turn; whether there was room to wait for that."""
        nonlocal waiting
        if turns is None:
            if work_s:
                await asyncio.sleep(work_s)
            return True
        if waiting >= settings.queue:
            return False
        waiting += 1
        try:
            async with turns:
                await asyncio.sleep(work_s)
        finally:
            waiting -= 1
        return True

    async def price(request: web.Request) -> web.Response:
        sku = request.match_info["sku"]
        if not is_sku(sku):
            return web.json_response({"error": "no such sku"}, status=404)
        if not await work():
            return web.json_response({"error": "too many are waiting"}, status=503)
        now_ns = monotonic_ns()
        return web.json_response(
            {
                "sku": sku,
                "price_cents": live_price_cents(sku, now_ns),
                "currency": "EUR",
                "priced_at_ns": now_ns,
            }
        )

    async def alive(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    app = web.Application()
    app.router.add_get("/price/{sku}", price)
    app.router.add_get("/health/live", alive)
    app.router.add_get("/health/ready", alive)
    return app


async def _serve(options: ServiceOptions) -> None:
    async with Service(options, "pricing") as service:
        runner = web.AppRunner(
            pricing_app(PricingSettings.from_environ(os.environ)),
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
            shutdown_timeout=0.5,
        )
        await service.public(runner)
        await service.run_until_told()


if __name__ == "__main__":
    sys.exit(run_service(_serve, parse_options("resilience.lab.pricing", sys.argv[1:])))
