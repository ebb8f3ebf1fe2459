"""What code must not do while it reads what others wrote: go on for ever, write files, start programs, open connections."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HANG_S = 5
STUCK_S = 60


class HangError(AssertionError):
    """It took longer than anybody waits."""


@contextlib.contextmanager
def hang_alarm() -> Iterator[None]:
    """Raise `HangError` in here after `HANG_S` of this process's own time, wherever the code is. Main thread only.

    Readers compute and wait for nothing, so that their time is the processor's: on the wall's clock a machine that is busy with other
    things would make any of them hang. One that waits all the same is caught by the wall, after `STUCK_S`.
    """

    def ring(number: int, _frame: Any) -> None:
        spent = f"{HANG_S} s of work" if number == signal.SIGPROF else f"{STUCK_S} s of waiting"
        raise HangError(f"still at it after {spent}")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, HANG_S), (signal.SIGALRM, signal.ITIMER_REAL, STUCK_S))
    before = {number: signal.signal(number, ring) for number, *_ in timers}
    for _, timer, limit_s in timers:
        signal.setitimer(timer, limit_s)
    try:
        yield
    finally:
        for number, timer, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


class Deeds:
    """What code does to the world while `watching`: files that it writes outside `allowed`, programs that it starts, addresses it calls.

    One audit hook for the life of the process: Python takes none back.
    """

    def __init__(self, allowed: Path) -> None:
        self.allowed = str(allowed)
        self.found: list[str] = []
        self.watching = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and any(c in mode for c in "wax+")) or (
                isinstance(flags, int) and flags & 0o3
            )
            if writes and isinstance(path, str | bytes) and not self._is_allowed(path):
                self.found.append(f"wrote {path!r}")
        elif event in (
            "os.rename",
            "os.remove",
            "os.mkdir",
            "os.symlink",
            "os.link",
            "os.truncate",
            "shutil.rmtree",
        ):
            if not self._is_allowed(arguments[0]):
                self.found.append(f"{event} {arguments[0]!r}")
        elif event in (
            "subprocess.Popen",
            "os.system",
            "os.exec",
            "os.posix_spawn",
            "socket.connect",
            "socket.bind",
        ):
            self.found.append(f"{event} {arguments!r}"[:200])

    def _is_allowed(self, path: Any) -> bool:
        text = path.decode(errors="replace") if isinstance(path, bytes) else str(path)
        return text.startswith((self.allowed, "/dev/null"))
