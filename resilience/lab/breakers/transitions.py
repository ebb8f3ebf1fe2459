"""The bounded log of one instance's breaker transitions, and how readers follow it.

Entries are numbered from 1 without gaps, so a reader that was away asks for what came after the last number it has, and
can tell from the numbers when the ring has forgotten some. A reader never holds up the breaker: `record` only appends
and wakes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

RING_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Transition:
    """`breaker` went from `source` to `target` somewhere in [since_ns, at_ns], known at `at_ns`."""

    seq: int
    breaker: str
    source: str
    target: str
    since_ns: int
    at_ns: int

    def to_json(self, instance: str, boot: str) -> dict[str, Any]:
        """As `/breakers/events` sends it."""
        return {
            "seq": self.seq,
            "breaker": self.breaker,
            "instance": instance,
            "boot": boot,
            "from": self.source,
            "to": self.target,
            "at_ns": self.at_ns,
            "since_ns": self.since_ns,
        }


class TransitionLog:
    """A ring of transitions on one event loop."""

    def __init__(self, size: int = RING_SIZE) -> None:
        self._ring: deque[Transition] = deque(maxlen=size)
        self._seq = 0
        self._grown = asyncio.Event()

    @property
    def last_seq(self) -> int:
        """The number of the newest entry, 0 before the first."""
        return self._seq

    def record(self, breaker: str, source: str, target: str, since_ns: int, at_ns: int) -> None:
        """Append one transition and wake whoever waits."""
        self._seq += 1
        self._ring.append(Transition(self._seq, breaker, source, target, since_ns, at_ns))
        self._grown.set()
        self._grown = asyncio.Event()

    def after(self, seq: int) -> list[Transition]:
        """Every transition that is still remembered and newer than `seq`, oldest first."""
        return [transition for transition in self._ring if transition.seq > seq]

    async def wait_after(self, seq: int, timeout_s: float) -> list[Transition]:
        """Like `after`, but waits up to `timeout_s` for the first; empty if there was none."""
        if self._seq <= seq:
            grown = self._grown
            try:
                async with asyncio.timeout(timeout_s):
                    await grown.wait()
            except TimeoutError:
                return []
        return self.after(seq)
