"""Compose itself, as a program: it resolves files, and it creates what a model says. No YAML of users' is parsed here.

A resolved model has secrets in it. It goes to compose over a pipe and is never written to a file of ours but the journal's, which only its
owner may read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from resilience.interpose.model import Model
from resilience.interpose.reading import services_of
from resilience.lab.compose.command import ComposeCommand
from resilience.lab.system import StackError

_CONFIG_S = 60.0
_UP_S = 600.0
_POLL_S = 0.2
_NOT_IN_NAMES = re.compile(r"[^-_a-z0-9]")


class FilesInvalid(Exception):  # noqa: N818 - what is wrong with the files is compose's to say
    """Compose does not accept the files. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class ComposeFiles:
    """The files that a user names, and what goes with them. Paths are absolute, or relative to `started_in`."""

    files: tuple[Path, ...]
    project: str | None = None
    env_file: Path | None = None
    profiles: tuple[str, ...] = ()
    started_in: Path | None = None

    def words(self) -> list[str]:
        """The options that say so to compose."""
        words = [word for file in self.files for word in ("-f", str(file))]
        words += ["-p", self.project] if self.project else []
        words += ["--env-file", str(self.env_file)] if self.env_file else []
        return words + [word for profile in self.profiles for word in ("--profile", profile)]

    @property
    def directory(self) -> Path:
        """Where compose takes relative paths from."""
        return (self.started_in or Path()) / self.files[0].parent

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "files": [str(file) for file in self.files],
            "project": self.project,
            "env_file": None if self.env_file is None else str(self.env_file),
            "profiles": list(self.profiles),
            "started_in": None if self.started_in is None else str(self.started_in),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ComposeFiles:
        """The inverse of `to_json`; KeyError or TypeError for anything else."""
        return cls(
            tuple(Path(file) for file in data["files"]),
            data["project"],
            None if data["env_file"] is None else Path(data["env_file"]),
            tuple(data["profiles"]),
            None if data["started_in"] is None else Path(data["started_in"]),
        )


