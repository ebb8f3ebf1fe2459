"""What stands interposed, written down before the first container is touched, so that it can be put back whoever dies.

One file per project under `STATE_DIR/interposed/`, for its owner's eyes only: it holds the resolved file, and so its secrets, because a later
undo must not depend on variables that are set by then. `owner` is the process that works on it, or keeps it for a run. Where
there is none, the interposition is meant to stand until somebody undoes it.

A note whose owner is dead is put back by the next start and by `chaos-spike undo`; one without an owner by `undo` alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resilience.interpose.composing import ComposeFiles
from resilience.interpose.model import Front, Gate, Model
from resilience.lab.identity import ProcessId
from resilience.lab.system import StackError

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Note:
    """All that is needed to prove an interposition again, and to undo it.

    `before` are the services that had a container (and whether one ran), `volumes` and `networks` what the project had; `model` is the
    file as it was resolved.
    """

    files: ComposeFiles
    engine: str
    image: str
    owner: ProcessId | None
    before: Mapping[str, bool]
    volumes: frozenset[str]
    networks: frozenset[str]
    fronts: tuple[Front, ...]
    model: Model = field(repr=False)

    @property
    def project(self) -> str:
        """The project's name."""
        return str(self.files.project)

    def kept_by_nobody(self) -> Note:
        """The same, standing until it is undone."""
        return replace(self, owner=None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with its version under "v"."""
        return {
            "v": _VERSION,
            "files": self.files.to_json(),
            "engine": self.engine,
            "image": self.image,
            "owner": None if self.owner is None else self.owner.to_json(),
            "before": dict(self.before),
            "volumes": sorted(self.volumes),
            "networks": sorted(self.networks),
            "fronts": [_front_to_json(front) for front in self.fronts],
            "model": self.model,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Note:
        """The inverse of `to_json`; ValueError, KeyError or TypeError for anything else."""
        if data["v"] != _VERSION:
            raise ValueError(f"a note of version {data['v']!r}, expected {_VERSION}")
        return cls(
            files=ComposeFiles.from_json(data["files"]),
            engine=data["engine"],
            image=data["image"],
            owner=None if data["owner"] is None else ProcessId.from_json(data["owner"]),
            before=dict(data["before"]),
            volumes=frozenset(data["volumes"]),
            networks=frozenset(data["networks"]),
            fronts=tuple(_front_from_json(front) for front in data["fronts"]),
            model=data["model"],
        )


def _front_to_json(front: Front) -> dict[str, Any]:
    gates = [[gate.name, gate.port, gate.protocol, gate.correlate] for gate in front.gates]
    return {
        "service": front.service,
        "real": front.real,
        "proxy": front.proxy,
        "names": list(front.names),
        "gates": gates,
        "callers": list(front.callers),
        "reachers": list(front.reachers),
        "admin_port": front.admin_port,
        "tap_port": front.tap_port,
    }


def _front_from_json(data: Mapping[str, Any]) -> Front:
    return Front(
        service=data["service"],
        real=data["real"],
        proxy=data["proxy"],
        names=tuple(data["names"]),
        gates=tuple(Gate(*gate) for gate in data["gates"]),
        callers=tuple(data["callers"]),
        reachers=tuple(data["reachers"]),
        admin_port=data["admin_port"],
        tap_port=data["tap_port"],
    )


def _file(state_dir: Path, project: str) -> Path:
    return state_dir / "interposed" / f"{project}.json"


def write_note(state_dir: Path, note: Note, *, fresh: bool = False) -> None:
    """Note it, on disk for certain. StackError if that cannot be done: what is not noted is not done.

    A `fresh` note is the first of its project: one that is there already is somebody else's, and stays as it is.
    """
    path = _file(state_dir, note.project)
    draft = path.with_suffix(f".{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(note.to_json(), file)
                file.flush()
                os.fsync(file.fileno())
            if fresh:
                path.hardlink_to(draft)
            else:
                draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)  # it holds what the note holds
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise StackError(
            f"{note.project} is interposed, or was, by somebody else: {path} says so; put it back first: chaos-spike undo"
        ) from error
    except OSError as error:
        raise StackError(
            f"{path} cannot be written: {error.strerror}; CHAOS_SPIKE_STATE_DIR names another place"
        ) from error


def forget_note(state_dir: Path, project: str) -> None:
    """It is undone: so is its note, with what a process that was killed had begun to write."""
    path = _file(state_dir, project)
    path.unlink(missing_ok=True)
    for draft in path.parent.glob(f"{project}.*.new"):
        draft.unlink(missing_ok=True)


def read_note(state_dir: Path, project: str) -> Note | None:
    """The note of one project; `None` where there is none that can be read."""
    try:
        return Note.from_json(json.loads(_file(state_dir, project).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_notes(state_dir: Path) -> tuple[Note, ...]:
    """Every note that can be read."""
    found = (read_note(state_dir, path.stem) for path in sorted((state_dir / "interposed").glob("*.json")))
    return tuple(note for note in found if note is not None)


def unreadable_notes(state_dir: Path) -> tuple[Path, ...]:
    """Files of notes that say nothing, such as those of another version of ours: what they stood for is not undone."""
    paths = sorted((state_dir / "interposed").glob("*.json"))
    return tuple(path for path in paths if path.exists() and read_note(state_dir, path.stem) is None)
