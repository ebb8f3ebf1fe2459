"""What is new in a bounded ring that is read again and again, and whether anything was pushed out unread. Pure.

Entries carry no numbers. The end of the last reading is looked for at the beginning of the present one: what follows it is new. Where not a
single entry of the last reading is left, nobody knows how many came and went in between: that is a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Ring(Generic[T]):
    """Remembers the last reading, oldest entry first. None: nothing was read yet."""

    last: tuple[T, ...] | None = None

    def read(self, now: Sequence[T]) -> tuple[tuple[T, ...], bool]:
        """(new entries, oldest first; whether entries may have been lost). The first reading is old news."""
        last, self.last = self.last, tuple(now)
        if last is None:
            return (), False
        if not last:
            return self.last, False
        for overlap in range(min(len(last), len(self.last)), 0, -1):
            if last[-overlap:] == self.last[:overlap]:
                return self.last[overlap:], False
        return self.last, True
