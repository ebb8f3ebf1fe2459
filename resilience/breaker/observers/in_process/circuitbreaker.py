"""circuitbreaker: no events, so its state is looked at around each call; half-open is computed from the clock on reading.

A decorated function asks `opened`, and refuses by fetching `fallback_function` (to call it, or to find that there is
none and raise). Both are properties of the class, so the object gets a class of its own. Reading the state changes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.in_process.guarding import Guarding, named
from resilience.breaker.observers.in_process.recorder import RING, Recorder
from resilience.breaker.observers.in_process.watching import Reclassed, StateLook


class CircuitbreakerObserver:
    """Attached to one circuitbreaker.CircuitBreaker."""

    def __init__(self, breaker: Any, name: str, *, clock: Callable[[], int], ring: int = RING) -> None:
        self._breaker = breaker
        self._library, self._library_async = breaker.call, breaker.call_async
        state = state_name(breaker.state)
        self.recorder = Recorder(name, state=state, fresh=breaker.failure_count == 0, clock=clock, ring=ring)
        self._look = StateLook(self.recorder, lambda: state_name(breaker.state))
        self.guarding = Guarding(
            self.recorder,
            excluded=lambda error: not breaker.is_failure(type(error), error),
            refusal=lambda error: named(error, "CircuitBreakerError"),
            entered=self._look,
        )
        # Between asking `opened` and refusing the library does not give up its thread.
        self._asked = threading.local()
        kind = type(breaker)
        self._reclassed = Reclassed(
            breaker,
            {
                "opened": property(lambda _: self._opened(kind)),
                "fallback_function": property(lambda _: self._fallback(kind)),
            },
        )
        breaker.call, breaker.call_async = self._call, self._call_async

    def _opened(self, kind: Any) -> Any:
        self._look()
        self._asked.at_ns = self.recorder.clock()
        self._asked.refuses = kind.opened.fget(self._breaker)
        return self._asked.refuses

    def _taken(self) -> int | None:
        """When this thread asked `opened`, once: that was the decision on the call that follows."""
        at_ns: int | None = getattr(self._asked, "at_ns", None)
        self._asked.at_ns = None
        return at_ns

    def _fallback(self, kind: Any) -> Any:
        function = kind.fallback_function.fget(self._breaker)
        if getattr(self._asked, "refuses", False) and (since_ns := self._taken()) is not None:
            call = self.recorder.begin(since_ns=since_ns)
            self.recorder.rejected(call, fallback=None if function is None else True)
        return function

    def _call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        since_ns = self._taken()
        self._look()
        try:
            return self.guarding.run(self._library, func, args, kwargs, since_ns)
        finally:
            self._look()

    async def _call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        since_ns = self._taken()
        self._look()
        try:
            return await self.guarding.run_async(self._library_async, func, args, kwargs, since_ns)
        finally:
            self._look()

    def look(self) -> None:
        """Read the state and record a change."""
        self._look()

    def detach(self) -> None:
        """Leave the object as it was found."""
        self._breaker.__dict__.pop("call_async", None)
        if self._breaker.__dict__.pop("call", None) is not None:
            self._reclassed.undo()


attach = CircuitbreakerObserver
