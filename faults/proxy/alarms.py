"""Alarms to the microsecond, for all links of a process: one heap, one timer of the kernel.

Event loops round timers to whole milliseconds, which a latency toxic of a few milliseconds cannot afford. Where
the kernel has timerfd (Linux), one descriptor is armed for the earliest alarm and read by the loop; all alarms that are due
then ring together, so that a thousand links cost one wake. Elsewhere `call_later` is used, rounded up.

An alarm rings once, never early, and late by as long as the loop is busy. Where very many are due at once they ring for
`TURN_NS`, then everybody else in the loop has a turn, the admin API included. Cancelled ones leave the heap when their time
comes. The descriptor is opened with the first alarm.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import heapq
import itertools
import os
import sys
import time
from collections.abc import Callable

__all__ = ["TURN_NS", "Alarm", "Alarms"]

TURN_NS = 1_000_000

_NONBLOCKING = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_ABSOLUTE = 1
_SECOND_NS = 1_000_000_000


class _Spec(ctypes.Structure):
    """struct itimerspec: interval, then the time of the alarm."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("at_s", ctypes.c_long),
        ("at_ns", ctypes.c_long),
    )


class Alarm:
    """One call at one time; `cancel` takes it back."""

    __slots__ = ("at_ns", "callback")

    def __init__(self, at_ns: int, callback: Callable[[], None]) -> None:
        self.at_ns = at_ns
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not ring."""
        self.callback = None


class Alarms:
    """Sets alarms in the running loop; close it in the end."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Alarm]] = []
        self._count = itertools.count()
        self._timer: _KernelTimer | _LoopTimer | None = None

    def set(self, at_ns: int, callback: Callable[[], None]) -> Alarm:
        """Call `callback` at that nanosecond of CLOCK_MONOTONIC, or soon if that has passed."""
        alarm = Alarm(at_ns, callback)
        heapq.heappush(self._heap, (at_ns, next(self._count), alarm))
        if self._heap[0][2] is alarm:
            if self._timer is None:
                self._timer = _timer(self._ring)
            self._timer.arm(at_ns)
        return alarm

    def _ring(self) -> None:
        heap = self._heap
        now_ns = time.monotonic_ns()
        until_ns = now_ns + TURN_NS
        while heap and now_ns < until_ns and (heap[0][2].callback is None or heap[0][0] <= now_ns):
            alarm = heapq.heappop(heap)[2]
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                callback()
                now_ns = time.monotonic_ns()
        if heap and self._timer is not None:
            self._timer.arm(heap[0][0])

    def close(self) -> None:
        """Ring no more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.close()
            self._timer = None


def _timer(ring: Callable[[], None]) -> _KernelTimer | _LoopTimer:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError, NotImplementedError):
            return _KernelTimer(ring)
    return _LoopTimer(ring)


class _KernelTimer:
    """A timerfd in the running loop."""

    def __init__(self, ring: Callable[[], None]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Spec), ctypes.c_void_p)
        descriptor = libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCKING)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._descriptor = descriptor
        self._spec = _Spec()
        self._pointer = ctypes.pointer(self._spec)
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        try:
            self._loop.add_reader(descriptor, self._rang)
        except BaseException:
            os.close(descriptor)
            raise

    def arm(self, at_ns: int) -> None:
        """Ring at that time instead of any other."""
        at_ns = max(1, at_ns)  # zero would disarm it
        self._spec.at_s, self._spec.at_ns = divmod(at_ns, _SECOND_NS)
        self._settime(self._descriptor, _ABSOLUTE, self._pointer, None)

    def _rang(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return  # it was armed for another time after the loop had seen it
        self._ring()

    def close(self) -> None:
        """Give the descriptor back."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


class _LoopTimer:
    """`call_later`, rounded up to whole milliseconds, the grain of event loops."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None

    def arm(self, at_ns: int) -> None:
        """Ring at that time instead of any other."""
        self.close()
        delay_ms = max(0, -((time.monotonic_ns() - at_ns) // 1_000_000))
        self._handle = self._loop.call_later(delay_ms / 1000, self._ring)

    def close(self) -> None:
        """Take the call back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
