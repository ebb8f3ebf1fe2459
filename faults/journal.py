"""The write-ahead undo journal: what must be undone, on disk before it is done.

One file a session, `<state_dir>/sessions/<session>.jsonl`: JSON objects, one a line, each flushed to the disk (fsync)
before its append returns. Kinds: `session` (first line), `intent` (a fault may be put in from now on; holds its exact
inverse), `step` (what happened), `tombstone` (verified gone), `unhealed` (given up for now). Nothing is ever rewritten.

    intent ──▶ step* ──▶ tombstone          an intent without a tombstone is live, whatever else is written
                └─────▶ unhealed            still live: the next sweep tries again

Runner and guardian share one open file description, so they append to it alike and its `flock` lasts until both are
dead. A line torn by a kill is skipped by readers, and the next append starts on a fresh line. Each target has a lock
file beside them, held the same way: two sessions never work on one target.

Secrets are redacted on the way in. An undo must stay exact, so an undo that would change by redaction is refused.

Not covered: a state directory on a file system without working flock or fsync, and two users' state directories.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from faults.errors import JournalError
from faults.redact import redact

__all__ = [
    "JOURNAL_VERSION",
    "Intent",
    "Journal",
    "default_state_dir",
    "live_intents",
    "open_target_lock",
    "parse_lines",
    "read_journal",
    "target_lock_path",
    "try_lock",
]

JOURNAL_VERSION: Final = 1
_KEPT_DONE: Final = 50

_log = logging.getLogger(__name__)

Record = dict[str, Any]


COPY_NAME: Final = "faults.jsonl"
"""The journal's name in a run's folder."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A fault that may be in place. `ticket` numbers the intents of one journal, so an id may come again."""

    ticket: int
    fault_id: str
    undo: Mapping[str, Any]
    deadline_ns: int


def parse_lines(text: str) -> list[Record]:
    """Return the records of a journal's text. Lines that are no JSON object of a known version are skipped (torn)."""
    records = []
    for line in text.split("\n"):
        with contextlib.suppress(ValueError, RecursionError):  # torn, or nested deeper than anything of ours
            value = json.loads(line)
            if isinstance(value, dict) and value.get("v") == JOURNAL_VERSION:
                records.append(value)
    return records


def live_intents(records: Iterable[Record]) -> list[Intent]:
    """Return the intents without a tombstone, in the order in which they were written."""
    live: dict[int, Intent] = {}
    for record in records:
        match record:
            case {
                "kind": "intent",
                "ticket": int(ticket),
                "fault_id": str(fault_id),
                "undo": dict(undo),
                "deadline_ns": int(deadline_ns),
            }:
                live[ticket] = Intent(ticket, fault_id, undo, deadline_ns)
            case {"kind": "tombstone", "ticket": int(ticket)}:
                live.pop(ticket, None)
    return list(live.values())


def read_journal(path: Path) -> list[Record]:
    """Return the records of the journal at `path`; bytes that are no UTF-8 only spoil their own line."""
    return parse_lines(path.read_text(encoding="utf-8", errors="replace"))


def default_state_dir() -> Path:
    """Return where journals live for this user: the environment's word, XDG, the home directory, or a temporary one."""
    if named := os.environ.get("CHAOS_SPIKE_STATE_DIR"):
        return Path(named).expanduser().absolute()
    if xdg := os.environ.get("XDG_STATE_HOME"):
        return Path(xdg).absolute() / "chaos-spike"
    with contextlib.suppress(RuntimeError):
        home = Path.home()
        if home.is_dir() and os.access(home, os.W_OK):
            return home / ".local" / "state" / "chaos-spike"
    return Path(tempfile.gettempdir()) / f"chaos-spike-{os.getuid()}"


