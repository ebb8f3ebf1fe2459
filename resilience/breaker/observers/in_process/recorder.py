"""What happens at a breaker object in this process, written down as a history.

An observer (one module a library, beside this one) tells the recorder four things of each call: it began, the protected
function was entered, the function ended, the call came back to its caller. From these follow, with times read on
CLOCK_MONOTONIC (or on the clock that the breaker itself was given):

    start    an instant: the caller asked
    decision [start, function entered] of an admitted call, [start, back] of a rejected one
    finish   [function ended, back]: when the outcome reached the breaker
    outcome  what the *function* did, never what the breaker made of it

Nothing is judged here, and nothing of the breaker's behaviour changes. Memory is bounded: beyond `ring` ended calls (or
transitions) the oldest are forgotten, and the history has a gap there, so that a verdict that would need them is
"unknown (truncated)". All methods may be called from any thread; none calls anybody while it holds the lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from resilience.breaker.observation import (
    NS_PER_S,
    STATES,
    Arrival,
    Boot,
    Call,
    Gap,
    Interval,
    Observation,
    Transition,
)

INSTANCE: Final = "in-process"
RING: Final = 100_000


@dataclass(slots=True, eq=False)
class OpenCall:
    """A call on its way; only its recorder writes to it."""

    owner: Recorder
    number: int
    start_ns: int
    admitted_ns: int | None = None
    done_ns: int | None = None
    told_from_ns: int | None = None
    """When the breaker can have learnt the outcome at the earliest, where that is before `done_ns`."""
    outcome: str = ""
    ended: bool = False


def outcome_of(error: BaseException | None, *, excluded: bool = False) -> str:
    """The history's word for how a function ended; `excluded`: the breaker is configured not to count this error."""
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError) or not isinstance(error, Exception):
        return "cancelled"
    if excluded:
        return "excluded"
    return "timeout" if isinstance(error, TimeoutError) else "failure"


