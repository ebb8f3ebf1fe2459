"""A breaker object of the test's own process, watched: drive calls through it, wait for its states, judge it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resilience.breaker.observation import Fault, Observation, Transition
from resilience.breaker.observers.in_process.watching import InProcessObserver
from resilience.breaker.spec import BreakerSpec
from resilience.pytest_plugin.asserting import Assertable, JudgedHistory
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.specs import Written
from resilience.pytest_plugin.timeline import Violation

PAUSE_S = 0.01
"""Between two calls of a drive: longer than the tolerances, so that what comes first is beyond doubt."""


@dataclass(frozen=True, slots=True)
class Drive:
    """What a series of calls came to: each result, or the exception in its place."""

    outcomes: tuple[Any, ...]

    @property
    def errors(self) -> tuple[Exception, ...]:
        """The exceptions, in order."""
        return tuple(each for each in self.outcomes if isinstance(each, Exception))

    @property
    def results(self) -> tuple[Any, ...]:
        """What was returned, in order."""
        return tuple(each for each in self.outcomes if not isinstance(each, Exception))


class Watched(Assertable):
    """A breaker object under watch."""

    def __init__(
        self,
        name: str,
        observer: InProcessObserver,
        spec: BreakerSpec,
        written: Written,
        faults: Callable[[], Iterable[Fault]],
    ) -> None:
        self.name = name
        self.spec = spec
        self.written = written
        self._observer = observer
        self._faults = faults
        self.violations: tuple[Violation, ...] = ()
        self.asserted: JudgedHistory | None = None

    @property
    def state(self) -> str:
        """closed, open or half_open, as last told."""
        self._observer.look()
        return self._observer.recorder.state

    @property
    def history(self) -> tuple[Observation, ...]:
        """All that was observed of it so far."""
        return self._observer.recorder.history()

    @property
    def states(self) -> tuple[str, ...]:
        """Each state that it went to, in order."""
        return tuple(t.to_state for t in self.history if isinstance(t, Transition))

    def drive(
        self,
        function: Callable[..., Any],
        *args: Any,
        times: int | None = None,
        until: str | None = None,
        within: float = 10.0,
        pause: float = PAUSE_S,
        **kwargs: Any,
    ) -> Drive:
        """Call `function` again and again, whatever it raises: so many `times`, or `until` the breaker is in a state.

        The function makes its calls through the breaker itself. With `until`, raises AssertionError if the state is not
        reached `within` seconds. `pause` seconds lie between two calls.
        """
        outcomes: list[Any] = []
        deadline_s = time.monotonic() + within
        while _goes_on(len(outcomes), times, until):
            try:
                outcomes.append(function(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - refusals and failures alike are what is driven for
                outcomes.append(error)
            if until is not None and self._reached(until, deadline_s):
                break
            time.sleep(pause if until is None else max(pause, PAUSE_S))
        return Drive(tuple(outcomes))

    async def drive_async(
        self,
        function: Callable[..., Awaitable[Any]],
        *args: Any,
        times: int | None = None,
        until: str | None = None,
        within: float = 10.0,
        pause: float = PAUSE_S,
        concurrently: int = 1,
        **kwargs: Any,
    ) -> Drive:
        """`drive` for coroutine functions, `concurrently` so many calls at a time."""
        outcomes: list[Any] = []
        deadline_s = time.monotonic() + within
        while _goes_on(len(outcomes), times, until):
            batch = concurrently if times is None else min(concurrently, times - len(outcomes))
            outcomes += await asyncio.gather(
                *(_one(function, args, kwargs) for _ in range(batch)), return_exceptions=True
            )
            if until is not None and self._reached(until, deadline_s):
                break
            await asyncio.sleep(pause if until is None else max(pause, PAUSE_S))
        return Drive(tuple(outcomes))

    def mark(self, state: str) -> int:
        """Now, for a `wait_for` of what comes `after`; ChaosSetupError if the breaker is in `state` already."""
        self._observer.look()
        mark, now = self._observer.recorder.mark()
        if now == state:
            raise ChaosSetupError(f"{self.name} is {state} before the block that is to bring it there")
        return mark

    def wait_for(self, state: str, *, within: float, after: int | None = None) -> None:
        """Wait until the breaker is in `state`, or has been since the last wait; AssertionError after `within` seconds.

        With `after`, a `mark`, it must have entered the state since then. It only waits: a breaker that goes half-open when it is next asked needs somebody to ask (see `drive(until=...)`).
        """
        __tracebackhide__ = True
        name = state.replace("-", "_")
        if not self._observer.recorder.wait_for(name, within, self._observer.look, after=after):
            raise AssertionError(self._never(name, within))

    def _evidence(self) -> tuple[Sequence[Observation], Iterable[Fault]]:
        return self.history, self._faults()

    def _reached(self, until: str, deadline_s: float) -> bool:
        name = until.replace("-", "_")
        if self._observer.recorder.wait_for(name, 0.0, self._observer.look):
            return True
        if time.monotonic() >= deadline_s:
            raise AssertionError(self._never(name, None))
        return False

    def _never(self, state: str, within_s: float | None) -> str:
        path = " > ".join(self.states) or "no change"
        limit = "in time" if within_s is None else f"within {within_s:g} s"
        return f"{self.name} was not {state} {limit}: it is {self.state} ({path})"


def _goes_on(done: int, times: int | None, until: str | None) -> bool:
    if times is None:
        if until is None:
            raise TypeError("say how many times, or until which state")
        return True
    return done < times


async def _one(function: Callable[..., Awaitable[Any]], args: Any, kwargs: Any) -> Any:
    return await function(*args, **kwargs)
