"""A breaker of one's own: any object with a method that takes a function and calls it, or refuses.

    attach_custom(breaker, "pricing", method="call", refuses=(MyOpenError,), state=lambda: breaker.state)

`state`, where given, is looked at before, at the entrance of and after each call and while somebody waits, so reading it must change nothing. Without
it the breaker is judged by what it lets through alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.in_process.guarding import Guarding
from resilience.breaker.observers.in_process.recorder import RING, Recorder
from resilience.breaker.observers.in_process.watching import StateLook


class CustomObserver:
    """Attached to one object by one of its methods; the object must take attributes of its own."""

    def __init__(
        self,
        breaker: Any,
        name: str,
        *,
        clock: Callable[[], int],
        ring: int = RING,
        method: str = "call",
        refuses: tuple[type[BaseException], ...] = (),
        excludes: tuple[type[BaseException], ...] = (),
        state: Callable[[], str] | None = None,
    ) -> None:
        """`refuses` are the breaker's own errors that say no, `excludes` those that it is configured not to count."""
        self._breaker, self._method = breaker, method
        self._library = getattr(breaker, method)
        now = "closed" if state is None else state_name(state())
        self.recorder = Recorder(name, state=now, fresh=True, clock=clock, ring=ring)
        self._look = None if state is None else StateLook(self.recorder, lambda: state_name(state()))
        self.guarding = Guarding(
            self.recorder,
            excluded=lambda error: isinstance(error, excludes),
            refusal=lambda error: isinstance(error, refuses),
            entered=self.look,
        )
        wrapper = self._call_async if inspect.iscoroutinefunction(self._library) else self._call
        setattr(breaker, method, wrapper)

    def _call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.look()
        try:
            return self.guarding.run(self._library, func, args, kwargs)
        finally:
            self.look()

    async def _call_async(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.look()
        try:
            return await self.guarding.run_async(self._library, func, args, kwargs)
        finally:
            self.look()

    def look(self) -> None:
        """Read the state and record a change."""
        if self._look is not None:
            self._look()

    def detach(self) -> None:
        """Leave the object as it was found."""
        vars(self._breaker).pop(self._method, None)
