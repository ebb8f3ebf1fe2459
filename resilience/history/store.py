"""The history of runs in one SQLite file: written in one transaction a run, so that a kill at any moment loses that run at most.

Write-ahead logging lets a reader look while a nightly job writes; `synchronous = FULL` means that a run that was added is
there after a power cut. Runs are never changed but for `accepted`, which a person sets. The file carries its version; a newer
one is refused rather than guessed at.

    runs     id, plan, plan_hash, fingerprint, started, verdict, stack, seed, folder, reference_from, note
    figures  run, name, value, unit, worse, place        value is null for "beyond what was watched"
"""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

from resilience.history.figures import Figure, Worse

VERSION = 1
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY, plan TEXT NOT NULL, plan_hash TEXT NOT NULL, fingerprint TEXT NOT NULL, started TEXT NOT NULL,
    verdict TEXT NOT NULL, stack TEXT NOT NULL, seed TEXT NOT NULL, folder TEXT NOT NULL,
    reference_from INTEGER NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE figures (
    run TEXT NOT NULL REFERENCES runs(id), place INTEGER NOT NULL, name TEXT NOT NULL, value REAL, unit TEXT NOT NULL,
    worse TEXT NOT NULL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (plan, started);
"""
_COLUMNS = "id, plan, plan_hash, fingerprint, started, verdict, stack, seed, folder, reference_from, note"


class HistoryError(Exception):
    """The history cannot be read or written: where, why, and what to do."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as the history keeps it. `started` is ISO 8601 in UTC; `reference_from`: the reference begins anew here."""

    run_id: str
    plan: str
    plan_hash: str
    fingerprint: str
    started: str
    verdict: str
    stack: str
    seed: str
    folder: str
    reference_from: bool
    note: str
    figures: tuple[Figure, ...]


def default_history_file(state_dir: Path) -> Path:
    """`$CHAOS_SPIKE_HISTORY`, else `history.sqlite` in the state directory."""
    named = os.environ.get("CHAOS_SPIKE_HISTORY")
    return Path(named) if named else state_dir / "history.sqlite"


class History:
    """An open history file. Use as a context manager. Raises `HistoryError` for whatever SQLite cannot do."""

    def __init__(self, file: Path, *, create: bool = True) -> None:
        self._file = file
        if not create and not file.exists():
            raise HistoryError(
                f"there is no history at {file}; every run begins it, and `chaos-spike history add RUN` adds an older one"
            )
        with self._told():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def add(self, run: StoredRun) -> bool:
        """Add a run with its figures, all or nothing; False if a run of this id is there already."""
        with self._told(), self._transaction():
            added = self._connection.execute(
                f"INSERT OR IGNORE INTO runs ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - our own names
                (
                    *(run.run_id, run.plan, run.plan_hash, run.fingerprint, run.started, run.verdict),
                    *(run.stack, run.seed, run.folder, int(run.reference_from), run.note),
                ),
            ).rowcount
            if added:
                self._connection.executemany(
                    "INSERT INTO figures (run, place, name, value, unit, worse) VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (run.run_id, place, each.name, _stored(each.value), each.unit, each.worse)
                        for place, each in enumerate(run.figures)
                    ],
                )
        return bool(added)

    def runs(self, plan: str | None = None) -> list[StoredRun]:
        """All runs, or those of a plan, oldest first."""
        with self._told():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE ? IS NULL OR plan = ? ORDER BY started, id",  # noqa: S608 - our own names
                (plan, plan),
            ).fetchall()
            return [self._run(row) for row in rows]

    def find(self, word: str) -> StoredRun:
        """The run whose id, or folder's name, begins with `word`; HistoryError if none or several do."""
        found = [
            run
            for run in self.runs()
            if run.run_id.startswith(word) or Path(run.folder).name.startswith(word)
        ]
        if len(found) == 1:
            return found[0]
        raise HistoryError(
            f"no run {word!r} in {self._file}"
            if not found
            else f"{word!r} may be any of {', '.join(run.run_id for run in found[:5])}"
        )

    def begin_reference(self, run_id: str, note: str) -> None:
        """From this run on the reference begins anew: the change was meant."""
        with self._told():
            self._connection.execute(
                "UPDATE runs SET reference_from = 1, note = ? WHERE id = ?", (note, run_id)
            )

    def merge(self, other: Iterable[StoredRun]) -> int:
        """Add what is not here yet, and take over which changes were accepted there; how many runs were added.

        A change that was accepted in both keeps the reason that is here.
        """
        added = 0
        for run in other:
            if self.add(run):
                added += 1
            elif run.reference_from:
                self._accepted_elsewhere(run)
        return added

    def _accepted_elsewhere(self, run: StoredRun) -> None:
        with self._told():
            self._connection.execute(
                "UPDATE runs SET reference_from = 1, note = ? WHERE id = ? AND reference_from = 0",
                (run.note, run.run_id),
            )

    def _run(self, row: tuple[Any, ...]) -> StoredRun:
        run_id, plan, plan_hash, fingerprint, started, verdict, stack, seed, folder, begins, note = row
        return StoredRun(
            run_id=run_id,
            plan=plan,
            plan_hash=plan_hash,
            fingerprint=fingerprint,
            started=started,
            verdict=verdict,
            stack=stack,
            seed=seed,
            folder=folder,
            reference_from=bool(begins),
            note=note,
            figures=self._figures(run_id),
        )

    def _figures(self, run_id: str) -> tuple[Figure, ...]:
        rows = self._connection.execute(
            "SELECT name, value, unit, worse FROM figures WHERE run = ? ORDER BY place", (run_id,)
        )
        return tuple(
            Figure(name, math.inf if value is None else value, unit, cast("Worse", worse))
            for name, value, unit, worse in rows
        )

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self._transaction():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise HistoryError(
                    f"{self._file} is a history of version {version}, this program knows {VERSION}; update chaos-spike"
                )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HistoryError(f"the history at {self._file} cannot be used: {error}") from error


def _stored(value: float) -> float | None:
    return None if math.isinf(value) else value
