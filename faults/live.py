"""One fault between its journal entry and its tombstone, and how a living runner takes it out."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from faults.nemesis import Nemesis, Remarking, Slow
from faults.undo import UNDO_KINDS, Undo, UndoOutcome, undo_until_clean

__all__ = ["LiveFault", "outcome_of_message", "take_out", "words"]

_HEAL_S: Final = 3.0
_GIVE_UP_NS: Final = 10_000_000_000

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class LiveFault:
    """A fault that may be in place. Only its session changes it.

    `certain`: the injecting request was answered, so nothing of ours is still on its way. `done`: it is verified as
    gone. `busy` serialises healing; `settled` is set when the guardian has ended an undo of its own accord.
    """

    ticket: int
    nemesis: Nemesis
    undo: Undo
    deadline_ns: int
    certain: bool = False
    done: bool = False
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def fault_id(self) -> str:
        """The id its nemesis was given."""
        return self.nemesis.fault_id


async def take_out(live: LiveFault) -> UndoOutcome:
    """Heal through the nemesis; by the plain undo where that fails, or where a request may still be under way.

    Raises nothing but cancellation. The undo runs in a thread, which a cancellation leaves to end by itself (10 s).
    """
    if live.certain:
        limit_s = live.nemesis.heal_timeout_s if isinstance(live.nemesis, Slow) else _HEAL_S
        try:
            async with asyncio.timeout(limit_s):
                lo_ns = time.monotonic_ns()
                await live.nemesis.heal()
                hi_ns = time.monotonic_ns()
                if await live.nemesis.verify_healed():
                    verified = (hi_ns, time.monotonic_ns())
                    remark = live.nemesis.remark if isinstance(live.nemesis, Remarking) else None
                    return UndoOutcome(
                        clean=True, healed=(lo_ns, hi_ns), verified=verified, rounds=1, remark=remark
                    )
        except Exception as error:  # noqa: BLE001 - a nemesis that fails to heal must not stop the undo
            _log.warning("healing %s failed (%s); trying its undo", live.fault_id, words(error))
    return await asyncio.to_thread(
        undo_until_clean,
        live.undo,
        registry=UNDO_KINDS,
        clock_ns=time.monotonic_ns,
        sleep_s=time.sleep,
        give_up_ns=time.monotonic_ns() + _GIVE_UP_NS,
    )


def outcome_of_message(message: Mapping[str, Any]) -> UndoOutcome:
    """Return what the guardian says of an undo."""
    return UndoOutcome(
        clean=message.get("clean") is True,
        healed=_interval(message.get("healed_at")),
        verified=_interval(message.get("verified_at")),
        rounds=int(message.get("rounds", 0)),
        error=message.get("error"),
    )


def words(error: BaseException) -> str:
    """Return an error as text that is never empty."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _interval(value: Any) -> tuple[int, int] | None:
    return (int(value[0]), int(value[1])) if isinstance(value, list) and len(value) == 2 else None
