"""The aiobreaker library.

Its listener is called at the moment of the change, so every transition is a point; it also reports open to open when a
late failure opens an open breaker again, and that is passed on. The call that trips it comes out as the library's own
error; the adapter gives back the call's own exception.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic_ns
from typing import Any, TypeVar

import aiobreaker

from resilience.lab.breakers.base import CLOSED, HALF_OPEN, OPEN, CallRejected, Emit
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")

_STATES = {"CLOSED": CLOSED, "OPEN": OPEN, "HALF_OPEN": HALF_OPEN}


class _Listener(aiobreaker.CircuitBreakerListener):  # type: ignore[misc]  # the library publishes no types
    def __init__(self, emit: Emit) -> None:
        self._emit = emit

    def state_change(self, _breaker: Any, old: Any, new: Any) -> None:
        now_ns = monotonic_ns()
        self._emit(_STATES[old.state.name], _STATES[new.state.name], now_ns, now_ns)


class AioBreaker:
    """An aiobreaker.CircuitBreaker with its state in memory."""

    def __init__(self, name: str, settings: BreakerSettings, emit: Emit) -> None:
        self._breaker = aiobreaker.CircuitBreaker(
            fail_max=settings.failures,
            timeout_duration=timedelta(milliseconds=settings.wait_ms),
            listeners=[_Listener(emit)],
            name=name,
        )

    def state(self) -> str:
        """What its storage says: `.state` would synchronise and notify, `.current_state` only reads."""
        return _STATES[self._breaker.current_state.name]

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` by `call_async`."""
        begun = False

        async def tracked() -> T:
            nonlocal begun
            begun = True
            return await call()

        try:
            result: T = await self._breaker.call_async(tracked)
        except aiobreaker.CircuitBreakerError as error:
            if not begun:
                raise CallRejected from None
            if error.__cause__ is None:
                raise
            raise error.__cause__ from None
        return result


async def make(name: str, settings: BreakerSettings, emit: Emit) -> AioBreaker:
    """A closed breaker."""
    return AioBreaker(name, settings, emit)
