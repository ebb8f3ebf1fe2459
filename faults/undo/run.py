"""Executing an undo until the target is verifiably clean. Synchronous; used by the guardian, sweeps and sessions.

A dead runner's last request may still be on its way: a delete can overtake the create it is meant for. So one round is
undo, then ask; it counts as clean when the target says so, and the work is done only after two clean rounds
`SETTLE_NS` apart, the second of which had nothing left to remove.

A round that fails (time-out, error status) starts the count again. After `PATIENCE` failed rounds in a row the undo's
fallback is executed, once. The caller bounds the whole by `give_up_ns`; afterwards the outcome says "not verified", and
the journal keeps the fault for the next sweep.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from faults.undo.model import Undo
from faults.undo.toxiproxy import UndoFailed

__all__ = ["PATIENCE", "RETRY_NS", "SETTLE_NS", "UndoKind", "UndoOutcome", "undo_until_clean"]

SETTLE_NS: Final = 500_000_000
RETRY_NS: Final = 200_000_000
PATIENCE: Final = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UndoKind:
    """One entry of the registry.

    `undo` applies the inverse, idempotently, and returns whether there was anything to undo; `is_clean` asks the
    target. Both raise UndoFailed when they cannot know. Each call is bounded to a few seconds by its own time-outs.
    """

    kind: str
    undo: Callable[[Undo], bool]
    is_clean: Callable[[Undo], bool]


@dataclass(frozen=True, slots=True)
class UndoOutcome:
    """What became of one undo. Intervals are CLOCK_MONOTONIC nanoseconds [lo, hi].

    `healed` brackets the request that took the fault away (or, had it gone before, the first that found it gone);
    `verified` the last look that found it clean. `remark` is what is worth telling besides, such as a target that is gone.
    """

    clean: bool
    healed: tuple[int, int] | None
    verified: tuple[int, int] | None
    rounds: int
    fallback_used: bool = False
    error: str | None = None
    remark: str | None = None


@dataclass(slots=True)
class _Progress:
    rounds: int = 0
    streak: int = 0
    failures: int = 0
    fallback_used: bool = False
    healed: tuple[int, int] | None = None
    verified: tuple[int, int] | None = None
    error: str | None = None

    def outcome(self) -> UndoOutcome:
        clean = self.streak >= 2
        return UndoOutcome(clean, self.healed, self.verified, self.rounds, self.fallback_used, self.error)


def undo_until_clean(
    undo: Undo,
    *,
    registry: Mapping[str, UndoKind],
    clock_ns: Callable[[], int],
    sleep_s: Callable[[float], None],
    give_up_ns: int,
) -> UndoOutcome:
    """Execute `undo` until it is verified clean twice, or until `give_up_ns` on `clock_ns`. Never raises."""
    kind = registry.get(undo.kind)
    if kind is None:
        return UndoOutcome(
            clean=False, healed=None, verified=None, rounds=0, error=f"unknown undo kind {undo.kind!r}"
        )
    progress = _Progress()
    while True:
        _round(kind, undo, progress, clock_ns)
        if progress.streak >= 2 or clock_ns() >= give_up_ns:
            return progress.outcome()
        if progress.failures >= PATIENCE and undo.fallback is not None and not progress.fallback_used:
            _fall_back(undo.fallback, registry, progress)
        sleep_s((SETTLE_NS if progress.streak else RETRY_NS) / 1e9)


def _round(kind: UndoKind, undo: Undo, progress: _Progress, clock_ns: Callable[[], int]) -> None:
    progress.rounds += 1
    lo_ns = clock_ns()
    try:
        removed = kind.undo(undo)
        hi_ns = clock_ns()
        if removed or progress.healed is None:
            progress.healed = (lo_ns, hi_ns)
        asked_ns = clock_ns()
        clean = kind.is_clean(undo)
    except Exception as error:  # noqa: BLE001 - whatever an executor meets, the next round must still be tried
        progress.error = (
            f"{type(error).__name__}: {error}" if not isinstance(error, UndoFailed) else str(error)
        )
        progress.failures += 1
        progress.streak = 0
        _log.warning("undo %s, round %d: %s", undo.kind, progress.rounds, progress.error)
        return
    progress.failures = 0
    if not clean:
        progress.streak = 0
        progress.error = "the fault is still in place after its undo"
        return
    progress.verified = (asked_ns, clock_ns())
    progress.error = None
    # Removing something restarts the count: whoever put it there may have more on its way.
    progress.streak = 1 if removed else progress.streak + 1


def _fall_back(fallback: Undo, registry: Mapping[str, UndoKind], progress: _Progress) -> None:
    progress.fallback_used = True
    kind = registry.get(fallback.kind)
    if kind is None:
        _log.error("unknown fallback undo kind %r", fallback.kind)
        return
    try:
        kind.undo(fallback)
    except Exception as error:  # noqa: BLE001 - a failed fallback leaves the retries of the undo itself
        _log.warning("fallback %s: %s: %s", fallback.kind, type(error).__name__, error)
