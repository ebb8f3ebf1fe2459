"""What is left after a runner has died: its guardian at work, then its journal."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from faults.journal import read_journal

_GUARDIAN_S = 75.0
"""A guardian tries for a minute, and then says that it could not."""


def gone(pid: int) -> None:
    """Wait until a guardian has ended: it heals, looks twice, and goes."""
    deadline = time.monotonic() + _GUARDIAN_S
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return
        if stat.rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"guardian {pid} outlived its work")


def records_of(state_dir: Path) -> list[dict[str, Any]]:
    """All that its journals say."""
    return [
        record
        for folder in ("sessions", "done")
        for path in sorted((state_dir / folder).glob("*.jsonl"))
        for record in read_journal(path)
    ]


def verified_after_s(records: Iterable[dict[str, Any]], died_ns: int) -> float | None:
    """From a runner's death to the guardian's last look that found its target clean; None where it had nothing to heal."""
    said = [
        record["verified_at"][1]
        for record in records
        if record["kind"] == "tombstone" and record["by"] == "guardian" and record.get("verified_at")
    ]
    return round((max(said) - died_ns) / 1e9, 3) if said and max(said) > died_ns else None
