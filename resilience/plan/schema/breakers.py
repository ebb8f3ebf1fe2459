"""Circuit breakers that a run follows: their specification and where evidence comes from."""

from __future__ import annotations

from typing import Any, Literal

from resilience.plan.fields import (
    Name,
    PositiveNs,
)
from resilience.plan.schema.base import Model


class Observe(Model):
    """Where evidence about a breaker comes from."""

    events: bool = True
    poll: PositiveNs | None = 200_000_000
    wire: Name | None = None


class Breaker(Model):
    """A circuit breaker to follow: its specification and the calls that pass it."""

    spec: dict[str, Any] | Literal["lab"] = "lab"
    dialect: Name | None = None
    observe: Observe = Observe()
    load: Name
    header: str = "X-Instance"
