"""latency_lognormal: delays as services really have them, most near `median`, one of a hundred above `p99`.

Beyond Toxiproxy. ln(delay) is normal with mean ln(median) and deviation ln(p99 / median) / z(0.99); no delay is longer
than `maximum`.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS
from faults.toxics.delaying import Delaying

__all__ = ["LatencyLognormal"]

_Z99 = 2.3263478740408408  # the 0.99 quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class LatencyLognormal(Delaying):
    """Delay by `median` ms in the middle, `p99` ms at the 99th percentile, `maximum` ms at most."""

    median: int = 1
    p99: int = 1
    maximum: int = 60_000

    kind: ClassVar[str] = "latency_lognormal"

    def problems(self) -> tuple[str, ...]:
        """Refuse what is no such distribution."""
        found = []
        if self.median < 1:
            found.append("median must be at least 1")
        if self.p99 < self.median:
            found.append("p99 must not be less than median")
        if self.maximum < self.p99:
            found.append("maximum must not be less than p99")
        return tuple(found)

    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:  # noqa: ARG002 - the same at any time
        """Draw a delay."""
        deviation = math.log(self.p99 / self.median) / _Z99
        # Far out in the tail the exponential overflows; beyond 20 deviations nothing is ever drawn anyway.
        exponent = min(rng.gauss(0.0, deviation), math.log(self.maximum / self.median))
        return round(self.median * MS_NS * math.exp(exponent))
