"""What the gateway asks of a circuit breaker, whichever library does the work.

An adapter is thin on purpose: the library decides, the adapter translates. It never corrects a library's habits,
because those habits are what the verifier is there to see. The rules that every adapter keeps:

- `guard(call)` runs the call through the library. `CallRejected` is raised if, and only if, the library refused and
  the call was never begun; whatever a begun call raises comes out as it is.
- `state()` says what the library would say, without changing it.
- Each transition is handed to `emit` once, as soon as the library lets it be known, with an interval in nanoseconds on
  CLOCK_MONOTONIC that contains the true moment: [since_ns, at_ns]. A listener gives a point; a library without one is
  looked at around each call (`StateWatch`), and the interval reaches back to the look before.

An adapter lives on one event loop and is not thread-safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import Protocol, TypeVar

T = TypeVar("T")

CLOSED = "closed"
OPEN = "open"
HALF_OPEN = "half_open"

Emit = Callable[[str, str, int, int], None]
"""(from, to, since_ns, at_ns)"""


class CallRejected(Exception):  # noqa: N818 - a refusal is an answer of the breaker, not an error of the call
    """The breaker refused; the call was never begun."""


class Breaker(Protocol):
    """One breaker of one library."""

    async def guard(self, call: Callable[[], Awaitable[T]]) -> T:
        """The call's own result or exception, or CallRejected if it was refused."""

    def state(self) -> str:
        """closed, open or half_open; reading it changes nothing."""


class StateWatch:
    """Turns repeated looks at a library's state into transitions, each since the look before."""

    __slots__ = ("_emit", "_read", "_seen_ns", "_state")

    def __init__(self, read: Callable[[], str], emit: Emit) -> None:
        self._read = read
        self._emit = emit
        self._state = read()
        self._seen_ns = monotonic_ns()

    def look(self) -> str:
        """The state now; a change since the last look is emitted."""
        state = self._read()
        now_ns = monotonic_ns()
        if state != self._state:
            self._emit(self._state, state, self._seen_ns, now_ns)
            self._state = state
        self._seen_ns = now_ns
        return state
