"""latency_normal: delays are drawn from the normal distribution; negative ones are zero. Beyond Toxiproxy."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS
from faults.toxics.delaying import Delaying

__all__ = ["LatencyNormal"]


@dataclass(frozen=True, slots=True)
class LatencyNormal(Delaying):
    """Delay by `mean` ms with a standard deviation of `deviation` ms."""

    mean: int = 0
    deviation: int = 0

    kind: ClassVar[str] = "latency_normal"

    def problems(self) -> tuple[str, ...]:
        """Refuse negative times."""
        return tuple(
            f"{name} must not be negative" for name in ("mean", "deviation") if getattr(self, name) < 0
        )

    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:  # noqa: ARG002 - the same at any time
        """Draw a delay."""
        return round(rng.gauss(self.mean * MS_NS, self.deviation * MS_NS))
