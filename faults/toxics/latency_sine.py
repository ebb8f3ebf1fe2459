"""latency_sine: the delay swings between `low` and `high`, once every `period`. Beyond Toxiproxy.

The wave starts at `low` when the toxic comes to the proxy and is the same for all its connections.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS
from faults.toxics.delaying import Delaying

__all__ = ["LatencySine"]


@dataclass(frozen=True, slots=True)
class LatencySine(Delaying):
    """Delay by `low` to `high` ms and back in `period` ms."""

    low: int = 0
    high: int = 0
    period: int = 10_000

    kind: ClassVar[str] = "latency_sine"

    def problems(self) -> tuple[str, ...]:
        """Refuse what is no wave."""
        found = []
        if self.low < 0:
            found.append("low must not be negative")
        if self.high < self.low:
            found.append("high must not be less than low")
        if self.period < 1:
            found.append("period must be at least 1")
        return tuple(found)

    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:  # noqa: ARG002 - nothing is left to chance
        """Return the height of the wave: low + (high - low) * (1 - cos(2 pi t / period)) / 2."""
        turn = elapsed_ns % (self.period * MS_NS) / (self.period * MS_NS)
        share = (1.0 - math.cos(2.0 * math.pi * turn)) / 2.0
        return round((self.low + (self.high - self.low) * share) * MS_NS)
