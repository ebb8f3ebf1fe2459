"""The closed list of what the guardian can undo. A new kind of fault is one module and one line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from faults.undo import docker, toxiproxy
from faults.undo.model import Undo
from faults.undo.run import UndoKind, UndoOutcome, undo_until_clean
from faults.undo.toxiproxy import UndoFailed

__all__ = ["UNDO_KINDS", "Undo", "UndoFailed", "UndoKind", "UndoOutcome", "undo_until_clean"]

UNDO_KINDS: Final[Mapping[str, UndoKind]] = MappingProxyType(
    {
        entry.kind: entry
        for entry in (
            UndoKind("toxiproxy.toxic", toxiproxy.remove_toxic, toxiproxy.toxic_is_gone),
            UndoKind("toxiproxy.enabled", toxiproxy.enable, toxiproxy.is_enabled),
            UndoKind("docker.restart", docker.restart, docker.is_running),
        )
    }
)
