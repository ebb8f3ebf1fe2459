"""Undoing what dead runners left behind: at every start, and on demand (`chaos-spike undo`).

A journal whose lock is free belongs to nobody any more: its runner and its guardian are both dead (killed together, or
the host lost power). The sweep takes the lock, undoes every live intent until it is verified clean, writes tombstones
and archives the journal. A journal that is held is left alone, except for faults whose maximum duration ended more than
`OVERDUE_NS` ago: then its guardian is dead and its runner frozen, and no fault may be in place that late.

Synchronous. Faults of one journal are undone side by side, so one frozen target costs its own time-outs only.
"""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults.errors import JournalError
from faults.guardian import outcome_fields
from faults.journal import Intent, Journal, live_intents, open_target_lock, read_journal, try_lock
from faults.undo import UNDO_KINDS, Undo, UndoOutcome, undo_until_clean

__all__ = ["OVERDUE_NS", "SweptFault", "overdue", "sweep"]

OVERDUE_NS: Final = 15_000_000_000
_GIVE_UP_NS: Final = 5_000_000_000
_WORKERS: Final = 8
_TOKEN_VARIABLE: Final = "CHAOS_SPIKE_PROXY_TOKEN"  # noqa: S105 - the name of a variable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SweptFault:
    """One fault found without a tombstone. `clean` says that it is verified as gone; else `error` says why not."""

    session: str
    target: str
    fault_id: str
    undo: Undo
    clean: bool
    error: str | None
    journal: Path


def overdue(intents: Sequence[Intent], now_ns: int) -> list[Intent]:
    """Return the intents that cannot be in anybody's care any more, whoever holds their journal."""
    return [intent for intent in intents if now_ns >= intent.deadline_ns + OVERDUE_NS]


def sweep(state_dir: Path) -> list[SweptFault]:
    """Undo what dead runners left in `state_dir`; return every fault that was found, healed or not.

    Tokens are not in journals: where a server wants one, it is taken from CHAOS_SPIKE_PROXY_TOKEN. Raises OSError only
    where the directory exists and cannot be read.
    """
    folder = state_dir / "sessions"
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        try:
            found += _sweep_journal(state_dir, path)
        except FileNotFoundError:
            continue  # another sweep was faster
        except (OSError, JournalError):
            _log.exception("the journal %s could not be swept", path)
    return found


def _sweep_journal(state_dir: Path, path: Path) -> list[SweptFault]:
    journal = Journal.open_dead(path)
    if journal is None:
        return _sweep_held(path)
    lock_fd = None
    try:
        records = journal.records()
        header = _header(records, path)
        live = live_intents(records)
        if live:
            lock_fd = open_target_lock(state_dir, header[1])
            if not try_lock(lock_fd):
                return [_left(header, intent, path, "another session is using its target") for intent in live]
        swept = _undo_all(journal, header, live)
        if all(each.clean for each in swept):
            journal.archive()
        return swept
    finally:
        journal.close()
        if lock_fd is not None:
            os.close(lock_fd)


def _sweep_held(path: Path) -> list[SweptFault]:
    records = read_journal(path)
    late = overdue(live_intents(records), time.monotonic_ns())
    if not late:
        return []
    # Appending needs no lock: records are whole lines, and a second tombstone changes nothing.
    journal = Journal(os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC), path)
    try:
        return _undo_all(journal, _header(records, path), late)
    finally:
        journal.close()


def _undo_all(journal: Journal, header: tuple[str, str], intents: Sequence[Intent]) -> list[SweptFault]:
    if not intents:
        return []
    with ThreadPoolExecutor(max_workers=min(_WORKERS, len(intents)), thread_name_prefix="sweep") as pool:
        outcomes = list(pool.map(_undo, intents))
    swept = []
    for intent, outcome in zip(intents, outcomes, strict=True):
        try:
            journal.append(
                "tombstone" if outcome.clean else "unhealed",
                ticket=intent.ticket,
                fault_id=intent.fault_id,
                by="sweep",
                reason="left_behind",
                **outcome_fields(outcome),
            )
        except JournalError as error:
            _log.warning("%s", error)  # healed is healed: the next sweep does it once more, harmlessly
        swept.append(
            SweptFault(
                *(header[0], header[1], intent.fault_id, _undo_of(intent), outcome.clean, outcome.error),
                journal=journal.path,
            )
        )
    return swept


def _undo(intent: Intent) -> UndoOutcome:
    return undo_until_clean(
        _undo_of(intent),
        registry=UNDO_KINDS,
        clock_ns=time.monotonic_ns,
        sleep_s=time.sleep,
        give_up_ns=time.monotonic_ns() + _GIVE_UP_NS,
    )


def _undo_of(intent: Intent) -> Undo:
    try:
        return Undo.from_json(intent.undo, secret=os.environ.get(_TOKEN_VARIABLE))
    except ValueError:
        return Undo("unreadable", dict(intent.undo))


def _left(header: tuple[str, str], intent: Intent, path: Path, why: str) -> SweptFault:
    return SweptFault(*header, intent.fault_id, _undo_of(intent), clean=False, error=why, journal=path)


def _header(records: Sequence[dict[str, Any]], path: Path) -> tuple[str, str]:
    """Return session and target as the journal's first line names them."""
    first = next((record for record in records if record.get("kind") == "session"), {})
    return str(first.get("session", path.stem)), str(first.get("target", ""))
