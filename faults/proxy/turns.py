"""Turns: a flood on some connections does not keep the loop from everybody else, the admin API included.

An event loop reads every socket that has something, a quarter of a megabyte or more each, before it looks at anything
else; a thousand busy ones take it half a second. So reads are counted over all connections. Once `TURN_BYTES` were read, a
callback is scheduled for the end of this round of the loop; sides that read `TURN_BYTES` more before it ran are parked, and each
further round lets some of them go on: one at first, twice as many where those before had little to read. A few busy connections never come
to that, and what they pay is a subtraction for each read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

__all__ = ["TURN_BYTES", "Parked", "Turns"]

TURN_BYTES = 256 * 1024
_SIDES = 1  # that goes on in a round at least: a full read is TURN_BYTES
_MOST_SIDES = 256


class Parked(Protocol):
    """A side that can be kept waiting."""

    def park(self) -> None:
        """Stop reading."""

    def unpark(self) -> None:
        """Read again."""


class Turns:
    """Shared by the connections of a process; `left_bytes` is counted down by whoever reads."""

    def __init__(self) -> None:
        self.left_bytes = TURN_BYTES
        self._parked: deque[Parked] = deque()
        self._handle: asyncio.Handle | None = None
        self._sides = _SIDES

    def exhausted(self, side: Parked) -> None:
        """Note that nothing is left; park a side that goes on reading in the same round."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._next)
            self.left_bytes = TURN_BYTES
            return
        side.park()
        self._parked.append(side)

    def _next(self) -> None:
        self._handle = None
        was_quiet = self.left_bytes > TURN_BYTES // 2
        self._sides = min(self._sides * 2, _MOST_SIDES) if was_quiet else _SIDES
        self.left_bytes = TURN_BYTES
        for _ in range(min(self._sides, len(self._parked))):
            self._parked.popleft().unpark()
        if self._parked:
            self._handle = asyncio.get_running_loop().call_soon(self._next)
