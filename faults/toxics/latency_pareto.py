"""latency_pareto: never shorter than `minimum`, and a heavy tail: one of a hundred above `p99`. Beyond Toxiproxy.

P(delay > x) = (minimum / x) ** shape with shape = ln(100) / ln(p99 / minimum), so the tail is as heavy as the two
attributes say. No delay is longer than `maximum`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS
from faults.toxics.delaying import Delaying

__all__ = ["LatencyPareto"]


@dataclass(frozen=True, slots=True)
class LatencyPareto(Delaying):
    """Delay by `minimum` ms or more, `p99` ms at the 99th percentile, `maximum` ms at most."""

    minimum: int = 1
    p99: int = 1
    maximum: int = 60_000

    kind: ClassVar[str] = "latency_pareto"

    def problems(self) -> tuple[str, ...]:
        """Refuse what is no such distribution."""
        found = []
        if self.minimum < 1:
            found.append("minimum must be at least 1")
        if self.p99 < self.minimum:
            found.append("p99 must not be less than minimum")
        if self.maximum < self.p99:
            found.append("maximum must not be less than p99")
        return tuple(found)

    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:  # noqa: ARG002 - the same at any time
        """Draw a delay: the inverse of the distribution at a uniform share."""
        one_by_shape = math.log(self.p99 / self.minimum) / math.log(100)
        exponent = min(-math.log(1.0 - rng.random()) * one_by_shape, math.log(self.maximum / self.minimum))
        return round(self.minimum * MS_NS * math.exp(exponent))
