"""The fluxgate library, built from its parts to say what is asked: a streak of failures opens, a success closes.

In half-open its permit lets everybody in (the library's default lets calls in by chance) and a semaphore of one holds
back the rest: they wait there, they are not refused. Listeners are called in tasks of their own after the change, which the
library's own timestamp, on the wall clock, dates; the interval reaches back to it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fluxgate import AsyncCircuitBreaker, CallNotPermittedError
from fluxgate.permits import All
from fluxgate.retries import Cooldown
from fluxgate.signal import Signal
from fluxgate.trippers import Closed, FailureStreak, HalfOpened
from fluxgate.windows import CountWindow

from resilience.lab.breakers.base import CallRejected, Emit
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")

_STAMP_NS: Final = 1_000_000
"""Two clocks are read one after the other, and the wall clock may be slewed between."""


class FluxgateBreaker:
    """A fluxgate.AsyncCircuitBreaker."""

    def __init__(self, settings: BreakerSettings, emit: Emit) -> None:
        def changed(signal: Signal) -> None:
            age_ns = max(0, int((time.time() - signal.timestamp) * 1e9))
            at_ns = time.monotonic_ns()
            # Its states are already named closed, open and half_open.
            emit(signal.old_state, signal.new_state, at_ns - age_ns - _STAMP_NS, at_ns)

        self._breaker = AsyncCircuitBreaker(
            window=CountWindow(100),
            tripper=(Closed() & FailureStreak(settings.failures)) | (HalfOpened() & FailureStreak(1)),
            retry=Cooldown(settings.wait_ms / 1000),
            permit=All(),
            max_half_open_calls=1,
            listeners=[changed],
        )

    def state(self) -> str:
        """What `info` says; reading it changes nothing."""
        return self._breaker.info().state

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` by `AsyncCircuitBreaker.call`."""
        try:
            return await self._breaker.call(call)
        except CallNotPermittedError:
            raise CallRejected from None


async def make(_name: str, settings: BreakerSettings, emit: Emit) -> FluxgateBreaker:
    """A closed breaker."""
    return FluxgateBreaker(settings, emit)
