"""Pacers and alarms without waiting: what is due is started, all of it, and nothing else."""

import asyncio
import time

import pytest

from resilience.load.alarm import LoopAlarm, TimerfdAlarm, make_alarm
from resilience.load.model import NEVER_ENDS_NS, Closed, Herd, HttpRequest, RateSegment, Stream
from resilience.load.pacer import make_pacer
from resilience.load.recorder import Recorder

S = 10**9
MS = 10**6


class Notebook:
    """A driver that notes what it is asked to do, and may answer or fail at once."""

    def __init__(self, *, at_once=False):
        self.next_due = NEVER_ENDS_NS
        self.pump = None
        self.done = None
        self.issued = []
        self.at_once = at_once

    def issue(self, i, intended):
        """Note it."""
        self.issued.append((i, intended))
        if self.at_once and self.done is not None:
            self.done(i, time.monotonic_ns())


def paced(shape, *, driver=None, stripe=0, stripes=1):
    """A pacer on a notebook, and its recorder."""
    request = HttpRequest(url="http://h/")
    stream = Stream("load", shape, "uniform", request, deadline_ns=S, timeout_ns=S)
    driver = driver or Notebook()
    recorder = Recorder(stream, (), 0, lambda _: None)
    loop = asyncio.get_running_loop()
    return make_pacer(loop, stream, driver, recorder, stripe=stripe, stripes=stripes), driver, recorder


async def test_open_pacer_starts_everything_that_is_due():
    """A wake that comes 1 s late starts the whole second's arrivals, with their own due times, and no more."""
    pacer, driver, recorder = paced((RateSegment(0, 10 * S, 100.0, 100.0),))
    epoch = time.monotonic_ns() - S
    pacer.begin(epoch)
    pacer.pump()
    assert len(driver.issued) >= 100
    assert driver.issued[:3] == [(0, epoch), (1, epoch + 10 * MS), (2, epoch + 20 * MS)]
    assert driver.next_due == driver.issued[-1][1] + 10 * MS
    assert len(recorder.due) == len(driver.issued)
    pacer.close()


async def test_open_pacer_takes_its_stripe():
    """Worker 1 of 3 has arrivals 1, 4, 7 ... of a herd, and is exhausted after the last."""
    pacer, driver, _ = paced(Herd(10, 0), stripe=1, stripes=3)
    epoch = time.monotonic_ns() - 1
    pacer.begin(epoch)
    assert not pacer.exhausted
    pacer.pump()
    assert driver.issued == [(1, epoch), (4, epoch), (7, epoch)]
    assert pacer.exhausted
    assert driver.next_due == NEVER_ENDS_NS
    pacer.close()


async def test_open_pacer_offers_nothing_after_it_was_stopped():
    """Stopped, it is exhausted, whatever was due."""
    pacer, driver, _ = paced((RateSegment(0, 10 * S, 100.0, 100.0),))
    pacer.begin(time.monotonic_ns() - S)
    pacer.stop()
    pacer.pump()
    assert driver.issued == []
    assert pacer.exhausted
    pacer.close()


async def test_closed_pacer_asks_again_only_after_an_answer():
    """Three users ask once each; each asks again when told that it was answered."""
    pacer, driver, _ = paced(Closed(3, 0, 0, 60 * S))
    pacer.begin(time.monotonic_ns() - 1)
    pacer.pump()
    pacer.pump()
    assert [i for i, _ in driver.issued] == [0, 1, 2]
    driver.done(1, time.monotonic_ns())
    assert [i for i, _ in driver.issued] == [0, 1, 2, 3]
    pacer.close()


async def test_closed_pacer_does_not_recurse_where_everything_fails_at_once():
    """A target that fails every operation at once is asked once a user and turn, not for ever in one call."""
    driver = Notebook(at_once=True)
    pacer, _, _ = paced(Closed(5, 0, 0, 60 * S), driver=driver)
    pacer.begin(time.monotonic_ns() - 1)
    pacer.pump()
    assert len(driver.issued) == 5
    pacer.close()


async def test_closed_pacer_ends_with_its_time():
    """After the end nobody asks any more, and the pacer is exhausted."""
    pacer, driver, _ = paced(Closed(5, 0, 0, S))
    pacer.begin(time.monotonic_ns() - 2 * S)
    pacer.pump()
    assert driver.issued == []
    assert pacer.exhausted
    pacer.close()


@pytest.mark.parametrize("kind", [LoopAlarm, TimerfdAlarm, make_alarm])
async def test_alarm_rings_when_set_and_not_when_cancelled(kind):
    """Set in the past it rings at once, cancelled it stays silent, and a new time replaces the old."""
    rung = asyncio.Event()
    try:
        alarm = kind(asyncio.get_running_loop(), rung.set)
    except AttributeError:
        pytest.skip("this platform has no timerfd")
    alarm.set(time.monotonic_ns() + 3600 * S)
    alarm.set(1)
    await asyncio.wait_for(rung.wait(), 10)
    rung.clear()
    alarm.set(1)
    alarm.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not rung.is_set()
    alarm.close()
    alarm.close()
