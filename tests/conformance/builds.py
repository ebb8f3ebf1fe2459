"""What is built for a language before its services can run, once for each state of its sources, under build/conformance.

Every version is pinned where the language's own tool pins it, and fetched by that tool with its defaults. A build takes place in a
folder named after the contents of its sources, so an old one is never taken for the present; several processes that want the same
one wait for the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conformance.candidates import FOLDER, Candidate

ROOT: Final = FOLDER.parents[1]
BUILDS: Final = ROOT / "build" / "conformance"
TOOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "python": (),
    "node": ("node", "npm"),
    "go": ("go",),
    "java": ("java", "javac", "mvn"),
}
"""Programs that must be on PATH."""

_COPY_JARS: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_LONGEST_S: Final = 300


class BuildError(Exception):
    """A tool is missing or failed; the message has its last words."""


def missing_tools(language: str) -> list[str]:
    """What of `TOOLS` this machine lacks."""
    return [tool for tool in TOOLS[language] if shutil.which(tool) is None]


def command(candidate: Candidate) -> list[str]:
    """The command line of a candidate's service; builds what it needs first. BuildError if that fails."""
    if missing := missing_tools(candidate.language):
        raise BuildError(f"{candidate.name} needs {', '.join(missing)} on PATH")
    match candidate.language:
        case "python":
            return [sys.executable, "-m", "tests.conformance.python", candidate.name]
        case "node":
            return ["node", str(_built("node", _node) / "service.mjs"), candidate.name]
        case "go":
            return [str(_built("go", _go) / "conformance"), candidate.name]
        case _:
            folder = _built("java", _java)
            return ["java", "-cp", f"{folder / 'classes'}:{folder / 'lib'}/*", "Service", candidate.name]


def _built(language: str, build: Callable[[Path, Path], None]) -> Path:
    sources = sorted(path for path in (FOLDER / language).rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    folder = BUILDS / f"{language}-{digest.hexdigest()[:16]}"
    with _alone(language):
        if not (folder / ".done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(FOLDER / language, folder)
            (folder / ".done").touch()
    return folder


@contextmanager
def _alone(language: str) -> Iterator[None]:
    BUILDS.mkdir(parents=True, exist_ok=True)
    with (BUILDS / f"{language}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _node(sources: Path, folder: Path) -> None:
    shutil.copytree(sources, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], folder)


def _go(sources: Path, folder: Path) -> None:
    _run(["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(folder / "conformance"), "."], sources)  # fmt: skip


def _java(sources: Path, folder: Path) -> None:
    jars = ["-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}"]
    _run(["mvn", "--batch-mode", "--quiet", "--file", str(sources / "pom.xml"), _COPY_JARS, *jars], folder)
    classes = sorted(str(path) for path in (sources / "src").glob("*.java"))
    _run(["javac", "-Xlint:all", "-Werror", "-d", str(folder / "classes"), "-cp", f"{folder / 'lib'}/*", *classes], folder)  # fmt: skip


def _run(arguments: list[str], folder: Path) -> None:
    done = subprocess.run(
        arguments,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise BuildError(f"{' '.join(arguments[:3])} ... ended with {done.returncode}:\n{tail}")
