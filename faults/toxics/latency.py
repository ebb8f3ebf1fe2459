"""latency: every chunk leaves a given time after it was read, uniformly in [latency - jitter, latency + jitter) ms.

Negative delays are zero. How chunks wait is in `delaying.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.base import MS_NS
from faults.toxics.delaying import Delaying

__all__ = ["Latency"]


@dataclass(frozen=True, slots=True)
class Latency(Delaying):
    """Delay by `latency` ms, give or take `jitter` ms."""

    latency: int = 0
    jitter: int = 0

    kind: ClassVar[str] = "latency"

    def problems(self) -> tuple[str, ...]:
        """Refuse negative times."""
        return tuple(
            f"{name} must not be negative" for name in ("latency", "jitter") if getattr(self, name) < 0
        )

    def delay_ns(self, rng: random.Random, elapsed_ns: int) -> int:  # noqa: ARG002 - the same at any time
        """Draw a delay."""
        delay_ns = self.latency * MS_NS
        if self.jitter > 0:
            delay_ns += rng.randrange(-self.jitter * MS_NS, self.jitter * MS_NS)
        return delay_ns
