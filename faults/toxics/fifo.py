"""A persistent first-in first-out queue, so that the state of a toxic can be a value and still grow cheaply.

Two linked lists: `front` in the order of leaving, `rear` reversed. Pushing is one cell; popping reverses the
rear once it is needed, so each item is moved at most once: O(1) amortised. A queue never changes; states that
share cells are independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Fifo"]

T = TypeVar("T")

_Cell = tuple[T, "_Cell[T] | None"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Fifo(Generic[T]):
    """An immutable queue. Made empty with `Fifo()`."""

    front: _Cell[T] | None = None
    rear: _Cell[T] | None = None

    def __bool__(self) -> bool:
        return self.front is not None

    def push(self, item: T) -> Fifo[T]:
        """Return this queue with `item` at its end."""
        if self.front is None:
            return Fifo((item, None), None)
        return Fifo(self.front, (item, self.rear))

    def peek(self) -> T:
        """Return the first item; the queue must not be empty."""
        assert self.front is not None
        return self.front[0]

    def pop(self) -> Fifo[T]:
        """Return this queue without its first item; the queue must not be empty."""
        assert self.front is not None
        rest = self.front[1]
        if rest is not None:
            return Fifo(rest, self.rear)
        turned: _Cell[T] | None = None
        cell = self.rear
        while cell is not None:
            turned = (cell[0], turned)
            cell = cell[1]
        return Fifo(turned, None)

    def __deepcopy__(self, memo: object) -> Fifo[T]:
        return self  # a value; copying the cells one inside the other would exhaust the stack

    def __repr__(self) -> str:
        return f"Fifo({list(self)!r})"

    def __iter__(self) -> Iterator[T]:
        queue = self
        while queue:
            yield queue.peek()
            queue = queue.pop()
