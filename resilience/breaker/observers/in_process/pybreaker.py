"""pybreaker: calls by its `call`, transitions by its listener, which it tells under its lock.

Decorated functions and `calling()` come through `call`, too. Calls queue for the breaker's lock, so a call's decision lies
anywhere between asking and entering the function. It tracks no `async def`: such a function has succeeded for it as soon
as it has handed back its coroutine, and what became of that is recorded as the call's outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.in_process.guarding import Guarding, named
from resilience.breaker.observers.in_process.listening import Listener
from resilience.breaker.observers.in_process.recorder import RING, Recorder


class PybreakerObserver:
    """Attached to one pybreaker.CircuitBreaker."""

    def __init__(self, breaker: Any, name: str, *, clock: Callable[[], int], ring: int = RING) -> None:
        state = state_name(breaker.current_state)
        self.recorder = Recorder(name, state=state, fresh=breaker.fail_counter == 0, clock=clock, ring=ring)
        self.guarding = Guarding(
            self.recorder,
            excluded=lambda error: not breaker.is_system_error(error),
            refusal=lambda error: named(error, "CircuitBreakerError"),
            generators=True,
        )
        self._breaker = breaker
        self._library = breaker.call
        self._listener = Listener(self.recorder, self.guarding, lambda state: state.name)
        breaker.add_listener(self._listener)
        breaker.call = self._call

    def _call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.guarding.is_ours(func):  # an open breaker passes its first probe on to itself
            return self._library(func, *args, **kwargs)
        return self.guarding.run(self._library, func, args, kwargs)

    def look(self) -> None:
        """Nothing to do: the listener is told."""

    def detach(self) -> None:
        """Leave the object as it was found."""
        if self._breaker.__dict__.pop("call", None) is not None:
            self._breaker.remove_listener(self._listener)


attach = PybreakerObserver
