"""The listener that pybreaker and aiobreaker call: both have the same four methods, and hand over states of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from resilience.breaker.observers.base import state_name
from resilience.breaker.observers.in_process.guarding import Guarding
from resilience.breaker.observers.in_process.recorder import Recorder


class Listener:
    """Records each change of state; `name` reads the library's name off one of its states."""

    def __init__(self, recorder: Recorder, guarding: Guarding, name: Callable[[Any], str]) -> None:
        self._recorder = recorder
        self._guarding = guarding
        self._name = name

    def before_call(self, breaker: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        """Not needed: calls are watched where they are made."""

    def failure(self, breaker: Any, exception: BaseException) -> None:
        """Not needed."""

    def success(self, breaker: Any) -> None:
        """Not needed."""

    def state_change(self, _breaker: Any, _old: Any, new: Any) -> None:
        """Called at the moment of the change; outside every watched call it was somebody's hand."""
        since_ns = self._guarding.since_ns
        self._recorder.transition(state_name(self._name(new)), since_ns=since_ns, manual=since_ns is None)
