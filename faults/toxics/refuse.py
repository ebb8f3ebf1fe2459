"""refuse: new connections are turned away; those that are open are left alone. Beyond Toxiproxy.

At toxicity 1 the proxy stops listening, so that clients get what a dead server gives: connection refused. Below it,
the chosen share of connections is accepted and reset at once, before the upstream is dialled: the kernel has
accepted a connection by the time that anybody can throw dice about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.noop import Noop

__all__ = ["Refuse"]


@dataclass(frozen=True, slots=True)
class Refuse(Noop):
    """Turn every connection away."""

    kind: ClassVar[str] = "refuse"

    def refuses(self, nth: int) -> bool:  # noqa: ARG002 - every one
        """Yes."""
        return True

    def is_shut(self) -> bool:
        """Yes."""
        return True
