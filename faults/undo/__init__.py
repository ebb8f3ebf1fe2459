"""The closed list of what the guardian can undo. A new kind of fault is one module and one line here."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from faults.undo import docker, processes, toxiproxy
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
            UndoKind("docker.unpause", docker.unpause, docker.is_unpaused),
            UndoKind("docker.start", docker.start, docker.is_running),
            UndoKind("docker.stopped", docker.start_stopped, docker.is_running),
            UndoKind("docker.connect", docker.connect, docker.is_connected),
            UndoKind("docker.cpu", docker.set_cpu_limit, docker.has_cpu_limit),
            UndoKind("process.resume", processes.resume, processes.runs),
            UndoKind("process.revive", processes.revive, processes.is_revived),
        )
    }
)
