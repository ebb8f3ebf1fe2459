"""SIGINT and SIGTERM for the length of a command: a run heals and stops, judging and writing go on to their end.

The handlers stay from before the first run until the last file is written, so that no moment is left in which a signal
would lose a verdict. Only the first signal counts; the command decides what it exits with.

Ctrl-Z pauses no run: load workers are sessions of their own and would go on, with nobody to watch them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self

from resilience.run.ending import Ending
from resilience.run.stop import Stop

_HEEDED = (signal.SIGINT, signal.SIGTERM)
_NO_PAUSE = "a run cannot be paused: its faults would be healed and its load go on unwatched. Ctrl-C heals, stops and judges\n"


class Signals:
    """Remembers the first signal. Use as a context manager, in the main thread."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}
        self._tell: Callable[[Ending], object] | None = None

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._heard) for number in _HEEDED}
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, _refuse_to_pause)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def stopping(self, stop: Stop) -> Iterator[None]:
        """Within this a signal asks the run to stop. Call it in the run's event loop."""
        loop = asyncio.get_running_loop()
        self._tell = lambda ending: loop.call_soon_threadsafe(stop.request, ending)  # wakes a sleeping loop
        if self.number:
            stop.request(self._ending())
        try:
            yield
        finally:
            self._tell = None

    def _heard(self, number: int, _: FrameType | None) -> None:
        if self.number:
            return
        self.number = number
        if self._tell is not None:
            self._tell(self._ending())

    def _ending(self) -> Ending:
        return Ending(
            "interrupted", f"stopped by {signal.Signals(self.number).name}", signal=int(self.number)
        )


def _refuse_to_pause(_number: int, _frame: FrameType | None) -> None:
    # Whatever is being printed at this moment may hold the stream's lock.
    with contextlib.suppress(OSError):
        os.write(2, _NO_PAUSE.encode())
