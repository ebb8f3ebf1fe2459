"""The hyx library.

It has no events; its state changes only when a call enters or ends, so looking before, at the entrance of and after
each call misses nothing, and the intervals are a few microseconds wide. It is the only library here that can ask for
several successes before it closes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from hyx.circuitbreaker import consecutive_breaker
from hyx.circuitbreaker.exceptions import BreakerFailing

from resilience.lab.breakers.base import CLOSED, HALF_OPEN, OPEN, CallRejected, Emit, StateWatch
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")

_STATES = {"working": CLOSED, "failing": OPEN, "recovering": HALF_OPEN}


class HyxBreaker:
    """A consecutive_breaker, used as the context manager that it is."""

    def __init__(self, settings: BreakerSettings, emit: Emit) -> None:
        self._breaker = consecutive_breaker(
            exceptions=Exception,
            failure_threshold=settings.failures,
            recovery_time_secs=settings.wait_ms / 1000,
            recovery_threshold=settings.successes,
        )
        self._watch = StateWatch(lambda: _STATES[self._breaker.state.name], emit)

    def state(self) -> str:
        """The name of its state object."""
        return self._watch.look()

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` inside the library's context manager."""
        self._watch.look()
        begun = False
        try:
            async with self._breaker:
                begun = True
                self._watch.look()
                return await call()
        except BreakerFailing:
            if begun:
                raise
            raise CallRejected from None
        finally:
            self._watch.look()


async def make(_name: str, settings: BreakerSettings, emit: Emit) -> HyxBreaker:
    """A closed breaker."""
    return HyxBreaker(settings, emit)