@dataclass(frozen=True, slots=True)
class Composer:
    """One compose, told of one engine by its environment. Whoever sets `stop`, from another thread, ends what it is doing."""

    command: ComposeCommand
    environ: Mapping[str, str]
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def is_v2(self) -> bool:
        """Whether it is the second generation."""
        return int(self.command.version.partition(".")[0]) >= 2

    @property
    def separator(self) -> str:
        """What it puts between the parts of a name."""
        return "-" if self.is_v2 else "_"

    def resolve(self, files: ComposeFiles) -> tuple[ComposeFiles, Model]:
        """The files with their project's name, and what they come to. FilesInvalid with compose's own words."""
        if files.project is not None and (not files.project or _NOT_IN_NAMES.search(files.project)):
            # 1.29 takes "Shop" for "shop" without a word: we would look at another project than it changes.
            raise FilesInvalid(
                f"{files.project!r} is no name of a compose project: write it in lowercase letters, digits, - and _"
            )
        model = self._config(files)
        project = files.project or str(model.get("name") or "") or self._project_of(files)
        if files.project is None:
            # Asked again under that name: what is named after the project is resolved, too.
            files = replace(files, project=project)
            model = self._config(files)
        if not services_of(model):
            raise FilesInvalid(f"{files.files[0]}: there is no service in it (or all are in profiles)")
        return files, model

    def hashes(self, files: ComposeFiles) -> dict[str, str]:
        """The hash of each service's configuration as compose labels containers with it."""
        done = self._run([*files.words(), "config", "--hash", "*"], _CONFIG_S, folder=files.started_in)
        pairs = (line.split() for line in done.stdout.splitlines())
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2} if done.returncode == 0 else {}

    def up(
        self, model: Model, files: ComposeFiles, services: Sequence[str] = (), *, start: bool = True
    ) -> None:
        """Create what a resolved model says, or these services of it only. StackError with compose's last words."""
        words = ["-f", "-", "-p", str(files.project), "--project-directory", str(files.directory)]
        words += [word for profile in files.profiles for word in ("--profile", profile)]
        self._up(words, services, json.dumps(model), None, start=start)

    def up_files(self, files: ComposeFiles, services: Sequence[str], *, start: bool = True) -> None:
        """Create these services as the files say. StackError with compose's last words."""
        self._up(files.words(), services, None, files.started_in, start=start)

    def _up(
        self, words: list[str], services: Sequence[str], text: str | None, folder: Path | None, *, start: bool
    ) -> None:
        # Named services are all there is to be: what they wait for is among them, or is up.
        some = ["--no-deps", *services] if services else []
        done = self._run([*words, "up", "-d" if start else "--no-start", *some], _UP_S, text, folder)
        if done.returncode != 0:
            tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
            raise StackError(f"{self.command} could not bring the services up:\n{tail}")

    def _config(self, files: ComposeFiles) -> Model:
        form = ["--format", "json"] if self.is_v2 else []
        done = self._run([*files.words(), "config", *form], _CONFIG_S, folder=files.started_in)
        if done.returncode != 0:
            raise FilesInvalid(f"{self.command} does not accept the files:\n{done.stderr.strip()}")
        try:
            model = json.loads(done.stdout) if self.is_v2 else _yaml().load(done.stdout)
        except (ValueError, YAMLError) as error:
            raise FilesInvalid(
                f"{self.command} resolved the files to what cannot be read: {error}"
            ) from error
        if not isinstance(model, Mapping):
            raise FilesInvalid(f"{self.command} resolved the files to nothing")
        return model

    def _project_of(self, files: ComposeFiles) -> str:
        """The name that compose 1.29 gives a project; it does not tell it."""
        named = self.environ.get("COMPOSE_PROJECT_NAME") or _setting(
            files.env_file or files.directory / ".env", "COMPOSE_PROJECT_NAME"
        )
        return _NOT_IN_NAMES.sub("", (named or files.directory.name).lower()) or "default"

    def _run(
        self, words: Sequence[str], limit_s: float, text: str | None = None, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, "COMPOSE_IGNORE_ORPHANS": "1", "COMPOSE_ANSI": "never"}
        try:
            process = subprocess.Popen(
                [*self.command.words, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environ,
                cwd=folder,
                start_new_session=True,  # a Ctrl-C is for us: we put back what it has made
            )
        except OSError as error:
            raise StackError(f"{self.command} cannot be started: {error}") from error
        with process:
            return self._ended(process, words, limit_s, text or "")

    def _ended(
        self, process: subprocess.Popen[str], words: Sequence[str], limit_s: float, text: str
    ) -> subprocess.CompletedProcess[str]:
        deadline = time.monotonic() + limit_s
        given: str | None = text
        try:
            while True:
                try:
                    out, err = process.communicate(given, timeout=_POLL_S)
                except subprocess.TimeoutExpired:
                    given = None  # it has been handed over
                    if self.stop.is_set():
                        raise StackError(f"{self.command} was stopped") from None
                    if time.monotonic() > deadline:
                        raise StackError(
                            f"{self.command} {words[-1]} did not end within {limit_s:g} s"
                        ) from None
                else:
                    return subprocess.CompletedProcess(list(words), process.returncode, out, err)
        finally:
            if process.poll() is None:
                # Its whole session: v2 is a plugin, the child of the program that we started.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def compose_files(
    files: Sequence[Path],
    *,
    project: str | None = None,
    env_file: Path | None = None,
    profiles: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> ComposeFiles:
    """The files by their absolute paths; FilesInvalid where one is missing."""
    for file in (*files, *([env_file] if env_file else ())):
        if not file.is_file():
            wrong = "that is a folder: name a file in it" if file.is_dir() else "there is no such file"
            raise FilesInvalid(f"{file}: {wrong}")
    variables = os.environ if environ is None else environ
    named = tuple(profiles) or tuple(
        name for name in variables.get("COMPOSE_PROFILES", "").split(",") if name
    )
    return ComposeFiles(
        tuple(file.absolute() for file in files),
        project,
        None if env_file is None else env_file.absolute(),
        named,
    )


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)  # what docker-compose 1.29 writes
    return yaml


def _setting(file: Path, name: str) -> str | None:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    found = [line.partition("=")[2].strip().strip("'\"") for line in lines if line.startswith(f"{name}=")]
    return found[-1] if found else None
