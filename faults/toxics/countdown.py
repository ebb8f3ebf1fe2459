"""What the toxics share that end a stream some time after something happened: a clock that starts once, then an end.

They hold no bytes. A subclass says when the clock starts (`begin`), what becomes of data, and what removal does; alarms and
updates are the same for all of them (`run_on`): the delay always counts from the beginning, whatever it was changed to since.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS, Effect, Ending, Event, Finish, Updated, Wake, WakeAt

__all__ = ["Countdown", "EndsLater"]


@dataclass(frozen=True, slots=True)
class Countdown:
    """When the clock started, None before that, and how the stream ends once it has run down."""

    began_ns: int | None = None
    ending: Ending = Ending.CLOSE


Step = tuple[Countdown, tuple[Effect, ...]]


class EndsLater(ABC):
    """Base of toxics that end the stream late. Subclasses are frozen dataclasses; `delay_of` names their attribute."""

    __slots__ = ()

    delay_of: ClassVar[str]
    """The attribute that holds the delay, in ms."""

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative time."""
        return (f"{self.delay_of} must not be negative",) if self._delay_ns() < 0 else ()

    def start(self, rng: random.Random) -> Countdown:  # noqa: ARG002 - the protocol hands it to every toxic
        """The clock does not run yet."""
        return Countdown()

    def held_bytes(self, state: Countdown) -> int:  # noqa: ARG002 - as above
        """Data passes or is dropped, never held."""
        return 0

    @abstractmethod
    def step(self, state: Countdown, event: Event, now_ns: int) -> Step:
        """Take one event; see `Toxic`."""

    def begin(self, ending: Ending, now_ns: int) -> Step:
        """Start the clock that leads to `ending`."""
        return self._wait(Countdown(now_ns, ending), now_ns)

    def run_on(self, state: Countdown, event: Event, now_ns: int) -> Step:
        """Follow an alarm or an update, if the clock runs; nothing else changes anything."""
        if state.began_ns is None or not isinstance(event, Wake | Updated):
            return state, ()
        return self._wait(state, now_ns)

    def _wait(self, state: Countdown, now_ns: int) -> Step:
        assert state.began_ns is not None
        due_ns = state.began_ns + self._delay_ns()
        return state, (WakeAt(due_ns) if due_ns > now_ns else Finish(state.ending),)

    def _delay_ns(self) -> int:
        return int(getattr(self, self.delay_of)) * MS_NS
