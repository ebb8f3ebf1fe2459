"""The gateway's parts, broken on purpose: one class each, used only where CHAOS_SPIKE_LAB_BROKEN names it.

Each breaks one promise and keeps all others, so that a plan that fails on it fails for that reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from aiohttp import WSCloseCode, web

from resilience.lab.breakers.base import CLOSED, OPEN, Breaker, CallRejected
from resilience.lab.gateway.auth import Logins
from resilience.lab.gateway.context import json_object, refusal
from resilience.lab.gateway.database import DatabaseBusy, DatabaseFailed, DatabaseLate
from resilience.lab.gateway.items import Items
from resilience.lab.gateway.orders import Order, Orders
from resilience.lab.gateway.quotes import Quotes
from resilience.lab.gateway.sockets import Sockets

LOG = logging.getLogger("chaos_spike.lab")
T = TypeVar("T")

_LEAK_BYTES = 1_000_000
_MOST_SOCKETS = 8
_JUST_COME_S = 0.5
_EVERY_USERS = 50
_FAILING_USERS = 3


class QuotesWithoutFallback(Quotes):
    """A quote that pricing did not give is a 503, at once."""

    def _degraded(self, sku: str, why: str) -> web.Response:
        self._count(why)
        return refusal(503, f"no price of {sku}")


class BreakerThatStaysOpen:
    """Once the breaker inside has opened, it is not asked any more."""

    def __init__(self, inner: Breaker) -> None:
        self._inner = inner
        self._stuck = False

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Through the breaker inside while that has never opened."""
        if self._stuck:
            raise CallRejected
        try:
            return await self._inner.guard(call)
        finally:
            self._stuck = self._inner.state() != CLOSED

    def state(self) -> str:
        """Open for good, or what the breaker inside says."""
        return OPEN if self._stuck else self._inner.state()


class OrdersAcknowledgedEarly(Orders):
    """The answer comes first and the transaction after it, whatever becomes of that."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._writing: set[asyncio.Task[None]] = set()

    async def _place(self, order: Order) -> int:
        task = asyncio.create_task(self._write_later(order))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return 0

    async def _write_later(self, order: Order) -> None:
        try:
            await super()._place(order)
        except (DatabaseBusy, DatabaseFailed, DatabaseLate) as error:
            LOG.info("an acknowledged order was lost: %s", error)


class ItemsWithoutInvalidation(Items):
    """What was changed in the database stays in the cache as it was."""

    async def _changed(self, item: Mapping[str, Any]) -> bool:  # noqa: ARG002 - nobody is told of it
        return True


class SocketsThatLeak(Sockets):
    """Each socket leaves a megabyte behind."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._left_behind: list[bytes] = []

    def _enter(self, ws: web.WebSocketResponse) -> None:
        super()._enter(ws)
        self._left_behind.append(b"\1" * _LEAK_BYTES)


class SocketsThatDrop(Sockets):
    """With more sockets than it likes, a gateway drops the oldest for each new one, unless that one has only just come.

    Right after an answer, so that nobody is left waiting for one: that would be another promise.
    """

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._order: list[tuple[float, web.WebSocketResponse]] = []
        self._doomed: set[web.WebSocketResponse] = set()

    def _enter(self, ws: web.WebSocketResponse) -> None:
        super()._enter(ws)
        now_s = asyncio.get_running_loop().time()
        self._order = [known for known in self._order if known[1] in self._live]
        self._doomed &= self._live
        self._order.append((now_s, ws))
        if len(self._order) > _MOST_SOCKETS and now_s - self._order[0][0] > _JUST_COME_S:
            _, oldest = self._order.pop(0)
            self._doomed.add(oldest)

    async def _on_text(self, ws: web.WebSocketResponse, user: str, text: str, received_ns: int) -> None:
        await super()._on_text(ws, user, text, received_ns)
        if ws in self._doomed:
            await self._close(ws, WSCloseCode.TRY_AGAIN_LATER, b"too many")


class LoginsThatFail(Logins):
    """Three of every fifty users cannot log in, always the same."""

    async def login(self, request: web.Request) -> web.Response:
        """As it should be, but for `user-N` with N mod 50 < 3: 500."""
        name = (await json_object(request)).get("username")
        number = str(name).rpartition("-")[2]
        if number.isdigit() and int(number) % _EVERY_USERS < _FAILING_USERS:
            return refusal(500, "something went wrong")
        return await super().login(request)
