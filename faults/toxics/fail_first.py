"""fail_first: the first `connections` connections are reset before the upstream is dialled. Beyond Toxiproxy.

They are counted per proxy, from when the toxic came or the proxy came up, whichever is later. With a toxicity below 1, that
share of the first ones fails. It answers whether a client tries again, and whether it waits before it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from faults.toxics.noop import Noop

__all__ = ["FailFirst"]


@dataclass(frozen=True, slots=True)
class FailFirst(Noop):
    """Reset the first `connections` connections."""

    connections: int = 1

    kind: ClassVar[str] = "fail_first"

    def problems(self) -> tuple[str, ...]:
        """Refuse a negative number."""
        return ("connections must not be negative",) if self.connections < 0 else ()

    def refuses(self, nth: int) -> bool:
        """Only the first ones."""
        return nth <= self.connections

    def is_shut(self) -> bool:
        """The ones after them get through."""
        return False
