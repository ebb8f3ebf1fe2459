"""Starts operations when they are due: by the schedule, or, in a closed model, when their user is ready.

Theory of operation. A pacer sleeps on an alarm until something is due and then starts *everything* that is due: a late wake
makes a late start (lag, which is recorded), never a lost or postponed arrival. The driver's fast path looks at `next_due` as
answers come in and calls `pump` too, so a busy loop needs few alarms. Alarms ring at least GRAIN_NS apart: at tens of
thousands of arrivals a second one wake serves several.

A closed model's users start spread over their think time; each asks again a think time after its answer.

What it deliberately does not do: skip arrivals to catch up, or wait for answers.
"""

import heapq
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from time import monotonic_ns

from resilience.load import schedule
from resilience.load.alarm import make_alarm
from resilience.load.drivers import Driver
from resilience.load.model import NEVER_ENDS_NS, Closed, Stream
from resilience.load.recorder import Recorder

GRAIN_NS = 250_000


class OpenPacer:
    """Arrivals by schedule, whatever becomes of them."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        stream: Stream,
        driver: Driver,
        recorder: Recorder,
        *,
        stripe: int,
        stripes: int,
    ) -> None:
        self._stream = stream
        self._driver = driver
        self._note = recorder.due.append
        self._i = stripe
        self._step = stripes
        self._stripe = stripe
        self._epoch_ns = 0
        self._offsets: Iterator[int] = iter(())
        self._pumping = False
        self._alarm = make_alarm(loop, self._ring)
        self.exhausted = False
        """Nothing more will be offered."""

    def begin(self, epoch_ns: int) -> None:
        """Start offering at the epoch."""
        stream = self._stream
        self._epoch_ns = epoch_ns
        self._offsets = schedule.offsets(
            stream.shape, stream.arrival, stream.seed, stripe=self._stripe, stripes=self._step
        )
        self._driver.pump = self.pump
        self._set_next(next(self._offsets, None))
        if not self.exhausted:
            self._alarm.set(self._driver.next_due)

    def pump(self) -> None:
        """Start everything that is due."""
        if self._pumping:
            return
        self._pumping = True
        driver = self._driver
        issue = driver.issue
        note = self._note
        offsets = self._offsets
        epoch = self._epoch_ns
        step = self._step
        i = self._i
        due = driver.next_due
        now = monotonic_ns()
        offset: int | None = 0
        while due <= now:
            note(due)
            issue(i, due)
            i += step
            offset = next(offsets, None)
            if offset is None:
                break
            due = epoch + offset
        self._i = i
        self._set_next(None if offset is None else due - epoch)
        self._pumping = False

    def stop(self) -> None:
        """Offer nothing more."""
        self._set_next(None)
        self._offsets = iter(())

    def close(self) -> None:
        """Stop, and release the alarm."""
        self.stop()
        self._alarm.close()

    def _ring(self) -> None:
        self.pump()
        if not self.exhausted:
            self._alarm.set(max(self._driver.next_due, monotonic_ns() + GRAIN_NS))

    def _set_next(self, offset: int | None) -> None:
        self.exhausted = self.exhausted or offset is None
        self._driver.next_due = NEVER_ENDS_NS if offset is None or self.exhausted else self._epoch_ns + offset


class ClosedPacer:
    """Users who wait for their answer before they ask again."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        shape: Closed,
        driver: Driver,
        recorder: Recorder,
        *,
        stripe: int,
        stripes: int,
    ) -> None:
        self._shape = shape
        self._think_ns = shape.think_ns
        self._driver = driver
        self._note = recorder.due.append
        self._i = stripe
        self._stripe = stripe
        self._step = stripes
        self._end_ns = 0
        self._ready = 0
        self._thinking: list[int] = []
        self._asking = False
        self._alarm = make_alarm(loop, self._ring)
        self.exhausted = False
        """Nothing more will be offered."""

    def begin(self, epoch_ns: int) -> None:
        """Bring the users in, spread over their think time."""
        shape = self._shape
        start = epoch_ns + shape.start_ns
        self._end_ns = epoch_ns + shape.end_ns
        users = range(self._stripe, shape.users, self._step)
        self._thinking = [start + user * shape.think_ns // shape.users for user in users]
        self._driver.pump = self.pump
        self._driver.done = self._done
        self._arm()

    def pump(self) -> None:
        """Let every user ask whose think time is over."""
        now = monotonic_ns()
        thinking = self._thinking
        while thinking and thinking[0] <= now:
            heapq.heappop(thinking)
            self._ready += 1
        if not (self._asking or self.exhausted):
            self._ask(now)
        self._arm()

    def stop(self) -> None:
        """Offer nothing more."""
        self.exhausted = True
        self._ready = 0
        self._thinking.clear()
        self._driver.next_due = NEVER_ENDS_NS

    def close(self) -> None:
        """Stop, and release the alarm."""
        self.stop()
        self._alarm.close()

    def _done(self, _i: int, now: int) -> None:
        if self.exhausted:
            return
        if self._think_ns:
            heapq.heappush(self._thinking, now + self._think_ns)
            if self._thinking[0] < self._driver.next_due:
                self._arm()
        else:
            self._ready += 1
            if not self._asking:
                self._ask(now)

    def _ask(self, now: int) -> None:
        """Let everybody ask who is ready; operations that fail at once make their users ready again, in this very loop."""
        if now >= self._end_ns:
            self.stop()
            return
        self._asking = True
        issue, note = self._driver.issue, self._note
        for _ in range(self._ready):
            self._ready -= 1
            note(now)
            i = self._i
            self._i = i + self._step
            issue(i, now)
        self._asking = False
        if self._ready:
            # Who failed at once asks again on a later turn, or a target that is down would keep the loop to itself.
            self._ready, again = 0, self._ready
            for _ in range(again):
                heapq.heappush(self._thinking, now + GRAIN_NS)
            self._arm()

    def _ring(self) -> None:
        self.pump()

    def _arm(self) -> None:
        if self.exhausted:
            return
        due = self._thinking[0] if self._thinking else NEVER_ENDS_NS
        self._driver.next_due = due
        self._alarm.set(min(max(due, monotonic_ns() + GRAIN_NS), self._end_ns))


Pacer = OpenPacer | ClosedPacer


def make_pacer(
    loop: AbstractEventLoop, stream: Stream, driver: Driver, recorder: Recorder, *, stripe: int, stripes: int
) -> Pacer:
    """The pacer that a stream's shape asks for."""
    if isinstance(stream.shape, Closed):
        return ClosedPacer(loop, stream.shape, driver, recorder, stripe=stripe, stripes=stripes)
    return OpenPacer(loop, stream, driver, recorder, stripe=stripe, stripes=stripes)
