"""The pyresilience library: its decorator around a function that calls whatever it is given.

Its events tell no half-open, and "open" is said again at every refusal; so its state is looked at around each call, as
with other libraries without events. The state is read from the breaker's `metrics`: reading `state` would itself turn an open
breaker half-open once the wait is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pyresilience import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError, resilient

from resilience.lab.breakers.base import CallRejected, Emit, StateWatch
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")


class PyresilienceBreaker:
    """The breaker behind one decorated function."""

    def __init__(self, settings: BreakerSettings, emit: Emit) -> None:
        async def run(call: Callable[[], Awaitable[Any]]) -> Any:
            return await call()

        self._run = resilient(
            circuit_breaker=CircuitBreakerConfig(
                failure_threshold=settings.failures,
                recovery_timeout=settings.wait_ms / 1000,
                success_threshold=settings.successes,
            )
        )(run)
        breaker: CircuitBreaker = self._run._executor._circuit_breaker  # type: ignore[attr-defined]
        # Its states are already named closed, open and half_open.
        self._watch = StateWatch(lambda: str(breaker.metrics["state"]), emit)

    def state(self) -> str:
        """What its metrics say now."""
        return self._watch.look()

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` in the decorated function."""
        self._watch.look()
        begun = False

        async def tracked() -> T:
            nonlocal begun
            begun = True
            self._watch.look()
            return await call()

        try:
            result: T = await self._run(tracked)
        except CircuitOpenError:
            if begun:
                raise
            raise CallRejected from None
        finally:
            self._watch.look()
        return result


async def make(_name: str, settings: BreakerSettings, emit: Emit) -> PyresilienceBreaker:
    """A closed breaker."""
    return PyresilienceBreaker(settings, emit)
