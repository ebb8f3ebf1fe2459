"""The circuitbreaker library.

It has no events and computes half-open from the clock whenever it is asked, so it is looked at before and after each
call and at each telemetry read (reading changes nothing). The half-open interval therefore reaches from the last look
while open to the first look after the wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from circuitbreaker import CircuitBreaker, CircuitBreakerError

from resilience.lab.breakers.base import CallRejected, Emit, StateWatch
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")


class CircuitbreakerBreaker:
    """One CircuitBreaker that decorates a function calling whatever it is given."""

    def __init__(self, name: str, settings: BreakerSettings, emit: Emit) -> None:
        breaker = CircuitBreaker(
            failure_threshold=settings.failures,
            recovery_timeout=settings.wait_ms / 1000,
            expected_exception=Exception,
            name=name,
        )

        async def run(call: Callable[[], Awaitable[Any]]) -> Any:
            return await call()

        self._run = breaker.decorate(run)
        # Its states are already named closed, open and half_open.
        self._watch = StateWatch(lambda: str(breaker.state), emit)

    def state(self) -> str:
        """What the library computes now."""
        return self._watch.look()

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` in the decorated function."""
        self._watch.look()
        begun = False

        async def tracked() -> T:
            nonlocal begun
            begun = True
            # Entered: should the wait have ended between the look above and the library's own, say so now.
            self._watch.look()
            return await call()

        try:
            result: T = await self._run(tracked)
        except CircuitBreakerError:
            if begun:
                raise
            raise CallRejected from None
        finally:
            self._watch.look()
        return result


async def make(name: str, settings: BreakerSettings, emit: Emit) -> CircuitbreakerBreaker:
    """A closed breaker."""
    return CircuitbreakerBreaker(name, settings, emit)