class Journal:
    """Appends to one journal. Made by `create` (the runner), `adopt` (the guardian) or `open_dead` (a sweep)."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    @classmethod
    def create(cls, state_dir: Path, session: str, header: Mapping[str, Any]) -> Self:
        """Create, lock and head the journal of a new session. Raises JournalError."""
        folder = state_dir / "sessions"
        path = folder / f"{session}.jsonl"
        # A sweep looks for *.jsonl: under its final name the file is locked and headed from the first moment.
        draft = folder / f".{session}.draft"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(draft, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(
                f"no undo journal can be kept in {folder}: {error}; nothing is injected"
            ) from error
        journal = cls(fd, path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            journal.append("session", session=session, **header)
            draft.rename(path)
            _sync_folder(folder)
        except (OSError, JournalError) as error:
            journal.close()
            draft.unlink(missing_ok=True)
            if isinstance(error, JournalError):
                raise
            raise JournalError(
                f"no undo journal can be kept in {folder}: {error}; nothing is injected"
            ) from error
        return journal

    @classmethod
    def adopt(cls, fd: int, path: Path) -> Self:
        """Return the journal behind an inherited, already locked file descriptor."""
        return cls(fd, path)

    @classmethod
    def open_dead(cls, path: Path) -> Self | None:
        """Open and lock a journal that nobody holds any more; None while its runner or guardian lives.

        Raises OSError where it cannot be opened; FileNotFoundError when someone else has just archived it.
        """
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        if not try_lock(fd):
            os.close(fd)
            return None
        if not path.exists():
            os.close(fd)
            raise FileNotFoundError(path)
        return cls(fd, path)

    @property
    def fd(self) -> int:
        """The file descriptor, to be inherited by the guardian."""
        return self._fd

    def append(self, kind: str, **fields: Any) -> None:
        """Write one record and wait until the disk has it. Raises JournalError; the record may then be torn."""
        record = {"v": JOURNAL_VERSION, "kind": kind, **redact(fields)}
        if "undo" in fields and record.get("undo") != _plain(fields["undo"]):
            raise JournalError(
                "the undo holds a secret, which no journal may hold: hand it over as `Undo.secret`"
            )
        try:
            line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
            written = os.write(self._fd, self._mended() + line)
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes fitted")
            os.fsync(self._fd)
        except (OSError, ValueError, TypeError) as error:
            raise JournalError(
                f"the undo journal {self.path} cannot be written: {error}; nothing is injected"
            ) from error

    def records(self) -> list[Record]:
        """Return what has been written so far."""
        return read_journal(self.path)

    def archive(self) -> None:
        """Move a journal that has nothing live out of the sweeps' way; the newest few are kept for people to read."""
        done = self.path.parent.parent / "done"
        with contextlib.suppress(OSError):
            done.mkdir(mode=0o700, exist_ok=True)
            self.path.rename(done / self.path.name)
            for old in sorted(done.glob("*.jsonl"), key=lambda path: path.name)[:-_KEPT_DONE]:
                old.unlink(missing_ok=True)

    def link_into(self, folder: Path) -> None:
        """Let the journal appear in `folder`, too: what a guardian writes after its runner's death stands there as well.

        Where the two are on different file systems there is no link; `retire` copies then.
        """
        with contextlib.suppress(OSError):
            (folder / COPY_NAME).hardlink_to(self.path)

    def retire(self, copy_to: Path | None) -> bool:
        """Copy the journal into `copy_to`, and archive it if nothing in it is live; return whether it was archived."""
        if copy_to is not None:
            try:
                shutil.copyfile(self.path, copy_to / COPY_NAME)
            except shutil.SameFileError:
                pass
            except (
                OSError
            ) as error:  # such as a full disk where the record is: no reason to leave anything to a sweep
                _log.warning("the journal %s could not be copied to %s: %s", self.path, copy_to, error)
        try:
            if live_intents(self.records()):
                return False
        except OSError as error:
            _log.warning("the journal %s could not be put away: %s", self.path, error)
            return False
        self.archive()
        return True

    def close(self) -> None:
        """Let go of the file; its lock goes when the last holder does."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _mended(self) -> bytes:
        # A writer killed in the middle of a line must not spoil the next one.
        size = os.fstat(self._fd).st_size
        return b"\n" if size and os.pread(self._fd, 1, size - 1) != b"\n" else b""


def target_lock_path(state_dir: Path, target: str) -> Path:
    """Return the lock file of `target`: readable, and distinct for distinct targets."""
    digest = hashlib.sha256(target.encode()).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", str(redact(target)))[:60].strip("-.")
    return state_dir / "locks" / f"{readable}-{digest}.lock"


def open_target_lock(state_dir: Path, target: str) -> int:
    """Open (not lock) the lock file of `target`; the caller owns the descriptor. Raises JournalError."""
    path = target_lock_path(state_dir, target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"the lock {path} cannot be opened: {error}; nothing is injected") from error


def try_lock(fd: int) -> bool:
    """Take the exclusive lock of an open file, or return False because somebody else has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _plain(value: Any) -> Any:
    """Return `value` as it will come back from JSON."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
