"""What every observer of an object in this process offers, and the tools that several of them share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from resilience.breaker.observers.in_process.recorder import Recorder


@runtime_checkable
class InProcessObserver(Protocol):
    """Attached to one breaker object from its making until `detach`."""

    recorder: Recorder

    def look(self) -> None:
        """Read the state, where a library has no events, and record a change. Changes nothing; cheap."""

    def detach(self) -> None:
        """Leave the object as it was found. What was recorded stays."""


class StateLook:
    """Transitions of a library without events, from repeated looks: each lies since the look before."""

    def __init__(self, recorder: Recorder, read: Callable[[], str]) -> None:
        self._recorder = recorder
        self._read = read
        self._turn = threading.Lock()
        self._seen_ns = recorder.clock()

    def __call__(self) -> None:
        """Look now."""
        with self._turn:
            state = self._read()
            since_ns, self._seen_ns = self._seen_ns, self._recorder.clock()
            if state != self._recorder.state:
                self._recorder.transition(state, since_ns=since_ns)


class Reclassed:
    """Gives one object methods of its own where Python looks them up on the class: `with`, properties.

    The object's class becomes a subclass made for it alone, of the same layout and name; `undo` gives the old one back.
    """

    def __init__(self, subject: object, methods: Mapping[str, Any]) -> None:
        self._subject = subject
        self._class = type(subject)
        namespace = {"__slots__": (), "__module__": self._class.__module__, "__doc__": self._class.__doc__}
        subject.__class__ = type(self._class.__name__, (self._class,), {**namespace, **methods})

    def undo(self) -> None:
        """Give the object its own class back."""
        self._subject.__class__ = self._class
