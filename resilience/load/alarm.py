"""A timer that rings at a nanosecond stamp of CLOCK_MONOTONIC, not at the next millisecond.

Theory of operation. Event loop timers count in milliseconds, ring up to a quarter of one early, and would add their grain to
every response time. On Linux a timerfd, armed with the absolute time, wakes the loop within some 50 microseconds; arming it
also clears its readable state, so an alarm costs one system call. Elsewhere `call_later` serves, never with less than a
millisecond (a zero delay would spin). Whoever is woken looks at the clock and does what is due: an early ring is harmless.

What it deliberately does not do: spin, or count rings.
"""

import ctypes
import os
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from time import CLOCK_MONOTONIC, monotonic_ns

_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_TFD_TIMER_ABSTIME = 1
_SECOND_NS = 10**9


class _Timespecs(ctypes.Structure):
    """struct itimerspec."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class LoopAlarm:
    """An alarm on the event loop's own timers."""

    def __init__(self, loop: AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop = loop
        self._ring = ring
        self._handle: TimerHandle | None = None

    def set(self, at_ns: int) -> None:
        """Ring once at `at_ns`, or up to a millisecond later; replaces what was set before."""
        self.cancel()
        delay = max((at_ns - monotonic_ns()) / _SECOND_NS, 0.001)
        self._handle = self._loop.call_later(delay, self._ring)

    def cancel(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """Release everything."""
        self.cancel()


class TimerfdAlarm:
    """An alarm on a Linux timerfd. Raises OSError where there is none."""

    def __init__(self, loop: AbstractEventLoop, ring: Callable[[], None]) -> None:
        # PyDLL keeps the interpreter lock: arming takes a microsecond, giving the lock away and back takes longer.
        libc = ctypes.PyDLL(None, use_errno=True)
        self._settime = libc.timerfd_settime
        self._fd: int = libc.timerfd_create(CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = loop
        self._ring = ring
        self._spec = _Timespecs(0, 0, 0, 0)
        self._pointer = ctypes.byref(self._spec)
        self._set = False
        loop.add_reader(self._fd, self._readable)

    def set(self, at_ns: int) -> None:
        """Ring once at `at_ns` (at once if that is past); replaces what was set before."""
        spec = self._spec
        spec.value_s, spec.value_ns = divmod(max(at_ns, 1), _SECOND_NS)
        self._set = True
        self._settime(self._fd, _TFD_TIMER_ABSTIME, self._pointer, None)

    def cancel(self) -> None:
        """Do not ring."""
        self._spec.value_s = self._spec.value_ns = 0
        self._settime(self._fd, 0, self._pointer, None)

    def close(self) -> None:
        """Release everything."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _readable(self) -> None:
        self._set = False
        self._ring()
        if not self._set:
            self.cancel()  # a callback that sets nothing must not leave a readable descriptor behind


Alarm = LoopAlarm | TimerfdAlarm


def make_alarm(loop: AbstractEventLoop, ring: Callable[[], None]) -> Alarm:
    """The finest alarm that this platform has."""
    try:
        return TimerfdAlarm(loop, ring)
    except (OSError, AttributeError, TypeError):  # no such call, or no such library
        return LoopAlarm(loop, ring)
