"""The active stimulus: a script of calls that puts a circuit breaker through everything that its rules speak of. Pure.

Theory of operation. A script is a dialogue. It is a generator that yields what to do next (`Send` a call and decide what the
dependency does with it, wait for one to be `Ended`, `Rest`) and is resumed with what was seen. Whoever runs it has the
clock and the sockets: the driver does it for real, a test in virtual time. So the script adapts: it goes on failing
until the breaker is seen to reject, and asks for the time only through the runner.

It is made of *parts*, each named for what it exercises; every one begins with a closed breaker and leads it back. A part whose
stimulus a breaker cannot be given (its own time limit ends every call long before a wait is over) is skipped, with the reason.
A breaker that never rejects ends the script after the first trip: everything after it would say the same. So does one that cannot be led
back to closed, or a service that is gone. Both say so: parts that were not played show nothing.

Invariants. Every wait is bounded; a script ends on its own whatever the breaker does. Nothing here judges: what was sent and
answered stands in the run record, and the verifier alone says what it means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from resilience.breaker.spec import NS_PER_MS, BreakerSpec
from resilience.load.stimulus_actions import (
    BAD,
    GOOD,
    Answer,
    Ended,
    Now,
    Part,
    Rest,
    Script,
    Seen,
    Send,
)
from resilience.load.threshold import Threshold, threshold_of

OVERDUE_NS: Final = 60 * NS_PER_MS
"""After a wait should be over, before a call is meant to find it so: twice the tolerance of timers."""
APART_NS: Final = 10 * NS_PER_MS
"""Between calls whose order matters: more than the tolerance within which the verifier takes any order for possible."""
DENSE_EVERY_NS: Final = 20 * NS_PER_MS
CLOSE_EVERY_NS: Final = 4 * NS_PER_MS
"""Between calls about the end of a wait: a rejection just before it and an admission just after it are what tells its length."""
_CROSSINGS: Final = 3
"""How often traffic is led across the end of a wait until a call was let in soon after it: machines stand still at times."""
_ODD: Final = 20
"""Calls to a dependency that is well which may fail for reasons of their own, before a part."""
_REOPENED: Final = 3
"""How often in a row a breaker with a growing wait may have opened by the end of a part."""
NOTICE_NS: Final = 350 * NS_PER_MS
"""After a caller has gone: for a service to notice, and for its breaker to be told."""


def stimulus(spec: BreakerSpec) -> Script[None]:
    """The whole script for a breaker of this specification."""
    breaker = _Breaker(spec)
    shut = "the breaker stays shut, or the service is gone, though its dependency is well"
    for name, play, impossible in _parts(breaker):
        if why := impossible:
            yield Part(name, skipped=why)
            continue
        if not (yield from breaker.ready()):
            yield Part(name, skipped=shut, ended_early=True)
            return
        yield Part(name)
        yield from play()
        if breaker.never_opened:
            # One that promises never to trip was given all that there is.
            promised = spec.trip == "never"
            yield Part("the rest", skipped="the breaker was never seen to open", ended_early=not promised)
            return
    yield Part("recovery")
    if not (yield from breaker.ready()):
        yield Part("recovery", skipped=shut, ended_early=True)


def _parts(breaker: _Breaker) -> list[tuple[str, Callable[[], Script[None]], str]]:
    """Name, script, and why it cannot be played ("" where it can)."""
    spans = breaker.no_span
    return [
        ("fewer failures than open it", breaker.below, ""),
        ("exactly the threshold, a close, one failure more", breaker.exactly, ""),
        ("dense traffic across the wait", breaker.dense, ""),
        ("a burst at the end of the wait", breaker.burst, ""),
        ("successes, then a failing probe", breaker.reopen, ""),
        ("a slow success from closed to open", lambda: breaker.late("ok"), ""),
        ("a slow failure from closed to open", lambda: breaker.late("failure"), ""),
        ("a slow success from closed to half-open", lambda: breaker.stale("ok"), spans),
        ("a slow failure from closed to half-open", lambda: breaker.stale("failure"), spans),
        ("a cancelled probe", breaker.cancelled, ""),
        ("a hung probe", breaker.hung, ""),
        ("failing probes under dense traffic", breaker.dense_failing, ""),
        ("silence for three waits", breaker.silence, ""),
    ]


class _Breaker:
    """The parts, for one specification; it remembers only whether the breaker was ever seen to open."""

    def __init__(self, spec: BreakerSpec) -> None:
        self._spec = spec
        self._trip: Threshold = threshold_of(spec)
        self._limit_ns = spec.timeout_ns
        self._probes = spec.permitted or 1
        self._opened = False
        self._tried = False
        self._opened_ns = 0

    @property
    def never_opened(self) -> bool:
        """It was given what should open it, and more, and let everything through."""
        return self._tried and not self._opened

    @property
    def no_span(self) -> str:
        """Why no call can last from before the opening into half-open; "" if one can."""
        if self._limit_ns is not None and self._limit_ns < self._span_ns + 100 * NS_PER_MS:
            return (
                f"the time limit of a call ({self._limit_ns // NS_PER_MS} ms) ends it before the wait "
                f"({self._wait_ns() // NS_PER_MS} ms) is over"
            )
        return ""

    @property
    def _span_ns(self) -> int:
        """From the start of a call just before a trip until well within half-open."""
        return self._wait_ns() + OVERDUE_NS + 200 * NS_PER_MS

    @property
    def _slow_ns(self) -> int:
        """As slow as a call may be without being timed out, for a call that is to overlap others."""
        limit_ns = self._limit_ns or self._wait_ns()
        return min(limit_ns * 6 // 10, 400 * NS_PER_MS)

    def _wait_ns(self, nth: int = 1) -> int:
        return self._spec.wait_of(nth)[1]

    # ---- pieces

    def ready(self) -> Script[bool]:
        """Lead it to closed, as far as callers can tell: enough successes in a row. False where it stays shut."""
        good, shut_ns, rested, odd = 0, 0, False, 0
        pause_ns = max(self._wait_ns() // 10, DENSE_EVERY_NS)
        while good < self._trip.clean + self._closing:
            seen = yield from _call(GOOD)
            if seen.outcome == "ok":
                good += 1
                continue
            if not seen.rejected:
                # A connection that broke, a machine that stood still: now and then, but not for ever.
                odd += 1
                if odd > _ODD:
                    return False
                continue
            if rested:
                return False
            good, shut_ns = 0, shut_ns + pause_ns
            if shut_ns <= 2 * self._wait_ns(_REOPENED):
                yield Rest(pause_ns)
            else:
                # Perhaps it is the asking that keeps it shut.
                rested = True
                yield Rest(2 * self._wait_ns(_REOPENED))
        return True

    @property
    def _closing(self) -> int:
        """Successful probes that close it."""
        return self._spec.successes if self._spec.close_ratio is None else self._probes

    def _open(self, failures: int | None = None) -> Script[None]:
        """Exactly the threshold; then, if the next call is let through after all, more of the same up to a bound."""
        exactly = self._trip.opening if failures is None else failures
        self._tried = True
        for number in range(exactly + self._trip.most):
            seen = yield from _call(BAD)
            if seen.rejected and number >= exactly:
                self._opened = True
                return
            self._opened_ns = yield Now()
            if number < exactly:
                yield Rest(APART_NS)

    def _wait_out(self, nth: int = 1) -> Script[None]:
        yield Rest(self._wait_ns(nth) + OVERDUE_NS)

    # ---- parts

    def below(self) -> Script[None]:
        """Fail fail success fail fail, with a caller that goes away in between: none of it may open the breaker."""
        few = self._trip.spare
        for _ in range(2):
            yield from _calls(BAD, few)
            yield from _calls(GOOD, self._trip.clean)
        if few:
            yield from _calls(BAD, few - 1)
            yield from self._gone()
            yield from _call(BAD)
            yield from _calls(GOOD, self._trip.clean)

    def _gone(self) -> Script[Seen]:
        """A call whose caller goes away while the dependency works on it."""
        number = yield Send(Answer("ok", self._slow_ns), give_up_ns=30 * NS_PER_MS)
        seen: Seen = yield Ended(number)
        # Whether the service cancels its own call is its affair; by then it has done so, or the answer has come.
        yield Rest(max(NOTICE_NS, self._slow_ns))
        return seen

    def exactly(self) -> Script[None]:
        """The threshold and no more, the wait in silence, successes until closed, one failure, and on."""
        yield from self._open()
        yield from self._wait_out()
        yield from _calls(GOOD, self._closing)
        if self._trip.fresh:
            # An empty window: as many failures as it must have calls, and it opens.
            if self._trip.forgets_ns:
                yield Rest(self._trip.forgets_ns)
            yield from self._open(self._trip.fresh)
        elif self._trip.spare:
            yield from _calls(BAD, 1)
            yield from _calls(GOOD, 2)

    def dense(self) -> Script[None]:
        """Calls all the time from the opening on, overlapping, until the wait is long over; again if none came in time to tell."""
        for crossing in range(_CROSSINGS):
            if crossing and not (yield from self.ready()):
                return
            yield from self._open()
            told = yield from self._press(
                Answer("ok", min(self._slow_ns, 80 * NS_PER_MS)), self._wait_ns() * 3 // 2
            )
            if told or self.never_opened:
                return

    def dense_failing(self) -> Script[None]:
        """The same with failing probes: it opens again, for a whole new wait."""
        yield from self._open()
        slow = Answer("failure", min(self._slow_ns, 60 * NS_PER_MS))
        yield from self._press(slow, self._wait_ns() + OVERDUE_NS + 40 * NS_PER_MS)
        # Not a multiple of what lies between two calls: one that is sent as the probe's answer comes may be let in before it or after.
        yield from self._press(
            Answer("ok", min(self._slow_ns, 3 * DENSE_EVERY_NS + APART_NS)), self._wait_ns(2) + OVERDUE_NS
        )

    def _press(self, answer: Answer, for_ns: int) -> Script[bool]:
        """One call every few milliseconds, more about the end of the wait, whether or not others are still running.

        Whether that tells the end: one was turned away shortly before it, and the first to be let in came shortly after it, or none did.
        """
        begun = now = yield Now()
        end, near = self._opened_ns + self._wait_ns(), self._spec.eps_ns
        running: dict[int, int] = {}
        while now < begun + for_ns:
            number = yield Send(answer)
            running[number] = now
            yield Rest(CLOSE_EVERY_NS if abs(now - end) <= near else DENSE_EVERY_NS)
            now = yield Now()
        before, after = False, end
        for number, sent in reversed(running.items()):
            seen: Seen = yield Ended(number)
            before |= seen.rejected and end - near < sent < end
            after = sent if seen.arrived else after
        return before and end - APART_NS < after < end + near // 2

    def burst(self) -> Script[None]:
        """More calls at one instant than probes are permitted, just after the wait."""
        yield from self._open()
        yield from self._wait_out()
        running: list[int] = []
        for _ in range(self._probes + 4):
            number = yield Send(Answer("ok", self._slow_ns))
            running.append(number)
        yield Rest(self._slow_ns // 2)
        yield from _call(GOOD)
        for number in running:
            yield Ended(number)

    def reopen(self) -> Script[None]:
        """One success fewer than closes it, a failure, an immediate follow-up; the same after the next wait."""
        yield from self._open()
        for nth in (1, 2):
            yield from self._wait_out(nth)
            if self._spec.close_ratio is None:
                yield from _calls(GOOD, self._spec.successes - 1)
                yield from _call(BAD)
            else:
                yield from _calls(BAD, self._probes)
            yield from _calls(GOOD, 2)

    def late(self, kind: str) -> Script[None]:
        """A call that is begun while closed and ends, one way or the other, while open; then traffic across the wait."""
        # Begun just before the last failure: the longer it outlasts the opening, the surer it is what it changed; but the wait
        # must not be over by then, on a busy machine either.
        yield from _calls(BAD, self._trip.opening - 1)
        slow = yield Send(Answer(kind, min(self._slow_ns, self._wait_ns() * 6 // 10)))
        yield Rest(APART_NS)
        yield from self._open(1)
        yield Ended(slow)
        yield from self._press(GOOD, self._wait_ns())

    def stale(self, kind: str) -> Script[None]:
        """A call that is begun while closed and ends while half-open, with a probe under way; again if it came too late to tell."""
        for crossing in range(_CROSSINGS):
            if crossing and not (yield from self.ready()):
                return
            if (yield from self._span(kind)) or self.never_opened:
                return

    def _span(self, kind: str) -> Script[bool]:
        """Whether what followed tells that the late outcome changed nothing, where it should not."""
        begun = yield Now()
        slow = yield Send(Answer(kind, self._span_ns))
        yield Rest(10 * NS_PER_MS)
        yield from self._open()
        yield from self._wait_out()
        left_ns = begun + self._span_ns - (yield Now())
        probe = yield Send(Answer("ok", max(left_ns, 0) + 150 * NS_PER_MS))
        yield Ended(slow)
        yield Rest(30 * NS_PER_MS)
        beside = yield from _call(GOOD)
        yield Ended(probe)
        after = yield from _call(BAD if kind == "ok" else GOOD)
        yield from _calls(GOOD, 2)
        if self._spec.stale != "ignored" or self._spec.permitted != 1:
            return True
        return beside.rejected if kind == "ok" else after.arrived

    def cancelled(self) -> Script[None]:
        """A caller goes away one failure before the threshold; then the caller of a probe does: there must be a way on."""
        yield from _calls(BAD, self._trip.spare)
        yield from self._gone()
        yield from self._open(self._trip.opening - self._trip.spare)
        yield from self._wait_out()
        yield from self._gone()
        yield from _calls(GOOD, 2)

    def hung(self) -> Script[None]:
        """The dependency never answers a probe: the service's own time limit has to end it."""
        yield from self._open()
        yield from self._wait_out()
        hang_ns = 2 * self._limit_ns if self._limit_ns else self._wait_ns()
        probe = yield Send(Answer("hang", hang_ns))
        yield Rest(40 * NS_PER_MS)
        yield from _calls(GOOD, 2)
        yield Ended(probe)
        yield from _calls(GOOD, 2)

    def silence(self) -> Script[None]:
        """Nothing at all for three waits: the first call afterwards is let through."""
        yield from self._open()
        yield Rest(3 * self._wait_ns())
        yield from _calls(GOOD, 2)


def _call(answer: Answer) -> Script[Seen]:
    """One call, waited for."""
    number = yield Send(answer)
    seen: Seen = yield Ended(number)
    return seen


def _calls(answer: Answer, count: int) -> Script[None]:
    """Several, far enough apart that nobody can doubt their order."""
    for _ in range(count):
        yield from _call(answer)
        yield Rest(APART_NS)
