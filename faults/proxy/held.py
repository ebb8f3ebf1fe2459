"""The memory bound over all links of a process: bytes that toxics hold back, counted together.

What counts is what a chain holds, and what it let go to a client that does not read (the transport's backlog).
Each link has a cap of its own (the chain pauses its source there). Over the process cap, every link that grows
is paused as well, until the total has fallen to three quarters; but a link that holds next to nothing goes on whatever the
others do, so that clients that stopped reading cannot bring those that read to a halt.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["DEFAULT_LINK_CAP_BYTES", "DEFAULT_PROCESS_CAP_BYTES", "HeldBudget", "Holder"]

# 100 ms of latency at 300 MB/s must fit, or the latency toxic would cut bandwidth.
DEFAULT_LINK_CAP_BYTES = 32 * 1024 * 1024
DEFAULT_PROCESS_CAP_BYTES = 256 * 1024 * 1024
_ALWAYS_BYTES = 256 * 1024  # one read, which is what a link without toxics may have on its way as well


class Holder(Protocol):
    """A link that holds bytes."""

    def hold_for_budget(self) -> None:
        """Stop reading the source."""

    def release_for_budget(self) -> None:
        """Read the source again."""


class HeldBudget:
    """Counts held bytes of a process and pauses the links that grow beyond `cap_bytes`."""

    def __init__(self, cap_bytes: int = DEFAULT_PROCESS_CAP_BYTES) -> None:
        self.cap_bytes = cap_bytes
        self.total_bytes = 0
        self._paused: set[Holder] = set()

    def change(self, holder: Holder, before_bytes: int, now_bytes: int) -> None:
        """Note that `holder` held `before_bytes` and holds `now_bytes`."""
        self.total_bytes += now_bytes - before_bytes
        if now_bytes > before_bytes and self.total_bytes > self.cap_bytes and now_bytes > _ALWAYS_BYTES:
            if holder not in self._paused:
                self._paused.add(holder)
                holder.hold_for_budget()
        elif self._paused and self.total_bytes <= self.cap_bytes * 3 // 4:
            paused, self._paused = self._paused, set()
            for waiting in paused:
                waiting.release_for_budget()
        elif holder in self._paused and now_bytes <= _ALWAYS_BYTES // 2:
            self._paused.discard(holder)
            holder.release_for_budget()

    def forget(self, holder: Holder) -> None:
        """Drop a link that is gone; what it held must have been given back by `change`."""
        self._paused.discard(holder)
