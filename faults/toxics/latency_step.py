"""latency_step: the delay is `low` for half of every `period`, and `high` for the other half. Beyond Toxiproxy.

The wave starts with `low` when the toxic comes to the proxy and is the same for all its connections.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS
from faults.toxics.delaying import Delaying

__all__ = ["LatencyStep"]


@dataclass(frozen=True, slots=True)
class LatencyStep(Delaying):
    """Delay by `low` ms, then by `high` ms, each for half of `period` ms."""

    low: int = 0
    high: int = 0
    period: int = 10_000

    kind: ClassVar[str] = "latency_step"

    def problems(self) -> tuple[str, ...]:
        """Refuse negative times; the step may go down."""
        found = [f"{name} must not be negative" for name in ("low", "high") if getattr(self, name) < 0]
        if self.period < 1:
            found.append("period must be at least 1")
        return tuple(found)

    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:  # noqa: ARG002 - nothing is left to chance
        """Return the step of this moment."""
        period_ns = self.period * MS_NS
        return (self.low if elapsed_ns % period_ns * 2 < period_ns else self.high) * MS_NS
