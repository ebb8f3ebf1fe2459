"""The one place of the run that reads clocks and sleeps.

Offsets of the plan are relative to an epoch on CLOCK_MONOTONIC, which all processes of a host share.
"""

from __future__ import annotations

import asyncio
import time


def now_ns() -> int:
    """CLOCK_MONOTONIC in nanoseconds."""
    return time.monotonic_ns()


async def sleep_until(deadline_ns: int) -> None:
    """Sleep until the monotonic deadline; event loop timers may fire a little early, so the rest is waited for."""
    while (left_ns := deadline_ns - time.monotonic_ns()) > 0:  # noqa: ASYNC110 - a clock, not a state, is awaited
        await asyncio.sleep(left_ns / 1e9)
