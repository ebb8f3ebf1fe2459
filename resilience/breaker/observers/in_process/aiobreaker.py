"""aiobreaker: calls by `call` and `call_async`, transitions by its listener, open to open included.

The library hands a call on to itself when an open breaker lets its first probe in, and lets functions pass that carry its
own mark `_ignore_on_call` (they come in again by themselves): neither is a second call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.in_process.guarding import Guarding, named
from resilience.breaker.observers.in_process.listening import Listener
from resilience.breaker.observers.in_process.recorder import RING, Recorder


class AiobreakerObserver:
    """Attached to one aiobreaker.CircuitBreaker."""

    def __init__(self, breaker: Any, name: str, *, clock: Callable[[], int], ring: int = RING) -> None:
        state = state_name(breaker.current_state.name)
        self.recorder = Recorder(name, state=state, fresh=breaker.fail_counter == 0, clock=clock, ring=ring)
        self.guarding = Guarding(
            self.recorder,
            excluded=lambda error: not breaker.is_system_error(error),
            refusal=lambda error: named(error, "CircuitBreakerError"),
            generators=True,
        )
        self._breaker = breaker
        self._library, self._library_async = breaker.call, breaker.call_async
        self._listener = Listener(self.recorder, self.guarding, lambda state: state.state.name)
        breaker.add_listener(self._listener)
        breaker.call, breaker.call_async = self._call, self._call_async

    def _passes(self, func: Callable[..., Any]) -> bool:
        return bool(getattr(func, "_ignore_on_call", False)) or self.guarding.is_ours(func)

    def _call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._passes(func):
            return self._library(func, *args, **kwargs)
        return self.guarding.run(self._library, func, args, kwargs)

    async def _call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._passes(func):
            return await self._library_async(func, *args, **kwargs)
        return await self.guarding.run_async(self._library_async, func, args, kwargs)

    def look(self) -> None:
        """Nothing to do: the listener is told."""

    def detach(self) -> None:
        """Leave the object as it was found."""
        self._breaker.__dict__.pop("call_async", None)
        if self._breaker.__dict__.pop("call", None) is not None:
            self._breaker.remove_listener(self._listener)


attach = AiobreakerObserver
