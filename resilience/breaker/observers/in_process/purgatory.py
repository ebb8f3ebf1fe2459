"""purgatory: calls by the context behind a name, transitions by the message bus.

Every `get_breaker(name)` wraps one context, whose `__enter__` decides and whose `__exit__` is told. The half-open message
lies in the context's queue until some call leaves, so that event comes when a probe ends: it is recorded as the interval
[first admission, event]. Other events lie between the leaving of the call that caused them and their coming.

Given a factory, the contexts of one name are followed from when they are first asked for. A shared (Redis) repository
makes a new context at each asking; what other processes do to it is not seen here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from purgatory.domain.messages.events import ContextChanged

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.in_process.guarding import Guarding, named
from resilience.breaker.observers.in_process.recorder import RING, Recorder

_MARKS = 1024


class PurgatoryObserver:
    """Attached to one breaker, or to the breakers of one name that a factory gives."""

    def __init__(self, subject: Any, name: str, *, clock: Callable[[], int], ring: int = RING) -> None:
        context = find_context(subject, name)
        state = "closed" if context is None else state_name(context.state)
        fresh = context is None or not context.failure_count
        self.recorder = Recorder(name, state=state, fresh=fresh, clock=clock, ring=ring)
        self.guarding = Guarding(
            self.recorder, excluded=self._excluded, refusal=lambda error: named(error, "OpenedState")
        )
        self._name = name if context is None else context.name
        self._contexts: list[Any] = []
        self._exclude: list[Any] = []
        # What each change of state lies behind, oldest first: (state, since when).
        self._changes: deque[tuple[str, int]] = deque(maxlen=_MARKS)
        self._bus = subject.messagebus
        self._heard = (
            self._on_change_async if type(self._bus).__name__.startswith("Async") else self._on_change
        )
        self._bus.add_listener(ContextChanged, self._heard)
        self._factory = None
        if context is not None:
            self._follow(context)
        if hasattr(subject, "get_breaker"):
            self._factory = subject
            subject.get_breaker = self._getting(subject.get_breaker, type(self._bus).__name__)

    def _getting(self, library: Callable[..., Any], bus: str) -> Callable[..., Any]:
        def followed(breaker: Any) -> Any:
            if breaker.context.name == self._name:
                self._follow(breaker.context)
            return breaker

        async def get_breaker_async(*args: Any, **kwargs: Any) -> Any:
            return followed(await library(*args, **kwargs))

        def get_breaker(*args: Any, **kwargs: Any) -> Any:
            return followed(library(*args, **kwargs))

        return get_breaker_async if bus.startswith("Async") else get_breaker

    def _follow(self, context: Any) -> None:
        if "__enter__" in vars(context):
            return
        self._contexts.append(context)
        enter, leave = context.__enter__, context.__exit__

        def entered() -> Any:
            before, call = context.state, self.recorder.begin()
            try:
                result = enter()
            except BaseException as error:
                self.guarding.ended(call, error)
                raise
            if context.state != before:
                self._changes.append((context.state, call.start_ns))
            self.guarding.admit(call)
            return result

        def left(kind: Any, error: Any, trace: Any) -> Any:
            self._exclude = context.exclude_list
            before, since_ns = context.state, self.recorder.clock()
            call = self.guarding.leave(error)
            try:
                return leave(kind, error, trace)
            finally:
                if context.state != before:
                    self._changes.append((context.state, since_ns))
                if call is not None:
                    self.recorder.end(call)

        context.__enter__, context.__exit__ = entered, left

    def _on_change(self, event: Any, _uow: Any) -> None:
        if event.name != self._name:
            return
        since_ns = None
        while self._changes:
            state, marked_ns = self._changes.popleft()
            if state == event.state:
                since_ns = marked_ns
                break
        self.recorder.transition(state_name(event.state), since_ns=since_ns)

    async def _on_change_async(self, event: Any, uow: Any) -> None:
        self._on_change(event, uow)

    def _excluded(self, error: BaseException) -> bool:
        """As the context decides: the first entry that fits, and its condition if it has one."""
        for entry in self._exclude:
            kind, condition = entry if isinstance(entry, tuple) else (entry, None)
            if isinstance(error, kind):
                return True if condition is None else bool(condition(error))
        return False

    def look(self) -> None:
        """Nothing to do: the bus tells."""

    def detach(self) -> None:
        """Leave the object as it was found."""
        for context in self._contexts:
            vars(context).pop("__enter__", None)
            vars(context).pop("__exit__", None)
        if self._contexts or self._factory is not None:
            self._bus.remove_listener(ContextChanged, self._heard)
        if self._factory is not None:
            vars(self._factory).pop("get_breaker", None)
        self._contexts, self._factory = [], None


def find_context(subject: Any, name: str) -> Any:
    """The context of a breaker, or the one that a factory has under a name; None where there is none yet."""
    context = getattr(subject, "context", None)
    if context is not None:
        return context
    repository = getattr(getattr(subject, "uow", None), "contexts", None)
    return getattr(repository, "breakers", {}).get(name)


attach = PurgatoryObserver
