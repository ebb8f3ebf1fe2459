"""Which compose projects runners of this user have up, written before the first container is made.

One file per project under `STATE_DIR/stacks/`, with the runner's pid and start time. A runner that dies leaves its file and its
containers; the next `chaos-spike run --stack compose`, or `chaos-spike undo`, finds both and takes the project down. Faults have been
healed long before: that is the guardian's work and does not wait for this.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resilience.lab.compose.engine import Engine
from resilience.lab.identity import ProcessId
from resilience.lab.system import StackError

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Project:
    """A compose project that is, or was, up: its name, the engine's address, and the process that it belongs to."""

    name: str
    address: str
    owner: ProcessId


@dataclass(frozen=True, slots=True)
class SweptProject:
    """A dead runner's project. `error` says why it is still there."""

    name: str
    error: str | None


def _file(state_dir: Path, name: str) -> Path:
    return state_dir / "stacks" / f"{name}.json"


def write_project(state_dir: Path, project: Project) -> None:
    """Note it, on disk for certain. StackError if that cannot be done: what is not noted is not brought up."""
    path = _file(state_dir, project.name)
    data = {
        "v": _VERSION,
        "project": project.name,
        "address": project.address,
        "owner": project.owner.to_json(),
    }
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        with new.open("w") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise StackError(
            f"{path} cannot be written: {error.strerror}; CHAOS_SPIKE_STATE_DIR names another place"
        ) from error


def forget_project(state_dir: Path, name: str) -> None:
    """Its containers are gone: so is its note."""
    _file(state_dir, name).unlink(missing_ok=True)


def read_projects(state_dir: Path) -> tuple[Project, ...]:
    """Every project that is noted; what cannot be read is none."""
    found = []
    for path in sorted((state_dir / "stacks").glob("*.json")):
        try:
            data = json.loads(path.read_text())
            found.append(Project(data["project"], data["address"], ProcessId.from_json(data["owner"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def sweep_projects(state_dir: Path, environ: Mapping[str, str]) -> list[SweptProject]:
    """Take down what dead runners have left; every project that was found, taken down or not. Never raises."""
    swept = []
    for project in read_projects(state_dir):
        if project.owner.runs():
            continue
        try:
            with Engine.connect({**environ, "DOCKER_HOST": project.address}) as engine:
                engine.remove_project(project.name)
        except StackError as error:
            swept.append(SweptProject(project.name, str(error)))
        else:
            forget_project(state_dir, project.name)
            swept.append(SweptProject(project.name, None))
    return swept
