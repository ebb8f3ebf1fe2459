"""The purgatory library.

Its hook tells of a change when a guarded block ends, so the half-open event comes when the first probe ends, not when
it was let through. The event is passed on at that moment, and its interval begins where the probe was admitted.
While open it raises one exception object again and again, which would gather a traceback for each refusal; the
adapter drops it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import TypeVar

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.messages import Event
from purgatory.domain.messages.events import ContextChanged
from purgatory.domain.model import OpenedState
from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

from resilience.lab.breakers.base import CLOSED, HALF_OPEN, OPEN, CallRejected, Emit
from resilience.lab.settings import BreakerSettings

T = TypeVar("T")

_STATES = {"closed": CLOSED, "opened": OPEN, "half-opened": HALF_OPEN}


class PurgatoryBreaker:
    """A breaker of an AsyncCircuitBreakerFactory in memory."""

    def __init__(self, breaker: AsyncCircuitBreaker, emit: Emit) -> None:
        self._breaker = breaker
        self._emit = emit
        self._last = self.state()
        self._admitted_ns = 0
        self._ended_ns = 0

    def state(self) -> str:
        """The context's state; reading it starts nothing."""
        return _STATES[self._breaker.context.state]

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` inside the library's context manager."""
        before, entered_ns, entered = self.state(), monotonic_ns(), False
        try:
            async with self._breaker:
                entered = True
                if before == OPEN:
                    self._admitted_ns = entered_ns
                try:
                    return await call()
                finally:
                    self._ended_ns = monotonic_ns()
        except OpenedState as refusal:
            if entered:
                raise
            refusal.__traceback__ = None
            raise CallRejected from None

    def changed(self, _name: str, kind: str, event: Event) -> None:
        """The library's hook."""
        if kind != "state_changed" or not isinstance(event, ContextChanged):
            return
        state = _STATES[event.state]
        since_ns = self._admitted_ns if state == HALF_OPEN else self._ended_ns
        self._emit(self._last, state, since_ns, monotonic_ns())
        self._last = state


async def make(name: str, settings: BreakerSettings, emit: Emit) -> PurgatoryBreaker:
    """A closed breaker."""
    factory = AsyncCircuitBreakerFactory(
        default_threshold=settings.failures, default_ttl=settings.wait_ms / 1000
    )
    breaker = PurgatoryBreaker(await factory.get_breaker(name), emit)
    factory.add_listener(breaker.changed)
    return breaker
