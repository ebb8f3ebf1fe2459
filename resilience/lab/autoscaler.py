"""When to start another gateway and when to take one out again: the decisions of the lab's autoscaler. Pure.

The load is measured, never told: answered requests, counted by the gateways themselves. Out: when the rate per gateway has been above
`per_gateway` for `out_after_s`. In: when one gateway fewer would have carried it easily (below `IN_SHARE` of that) for `in_after_s`. After each
step it waits until what it did can be seen in what it measures. One step, one gateway.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

IN_SHARE = 0.6
"""Of `per_gateway`: scaling in leaves the rest this idle, so that it does not scale out again at once."""

Step = Literal["out", "in"]


@dataclass(frozen=True, slots=True)
class AutoscalePolicy:
    """From `least` to `most` gateways, about `per_gateway` requests a second each. Times in seconds."""

    most: int
    per_gateway: float
    least: int = 1
    out_after_s: float = 2.0
    in_after_s: float = 4.0

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AutoscalePolicy:
        """The inverse of `to_json`."""
        return cls(**data)


class Autoscaler:
    """Looks at the count of answered requests, and says what to do. Times are seconds of any steady clock."""

    def __init__(self, policy: AutoscalePolicy) -> None:
        self._policy = policy
        self._looks: deque[tuple[float, float]] = deque()
        self._over_since_s: float | None = None
        self._under_since_s: float | None = None

    def look(self, at_s: float, answered: float, gateways: int) -> Step | None:
        """What to do about `gateways`, given that they have answered so many requests, all in all, until now."""
        rate = self._rate(at_s, answered)
        if rate is None:
            return None
        policy = self._policy
        over = rate > policy.per_gateway * gateways
        under = rate < policy.per_gateway * IN_SHARE * (gateways - 1)
        self._over_since_s = (
            (self._over_since_s if self._over_since_s is not None else at_s) if over else None
        )
        self._under_since_s = (
            (self._under_since_s if self._under_since_s is not None else at_s) if under else None
        )
        if self._over_since_s is not None and gateways < policy.most:
            return "out" if at_s - self._over_since_s >= policy.out_after_s else None
        if self._under_since_s is not None and gateways > policy.least:
            return "in" if at_s - self._under_since_s >= policy.in_after_s else None
        return None

    def stepped(self) -> None:
        """A step was taken: what was measured before says nothing about now."""
        self._looks.clear()
        self._over_since_s = self._under_since_s = None

    def _rate(self, at_s: float, answered: float) -> float | None:
        """Requests a second over the last second or so; None while it is too early to say."""
        if self._looks and answered < self._looks[-1][1]:
            self._looks.clear()  # a gateway has taken its count with it
        self._looks.append((at_s, answered))
        while len(self._looks) > 2 and at_s - self._looks[1][0] >= 1.0:
            self._looks.popleft()
        first_s, before = self._looks[0]
        return (answered - before) / (at_s - first_s) if at_s - first_s >= 0.5 else None
