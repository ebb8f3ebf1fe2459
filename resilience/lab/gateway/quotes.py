"""`GET /api/quote/{sku}`: a call to pricing behind a circuit breaker, with a fallback that always has an answer.

A quote is live, or it is degraded and says so: `X-Degraded: true`, and `X-Breaker: rejected` when the breaker refused
the call or `failed` when it was tried and failed. The degraded price is the last good one of this SKU, else its list
price, so the fallback is total. Each call has its own time limit *inside* the breaker: a slow call is a failure to it.

Without a breaker (the negative control) there is no fallback either: a failure is a 503, a late answer a 504, after the
whole time limit. The call is made once; the client's own silent retry of idempotent requests on dead connections is
switched off, because it would multiply calls that the breaker counts once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp import web

from resilience.lab.breakers.base import Breaker, CallRejected
from resilience.lab.catalogue import is_sku, list_price_cents
from resilience.lab.gateway.context import (
    BREAKER_HEADER,
    DEGRADED_HEADER,
    REQUEST_ID,
    REQUEST_ID_HEADER,
    refusal,
)

BREAKER_NAME = "pricing"
_REMEMBERED = 10_000


class PricingFailed(Exception):  # noqa: N818 - an outcome that the breaker counts
    """Pricing could not be reached, broke off, or answered something that is no price."""


class PricingLate(PricingFailed):
    """Pricing did not answer within the time limit."""


def pricing_session() -> aiohttp.ClientSession:
    """A client without a connection limit (a queue inside it would hide overload) and without retries."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    session._retry_connection = False  # noqa: SLF001 - aiohttp offers no public switch for it
    return session


class PricingClient:
    """One call to pricing: a time limit for each attempt, and no second attempt unless the lab is told to show a retry storm."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, timeout_ms: int, *, retries: int = 0
    ) -> None:
        self._session = session
        self._url = url
        self._timeout_s = timeout_ms / 1000
        self._retries = retries

    async def price(self, sku: str, request_id: str) -> Mapping[str, Any]:
        """The live price, or PricingLate or PricingFailed of the last attempt."""
        for _ in range(self._retries):
            try:
                return await self._attempt(sku, request_id)
            except PricingLate:
                pass
            except PricingFailed:
                await asyncio.sleep(self._timeout_s)  # refused at once: a caller with any sense waits as long
        return await self._attempt(sku, request_id)

    async def _attempt(self, sku: str, request_id: str) -> Mapping[str, Any]:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.get(
                    f"{self._url}/price/{sku}", headers={REQUEST_ID_HEADER: request_id}
                ) as response,
            ):
                body = await response.json() if response.status == 200 else None
        except TimeoutError as error:
            raise PricingLate("pricing did not answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PricingFailed(f"pricing failed: {type(error).__name__}") from error
        # Checked, because a fault may have corrupted it: a wrong price is worse than none.
        if (
            not isinstance(body, dict)
            or body.get("sku") != sku
            or not isinstance(body.get("price_cents"), int)
        ):
            raise PricingFailed(f"pricing answered {response.status} without a price")
        return body


class Quotes:
    """The quote route, its memory of good quotes, and its breaker."""

    def __init__(self, client: PricingClient, breaker: Breaker | None, count: Callable[[str], None]) -> None:
        self._client = client
        self._breaker = breaker
        self._count = count
        self._last_good: OrderedDict[str, Mapping[str, Any]] = OrderedDict()

    async def quote(self, request: web.Request) -> web.Response:
        """200 with a price, live or degraded; 404 for what is no SKU; without a breaker 503 or 504 on failure."""
        sku = request.match_info["sku"]
        if not is_sku(sku):
            return refusal(404, "no such sku")
        request_id = request[REQUEST_ID]
        if self._breaker is None:
            return await self._unprotected(sku, request_id)
        try:
            price = await self._breaker.guard(lambda: self._client.price(sku, request_id))
        except CallRejected:
            return self._degraded(sku, "rejected")
        except PricingFailed:
            return self._degraded(sku, "failed")
        return self._live(sku, price)

    async def _unprotected(self, sku: str, request_id: str) -> web.Response:
        try:
            return self._live(sku, await self._client.price(sku, request_id))
        except PricingLate as late:
            self._count("late")
            return refusal(504, str(late))
        except PricingFailed as failed:
            self._count("failed")
            return refusal(503, str(failed))

    def _live(self, sku: str, price: Mapping[str, Any]) -> web.Response:
        self._last_good[sku] = price
        self._last_good.move_to_end(sku)
        if len(self._last_good) > _REMEMBERED:
            self._last_good.popitem(last=False)
        self._count("live")
        return web.json_response({**price, "source": "live"})

    def _degraded(self, sku: str, why: str) -> web.Response:
        self._count(why)
        known = self._last_good.get(sku)
        if known is not None:
            body = {**known, "source": "last-good"}
        else:
            body = {
                "sku": sku,
                "price_cents": list_price_cents(sku),
                "currency": "EUR",
                "source": "list-price",
            }
        return web.json_response(body, headers={DEGRADED_HEADER: "true", BREAKER_HEADER: why})
