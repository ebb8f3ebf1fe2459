"""Runs a library's own `call(func, ...)` with the function tracked: the way into most libraries.

The library gets a function that looks like the caller's own, and calls it or not. What it returns and raises comes out
untouched. A function that hands back a generator or a coroutine instead of its result has not ended yet: it is
followed to its end. The breaker may have been told of a generator's outcome before the generator itself hears of it,
so its finish reaches back to its beginning.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final

from resilience.breaker.observers.in_process.recorder import OpenCall, Recorder, outcome_of

_MARK: Final = "_chaos_spike_call"
_INSIDE: Final[ContextVar[tuple[OpenCall, ...]]] = ContextVar("chaos_spike_inside", default=())

Classify = Callable[[BaseException], bool]
"""Whether a breaker is configured not to count an error."""
Refusal = Callable[[BaseException], bool]
"""Whether an error is the breaker's own way to say no."""


class Guarding:
    """Calls through one breaker object."""

    def __init__(
        self,
        recorder: Recorder,
        *,
        excluded: Classify,
        refusal: Refusal,
        generators: bool = False,
        entered: Callable[[], object] = lambda: None,
    ) -> None:
        """`generators`: the library follows a generator that a function returns to its end, and so do we.

        `entered` is called when a protected function has just been entered.
        """
        self.recorder = recorder
        self._excluded = excluded
        self._refusal = refusal
        self._generators = generators
        self._entered = entered

    @property
    def since_ns(self) -> int | None:
        """The last that is known to have happened before now in the call that this thread or task is inside of.

        None outside of any: what changes then is changed by hand.
        """
        for call in reversed(_INSIDE.get()):
            if call.owner is self.recorder:
                marks = (call.start_ns, call.admitted_ns, call.done_ns)
                return max(mark for mark in marks if mark is not None)
        return None

    def is_ours(self, func: object) -> bool:
        """Whether `func` is a function that is tracked already: the library passes it on to itself."""
        call = getattr(func, _MARK, None)
        return isinstance(call, OpenCall) and call.owner is self.recorder and call.admitted_ns is None

    def run(
        self,
        library: Callable[..., Any],
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        since_ns: int | None = None,
    ) -> Any:
        """`library(func, *args, **kwargs)`, recorded; `since_ns` where the library had decided before."""
        call = self.recorder.begin(since_ns=since_ns)
        tracked = self._tracked(call, func)
        token = _INSIDE.set((*_INSIDE.get(), call))
        try:
            result = library(tracked, *args, **kwargs)
        except BaseException as error:
            self.ended(call, error)
            raise
        finally:
            _INSIDE.reset(token)
        if call.done_ns is not None or call.admitted_ns is None:
            self.ended(call, None)
        return result

    async def run_async(
        self,
        library: Callable[..., Any],
        func: Callable[..., Any],
        args: Any,
        kwargs: Any,
        since_ns: int | None = None,
    ) -> Any:
        """`await library(func, *args, **kwargs)`, recorded; `since_ns` where the library had decided before."""
        call = self.recorder.begin(since_ns=since_ns)

        @functools.wraps(func)
        async def tracked(*args: Any, **kwargs: Any) -> Any:
            self.recorder.admitted(call)
            self._entered()
            try:
                result = await func(*args, **kwargs)
            except BaseException as error:
                self.failed(call, error)
                raise
            self.recorder.done(call, "ok")
            return result

        setattr(tracked, _MARK, call)
        token = _INSIDE.set((*_INSIDE.get(), call))
        try:
            result = await library(tracked, *args, **kwargs)
        except BaseException as error:
            self.ended(call, error)
            raise
        finally:
            _INSIDE.reset(token)
        self.ended(call, None)
        return result

    def admit(self, call: OpenCall) -> None:
        """A call by context manager was let in: what follows, until `leave`, is the protected code."""
        self.recorder.admitted(call)
        _INSIDE.set((*_INSIDE.get(), call))

    def leave(self, error: BaseException | None) -> OpenCall | None:
        """The protected code ended: the call that this thread or task let in last, or None if there is none."""
        stack = _INSIDE.get()
        call = next((call for call in reversed(stack) if call.owner is self.recorder), None)
        if call is None:
            self.recorder.blind("a context manager was left elsewhere than it was entered")
            return None
        _INSIDE.set(tuple(each for each in stack if each is not call))
        if error is None:
            self.recorder.done(call, "ok")
        else:
            self.failed(call, error)
        return call

    def failed(self, call: OpenCall, error: BaseException, *, told_from_ns: int | None = None) -> None:
        """The protected function ended with an error."""
        outcome = outcome_of(error, excluded=isinstance(error, Exception) and self._excluded(error))
        self.recorder.done(call, outcome, told_from_ns=told_from_ns)

    def ended(self, call: OpenCall, error: BaseException | None) -> None:
        """The library gave the call back, with an error or without."""
        if call.admitted_ns is None and error is not None and self._refusal(error):
            self.recorder.rejected(call)
        elif call.admitted_ns is None and error is not None:
            self.recorder.end(call, note=f"{type(error).__name__} before the function was entered")
        else:
            self.recorder.end(call)

    def _tracked(self, call: OpenCall, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def tracked(*args: Any, **kwargs: Any) -> Any:
            self.recorder.admitted(call)
            self._entered()
            try:
                result = func(*args, **kwargs)
            except BaseException as error:
                self.failed(call, error)
                raise
            if self._generators and inspect.isgenerator(result):
                return self._generated(call, result)
            if inspect.iscoroutine(result):
                return self._awaited(call, result)
            self.recorder.done(call, "ok")
            return result

        setattr(tracked, _MARK, call)
        return tracked

    def _generated(self, call: OpenCall, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        begun_ns = call.admitted_ns
        try:
            result = yield from generator
        except BaseException as error:
            self.failed(call, error, told_from_ns=begun_ns)
            self.recorder.end(call)
            raise
        self.recorder.done(call, "ok", told_from_ns=begun_ns)
        self.recorder.end(call)
        return result

    async def _awaited(self, call: OpenCall, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            result = await coroutine
        except BaseException as error:
            self.failed(call, error)
            self.recorder.end(call)
            raise
        self.recorder.done(call, "ok")
        self.recorder.end(call)
        return result


def named(error: BaseException, name: str) -> bool:
    """Whether an error is of a library's class of that name, without importing the library."""
    return any(cls.__name__ == name for cls in type(error).__mro__)
