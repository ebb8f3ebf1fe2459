"""The lab's one temporary directory, and what is done about those whose owner died.

Everything a lab writes is under one directory: data of the database, logs, and `owner.json`, which names the supervisor
and each process it has started, with their start times. A lab that ends removes it. One whose supervisor was killed
together with its chance to tidy up is swept by the next start on that host: whatever of its processes still runs is
killed (never a process that merely got the same pid), then the directory goes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from resilience.lab.identity import ProcessId
from resilience.lab.settings import PREFIX
from resilience.lab.system import StackError
from resilience.lab.unprivileged import Account, reachable

DIRECTORY_VARIABLE = f"{PREFIX}DIR"
_PREFIX = "chaos-spike-lab-"
_OWNER_FILE = "owner.json"
# A directory without an owner file may be one that is just being made.
_YOUNG_S = 60.0


def bases(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a lab's directory may be made, best first."""
    chosen = environ.get(DIRECTORY_VARIABLE)
    if chosen:
        return (Path(chosen),)
    return tuple(dict.fromkeys(map(Path, (tempfile.gettempdir(), "/tmp", "/var/tmp"))))  # noqa: S108 - mkdtemp


def make_run_directory(environ: Mapping[str, str], who: Account | None) -> Path:
    """A new directory, which `who` can pass through. StackError if there is no place for one."""
    problems = []
    for base in bases(environ):
        if who is not None and not reachable(base, who):
            problems.append(f"{base}: {who.name} cannot enter it")
            continue
        try:
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        except OSError as error:
            problems.append(f"{base}: {error.strerror}")
            continue
        write_owner(path, ())
        if who is not None:
            path.chmod(0o711)
        return path
    raise StackError(
        f"no place for the lab's files ({'; '.join(problems)}): name one in {DIRECTORY_VARIABLE}"
    )


def write_owner(directory: Path, children: Iterable[ProcessId]) -> None:
    """Say that this process owns `directory` and started `children`; readers see the old file or the new one."""
    owner = ProcessId.of(os.getpid())
    assert owner is not None  # we run
    text = json.dumps({"owner": owner.to_json(), "children": [child.to_json() for child in children]})
    new = directory / f"{_OWNER_FILE}.new"
    new.write_text(text)
    new.replace(directory / _OWNER_FILE)


def read_owner(directory: Path) -> tuple[ProcessId, tuple[ProcessId, ...]] | None:
    """(owner, children) of a lab's directory; `None` if it does not say."""
    try:
        data = json.loads((directory / _OWNER_FILE).read_text())
        return ProcessId.from_json(data["owner"]), tuple(
            ProcessId.from_json(child) for child in data["children"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def kill_all(processes: Iterable[ProcessId], timeout_s: float) -> None:
    """Kill what still runs of `processes`, in order, and wait until it is gone."""
    waiting = [process for process in processes if process.send(signal.SIGKILL)]
    deadline = time.monotonic() + timeout_s
    while any(process.runs() for process in waiting) and time.monotonic() < deadline:
        time.sleep(0.02)


def sweep_run_directories(environ: Mapping[str, str]) -> list[Path]:
    """Remove what labs of this user have left whose owner is dead; the directories that were removed."""
    swept = []
    for base in bases(environ):
        for directory in base.glob(f"{_PREFIX}*"):
            if _abandoned(directory):
                remains = read_owner(directory)
                kill_all(remains[1] if remains else (), 2.0)
                shutil.rmtree(directory, ignore_errors=True)
                swept.append(directory)
    return swept


def _abandoned(directory: Path) -> bool:
    try:
        status = directory.lstat()
    except OSError:
        return False
    if status.st_uid != os.geteuid() or directory.is_symlink() or not directory.is_dir():
        return False
    owned = read_owner(directory)
    if owned is None:
        return time.time() - status.st_mtime > _YOUNG_S
    return not owned[0].runs()
