"""What a runner keeps of what is over: nothing that grows with the length of a run."""

from __future__ import annotations

import asyncio
import gc
import weakref

import psutil
import pytest

from resilience.run import garbage
from resilience.run.garbage import collecting
from resilience.run.machine import _forget_all_but, _waited_s


class Circle:
    """Only a collection frees it."""

    def __init__(self) -> None:
        self.self = self


async def test_collecting_frees_circles_soon_and_leaves_the_collector_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With automatic collections off, one that was made inside is gone before the end; nothing stays frozen."""
    monkeypatch.setattr(garbage, "_EVERY_S", 0.01)
    frozen = gc.get_freeze_count()
    gc.disable()
    try:
        async with collecting():
            assert gc.get_freeze_count() > 1000
            gone = weakref.ref(Circle())
            async with asyncio.timeout(5):
                while gone() is not None:  # noqa: ASYNC110 - the collector tells nobody
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()
    assert gc.get_freeze_count() == frozen


def test_watch_of_the_machine_forgets_threads_that_have_gone() -> None:
    """Their numbers are given to others one day, and until then there are more of them every second."""
    queued = {"999999999": 5}
    _waited_s([psutil.Process()], queued)
    assert "999999999" not in queued


def test_watch_of_the_machine_forgets_processes_that_nobody_asks_for_any_more() -> None:
    """A stranger that gave way and ended is not asked again, so that nothing else would tell."""
    own = psutil.Process()
    spent = {own.pid: (1.0, 1.0), 999999999: (2.0, 2.0)}
    _forget_all_but((own,), spent)
    assert spent == {own.pid: (1.0, 1.0)}
