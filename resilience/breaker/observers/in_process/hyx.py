"""hyx: the manager behind `consecutive_breaker`, whose every change of state goes through one method.

Decorated functions call the manager, `async with` its `acquire` and `release`. All three are looked up on the class, and the
manager has slots, so it gets a class of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from resilience.breaker.observers.in_process.guarding import Guarding, named
from resilience.breaker.observers.in_process.recorder import RING, Recorder
from resilience.breaker.observers.in_process.watching import Reclassed

_STATES: Final = {"working": "closed", "failing": "open", "recovering": "half_open"}


class HyxObserver:
    """Attached to one hyx consecutive_breaker, a function that it decorates, or its manager."""

    def __init__(self, breaker: Any, name: str, *, clock: Callable[[], int], ring: int = RING) -> None:
        manager = getattr(breaker, "_manager", breaker)
        state = _STATES[manager.state.name]
        fresh = getattr(manager.state, "consecutive_exceptions", 1) == 0
        self.recorder = Recorder(name, state=state, fresh=fresh, clock=clock, ring=ring)
        self.guarding = Guarding(
            self.recorder,
            excluded=lambda error: not isinstance(error, manager._config.exceptions),  # noqa: SLF001 - no other place has it
            refusal=lambda error: named(error, "BreakerFailing"),
        )
        self._manager = manager
        self._kind = type(manager)
        self._reclassed: Reclassed | None = Reclassed(
            manager,
            {
                "__call__": lambda _, func: self._call(func),
                "acquire": lambda _: self._acquire(),
                "release": lambda _, exception: self._release(exception),
                "_transit_state": lambda _, new: self._transit(new),
            },
        )

    async def _call(self, func: Callable[..., Any]) -> Any:
        async def library(tracked: Callable[..., Any]) -> Any:
            return await self._kind.__call__(self._manager, tracked)

        return await self.guarding.run_async(library, func, (), {})

    async def _acquire(self) -> None:
        call = self.recorder.begin()
        try:
            await self._kind.acquire(self._manager)
        except BaseException as error:
            self.guarding.ended(call, error)
            raise
        self.guarding.admit(call)

    async def _release(self, exception: BaseException | None) -> None:
        call = self.guarding.leave(exception)
        try:
            await self._kind.release(self._manager, exception)
        finally:
            if call is not None:
                self.recorder.end(call)

    async def _transit(self, new: Any) -> None:
        await self._kind._transit_state(self._manager, new)  # noqa: SLF001 - the one place where states change
        state = _STATES[new.name]
        if state != self.recorder.state:
            self.recorder.transition(state)

    def look(self) -> None:
        """Nothing to do: every change comes by."""

    def detach(self) -> None:
        """Leave the object as it was found."""
        if self._reclassed is not None:
            self._reclassed.undo()
            self._reclassed = None


attach = HyxObserver
