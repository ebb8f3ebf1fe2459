"""Gives every Python that has this folder on PYTHONPATH a clock of its own: what a machine elsewhere has, on this one.

SHIFTED_CLOCK_MS is how far its CLOCK_MONOTONIC is ahead (behind, where it is negative). Where SHIFTED_CLOCK_WHEN names a file,
the clock is right until that file exists, and jumps then. Imported by Python itself, before anything takes a stamp.
"""

import ctypes
import os
import time

_true_ns = time.monotonic_ns
_ahead_ns = int(float(os.environ.get("SHIFTED_CLOCK_MS", "0")) * 1_000_000)
_when = os.environ.get("SHIFTED_CLOCK_WHEN")
_LOOK_AGAIN_NS = 20_000_000


class _Clock:
    """CLOCK_MONOTONIC of a machine that is not this one."""

    def __init__(self):
        self.jumped = _when is None
        self.looked_ns = 0

    def __call__(self):
        now_ns = _true_ns()
        if not self.jumped and now_ns - self.looked_ns > _LOOK_AGAIN_NS:
            self.looked_ns = now_ns
            self.jumped = os.access(_when, os.F_OK)
        return now_ns + _ahead_ns if self.jumped else now_ns


def _no_library(*_args, **_kwargs):
    raise OSError("timers that are set to an instant would ring by the true clock")


time.monotonic_ns = _Clock()
ctypes.PyDLL = _no_library
