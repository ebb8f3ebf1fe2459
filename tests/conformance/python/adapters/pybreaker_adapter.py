"""The pybreaker library, called from threads, which is what it is made for.

Its lock is held for as long as the guarded call lasts, so calls queue for it; each has a thread of its own here. The
guarded call itself runs on the event loop, and its thread waits for it. A caller that goes away ends nothing: a
thread cannot be cancelled. The listener is called inside the lock, so transitions come in order, each at its instant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic_ns
from typing import Any, TypeVar

import pybreaker

from resilience.lab.breakers.base import CLOSED, HALF_OPEN, OPEN, CallRejected, Emit
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")

_STATES = {"closed": CLOSED, "open": OPEN, "half-open": HALF_OPEN}
_THREADS = 256


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._loop = asyncio.get_running_loop()

    def state_change(self, _breaker: Any, old: Any, new: Any) -> None:
        now_ns = monotonic_ns()
        self._loop.call_soon_threadsafe(self._emit, _STATES[old.name], _STATES[new.name], now_ns, now_ns)


class PyBreaker:
    """A pybreaker.CircuitBreaker with its state in memory."""

    def __init__(self, name: str, settings: BreakerSettings, emit: Emit) -> None:
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=settings.failures,
            reset_timeout=settings.wait_ms / 1000,
            success_threshold=settings.successes,
            # Whatever a call raised comes out as it is, also of the call that opens the breaker.
            throw_new_error_on_trip=False,
            listeners=[_Listener(emit)],
            name=name,
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="call")

    def state(self) -> str:
        """What its storage says; reading it changes nothing."""
        return _STATES[self._breaker.current_state]

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` by `CircuitBreaker.call` in a thread."""
        loop = asyncio.get_running_loop()

        async def awaited() -> T:
            return await call()

        def guarded() -> T:
            return asyncio.run_coroutine_threadsafe(awaited(), loop).result()

        # Cancelling the awaiting task must not cancel the future of a call that has not begun: a thread would do it.
        try:
            return await asyncio.shield(loop.run_in_executor(self._threads, self._breaker.call, guarded))
        except pybreaker.CircuitBreakerError:
            raise CallRejected from None

    async def close(self) -> None:
        """Wait for the threads, while the loop still runs what they wait for."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)


async def make(name: str, settings: BreakerSettings, emit: Emit) -> PyBreaker:
    """A closed breaker."""
    return PyBreaker(name, settings, emit)
