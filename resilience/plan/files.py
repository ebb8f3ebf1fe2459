"""Plans from files: the edge that reads the plan, its overlays, and the files that it refers to. Everything else is `loader`."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from resilience.plan.inlining import DataUnreadable, Rows
from resilience.plan.loader import LoadedPlan, load_text
from resilience.plan.problems import PlanInvalid, Problem

MAX_BYTES = 200_000
"""Of a plan, or of a data file: its rows stand in the record, which is read when the run is judged."""
_JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})


def load_plan(
    path: Path,
    *,
    environment: Mapping[str, str],
    overlays: Sequence[Path] = (),
    settings: Sequence[str] = (),
) -> LoadedPlan:
    """Load a plan file; raises `PlanInvalid` (also for a file that cannot be read). Data files lie beside the plan."""
    return load_text(
        _read(path),
        source=str(path),
        environment=environment,
        overlays=[(str(overlay), _read(overlay)) for overlay in overlays],
        settings=settings,
        read_data=lambda name: _rows(path.parent / name),
        read_text=lambda name: _text(path.parent / name),
        find=lambda name: _found(path.parent / name),
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            message = f"larger than {MAX_BYTES} bytes; a plan is a page or two"
            raise PlanInvalid([Problem((), message)], str(path))
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanInvalid([Problem((), f"cannot be read: {error.strerror or error}")], str(path)) from error
    except UnicodeDecodeError as error:
        raise PlanInvalid([Problem((), "is not UTF-8 text")], str(path)) from error


def _text(path: Path) -> str:
    """A file that a plan refers to."""
    try:
        return _read(path)
    except PlanInvalid as error:
        raise DataUnreadable(error.lines()[0]) from error


def _rows(path: Path) -> Rows:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataUnreadable(
                f"{path} is larger than {MAX_BYTES} bytes; its rows would stand in every record"
            )
        # Spreadsheets like to begin with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _lines(file, path) if path.suffix.lower() in _JSON_LINES else _table(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataUnreadable(f"{path} cannot be read: {error}") from error
    if not rows:
        raise DataUnreadable(f"{path} has no rows")
    return rows


def _table(file: TextIO) -> Rows:
    return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(file)]


def _lines(file: TextIO, path: Path) -> Rows:
    """One JSON object a line; a value that is no text stands in templates as it does in JSON."""
    rows: Rows = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataUnreadable(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataUnreadable(f"{path}:{number}: a row is an object with fields, not {line.strip():.40}")
        rows.append(
            {name: value if isinstance(value, str) else json.dumps(value) for name, value in row.items()}
        )
    return rows


def _found(path: Path) -> str:
    """The absolute path of a file that the load workers will open."""
    if not path.is_file():
        raise DataUnreadable(f"{path} is not there")
    return str(path.resolve())