class Recorder:
    """The history of one breaker object."""

    def __init__(
        self,
        breaker: str,
        *,
        state: str,
        fresh: bool,
        clock: Callable[[], int] = time.monotonic_ns,
        ring: int = RING,
    ) -> None:
        """`state` is the breaker's now; `fresh`: it is closed and has counted nothing. `clock` gives nanoseconds."""
        if ring < 1:
            raise ValueError(f"a ring holds at least one call, not {ring}")
        self.breaker = breaker
        self.clock = clock
        self._ring = ring
        self._grown = threading.Condition()
        self._state = state
        self._numbers = 0
        self._running: dict[int, OpenCall] = {}
        self._calls: deque[tuple[Call, Arrival | None]] = deque()
        self._transitions: deque[Transition] = deque()
        self._seq = 0
        self._seen = 0
        self._lost_calls, self._lost_until_ns = 0, 0
        self._lost_events, self._lost_event_ns = 0, 0
        self._broken = ""
        self._began_ns = clock()
        self._fresh = fresh and state == "closed"

    @property
    def state(self) -> str:
        """The state that the last transition led to."""
        return self._state

    def begin(self, *, since_ns: int | None = None) -> OpenCall:
        """A caller asks the breaker, now, or has since `since_ns`."""
        with self._grown:
            self._numbers += 1
            call = OpenCall(self, self._numbers, self.clock() if since_ns is None else since_ns)
            self._running[call.number] = call
            if len(self._running) > self._ring:
                self._forget_running()
        return call

    def admitted(self, call: OpenCall) -> None:
        """The protected function is entered, now. A second attempt inside one call is not counted again."""
        if call.admitted_ns is None:
            call.admitted_ns = self.clock()

    def done(self, call: OpenCall, outcome: str, *, told_from_ns: int | None = None) -> None:
        """The protected function has ended; `told_from_ns` where the breaker may have been told before now."""
        if call.done_ns is None:
            call.outcome = outcome
            call.told_from_ns = told_from_ns
            call.done_ns = self.clock()

    def rejected(self, call: OpenCall, *, fallback: bool | None = None) -> None:
        """The breaker refused: the call is back at its caller, and the function was never entered."""
        now = self.clock()
        self._close(call, "rejected", now, fallback=fallback)

    def end(self, call: OpenCall, *, note: str | None = None) -> None:
        """The call is back at its caller. `note` says why the outcome is not known, where it is not."""
        now = self.clock()
        if call.admitted_ns is None:
            self._close(call, "unknown", now, note=note or "it came back without entering the function")
        elif call.done_ns is None:
            self._close(call, "unknown", now, note=note or "it came back before the function had ended")
        else:
            self._close(call, call.outcome, now, note=note)

    def transition(self, to_state: str, *, since_ns: int | None = None, manual: bool = False) -> None:
        """The breaker is in `to_state` as of some moment in [since_ns, now]; `since_ns` None: at this very moment.

        Listeners are told after the fact, and a busy machine may let some time pass in between.
        """
        if to_state not in STATES:
            raise ValueError(f"no breaker state: {to_state!r}")
        now = self.clock()
        with self._grown:
            self._seq += 1
            at = Interval(min(now if since_ns is None else since_ns, now), now)
            self._transitions.append(
                Transition(self.breaker, INSTANCE, self._state, to_state, at, seq=self._seq, manual=manual)
            )
            self._state = to_state
            if len(self._transitions) > self._ring:
                self._lost_events += 1
                self._lost_event_ns = self._transitions.popleft().at.hi_ns
            self._grown.notify_all()

    def blind(self, why: str) -> None:
        """From now on this observer cannot be trusted to see every call; `why` is for people."""
        self._broken = self._broken or why

    def mark(self) -> tuple[int, str]:
        """The number of the last transition, and the state it led to: for a wait for what comes `after`."""
        with self._grown:
            return self._seq, self._state

    def wait_for(
        self,
        state: str,
        within_s: float,
        look: Callable[[], object] | None = None,
        *,
        after: int | None = None,
    ) -> bool:
        """Wait until the breaker is in `state`, or has been since the last wait ended well; False after `within_s`.

        With `after`, a `mark`: until it has *entered* that state since (and, for "closed", is in it). Woken by the transition itself. Where a library has no events, `look` is asked every 10 ms: it reads the state
        and tells the recorder of a change.
        """
        until_s = time.monotonic() + within_s
        while True:
            if look is not None:
                look()
            with self._grown:
                if self._reached(state) if after is None else self._entered(state, after):
                    return True
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return False
                self._grown.wait(left_s if look is None else min(left_s, 0.01))

    def history(self) -> tuple[Observation, ...]:
        """All that is remembered, calls still running included."""
        with self._grown:
            calls = [entry for pair in self._calls for entry in pair if entry is not None]
            running = list(self._running.values())
            transitions = tuple(self._transitions)
        found: list[Observation] = []
        if self._fresh:
            at = Interval(self._began_ns, self._began_ns)
            found.append(Boot(INSTANCE, at))
        found += calls
        for call in running:
            found += [entry for entry in self._entries(call, "unknown", None) if entry is not None]
        return (*found, *transitions, *self._gaps())

    def _reached(self, state: str) -> bool:
        for event in self._transitions:
            if event.seq is not None and event.seq > self._seen and event.to_state == state:
                self._seen = event.seq
                return True
        if self._state == state:
            self._seen = self._seq
            return True
        return False

    def _entered(self, state: str, after: int) -> bool:
        # Open may be half-open by now, and half-open soon is; closed is what is to last.
        now = self._state == state or state != "closed"
        return now and any(
            event.to_state == state
            for event in self._transitions
            if event.seq is not None and event.seq > after
        )

    def _close(
        self,
        call: OpenCall,
        outcome: str,
        now: int,
        *,
        fallback: bool | None = None,
        note: str | None = None,
    ) -> None:
        with self._grown:
            if call.ended:
                return
            call.ended = True
            self._running.pop(call.number, None)
            self._calls.append(self._entries(call, outcome, now, fallback=fallback, note=note))
            if len(self._calls) > self._ring:
                self._lost_calls += 1
                gone = self._calls.popleft()[0]
                self._lost_until_ns = max(self._lost_until_ns, gone.end.hi_ns if gone.end else now)

    def _forget_running(self) -> None:
        oldest = next(iter(self._running))
        del self._running[oldest]
        self._lost_calls += 1
        self._lost_until_ns = 1 << 62  # whenever it ends, nobody will know

    def _entries(
        self,
        call: OpenCall,
        outcome: str,
        end_ns: int | None,
        *,
        fallback: bool | None = None,
        note: str | None = None,
    ) -> tuple[Call, Arrival | None]:
        start = Interval(call.start_ns, call.start_ns)
        end = None if end_ns is None else Interval(end_ns, end_ns)
        finish = done = None
        if call.done_ns is not None and end_ns is not None:
            done = Interval(call.done_ns, end_ns)
            finish = Interval(min(call.told_from_ns or call.done_ns, call.done_ns), end_ns)
        identity = str(call.number)
        made = Call(
            self.breaker,
            INSTANCE,
            identity,
            start,
            end,
            outcome,
            fallback,
            finish=finish,
            note=note,
        )
        if call.admitted_ns is None:
            return made, None
        at = Interval(call.start_ns, max(call.admitted_ns, call.start_ns))
        return made, Arrival(self.breaker, INSTANCE, identity, at, done)

    def _gaps(self) -> list[Gap]:
        found: list[Gap] = []
        if self._lost_calls:
            at = Interval(self._began_ns, max(self._lost_until_ns, self._began_ns))
            found.append(Gap("calls", at, self._lost_calls, self.breaker, INSTANCE))
        if self._lost_events:
            at = Interval(self._began_ns, max(self._lost_event_ns, self._began_ns))
            found.append(Gap("events", at, self._lost_events, self.breaker, INSTANCE))
        if self._broken:
            found.append(Gap("calls", None, None, self.breaker, INSTANCE))
        return found


def seconds_clock(clock: Callable[[], float]) -> Callable[[], int]:
    """A clock that counts seconds, such as `time.monotonic` or a test's own, as the recorder wants it."""
    return lambda: round(clock() * NS_PER_S)
