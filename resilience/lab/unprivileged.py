"""Running PostgreSQL although we are root.

PostgreSQL refuses to run as root, so as root it runs under an unprivileged account: CHAOS_SPIKE_LAB_POSTGRES_USER, else
`postgres`, else `nobody`. That account must be able to read the programs and to enter the data directory; an install
under root's home (mode 0700) grants neither. Then the programs are copied, once per content, to a cache that everyone
can read and only root can write. The copy is published by a rename under a lock, so two starts at once are safe and
a half-made copy is never used. The cache is the one thing that stays when a lab goes down.

As an ordinary user nothing of this happens: `account()` is `None` and everything runs where it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from resilience.lab.settings import PREFIX
from resilience.lab.system import StackError

USER_VARIABLE = f"{PREFIX}POSTGRES_USER"
_DEFAULT_USERS = ("postgres", "nobody")
_CACHES = ("/var/cache/chaos-spike", "/var/tmp/chaos-spike", "/tmp/chaos-spike")  # noqa: S108 - ownership is checked


@dataclass(frozen=True, slots=True)
class Account:
    """An account that is not root's."""

    name: str
    uid: int
    gid: int


def account(environ: Mapping[str, str]) -> Account | None:
    """The account that PostgreSQL has to run under; `None` when it can run as we are. StackError if there is none."""
    if os.geteuid() != 0:
        return None
    wanted = environ.get(USER_VARIABLE)
    for name in (wanted,) if wanted else _DEFAULT_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    tried = wanted or " or ".join(_DEFAULT_USERS)
    raise StackError(
        f"PostgreSQL does not run as root, and there is no unprivileged account {tried}: "
        f"create one and name it in {USER_VARIABLE}, or run as an ordinary user"
    )


def reachable(path: Path, who: Account) -> bool:
    """Whether `who` may enter every directory above `path` and read `path` (execute it, too, if it is a directory)."""
    path = path.resolve()
    try:
        return all(_may(parent, who, 0o1) for parent in path.parents) and _may(
            path, who, 0o5 if path.is_dir() else 0o4
        )
    except OSError:
        return False


def _may(path: Path, who: Account, bits: int) -> bool:
    status = path.stat()
    if status.st_uid == who.uid:
        granted = status.st_mode >> 6
    elif status.st_gid == who.gid:
        granted = status.st_mode >> 3
    else:
        granted = status.st_mode
    return granted & bits == bits


def published(base: Path, parts: Sequence[Path], who: Account) -> Path:
    """A directory with `parts` (paths below `base`, files or directories) at the same relative places, readable to `who`.

    `base` itself if `who` can read it already. StackError if no cache directory can be used.
    """
    if all(reachable(base / part, who) for part in parts):
        return base
    digest = _digest(base, parts)
    problems = []
    for cache in map(Path, _CACHES):
        try:
            with _locked(cache, who):
                return _copied(base, parts, cache / digest)
        except OSError as error:
            problems.append(f"{cache}: {error.strerror or error}")
    raise StackError(
        "PostgreSQL's programs cannot be read by its unprivileged account, and there is no place to copy them to ("
        + "; ".join(problems)
        + "): install the project where other accounts can read it, or run as an ordinary user"
    )


@contextmanager
def _locked(cache: Path, who: Account) -> Iterator[None]:
    """Hold the lock of a cache that is ours alone to write. OSError if it is not, or cannot be made."""
    cache.mkdir(mode=0o755, exist_ok=True)
    status = cache.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(0, "is not a directory that only we can write")
    cache.chmod(0o755)  # whatever our umask is
    if not reachable(cache, who):
        raise PermissionError(0, f"{who.name} cannot enter it")
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _files(root: Path) -> Iterator[Path]:
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.is_file():
                yield path
    else:
        yield root


def _digest(base: Path, parts: Sequence[Path]) -> str:
    """Of all contents and names: another build of the programs gets another place."""
    digest = hashlib.sha256()
    for part in parts:
        for path in _files(base / part):
            digest.update(f"{path.relative_to(base)}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _copied(base: Path, parts: Sequence[Path], target: Path) -> Path:
    """`target` with everything in it. One that has lost files (a cleaner of temporary files) is replaced."""
    wanted = {path.relative_to(base): path.stat().st_size for part in parts for path in _files(base / part)}
    if target.is_dir() and all(_size(target / name) == size for name, size in wanted.items()):
        return target
    making = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        for name in wanted:
            copy = making / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(base / name, copy)
            copy.chmod(0o755)
        for directory in (making, *(path for path in making.rglob("*") if path.is_dir())):
            directory.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
