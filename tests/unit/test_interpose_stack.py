"""An interposed stack on its way down: whatever has gone wrong in between, it puts everything back, and says what it did not see."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from resilience.interpose import stack
from resilience.interpose.composing import ComposeFiles
from resilience.interpose.stack import InterposedStack


async def test_down_puts_back_although_the_watch_broke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody thought of while connections are watched: a reason against the run, and no reason to leave it standing."""
    back: list[Any] = []

    async def nothing(*_: object) -> dict[str, int]:
        return {}

    def torn(*_: object) -> None:
        raise IndexError("a line of the kernel's")

    monkeypatch.setattr(stack, "restore", lambda _site, note: back.append(note))
    monkeypatch.setattr(stack, "prove", lambda *_: ())
    monkeypatch.setattr(stack, "passed", nothing)
    monkeypatch.setattr(stack, "watch_once", torn)
    stood = InterposedStack(
        ComposeFiles((Path("docker-compose.yml"),), "shop"), (), ready_url="http://127.0.0.1:1/", within_s=1,
        state_dir=tmp_path, environ={},
    )  # fmt: skip
    engine = SimpleNamespace(members=lambda _: (), owners=lambda _: {}, close=lambda: None)
    # As `up` leaves it, without an engine to bring anything up.
    stood._site = SimpleNamespace(engine=engine)  # type: ignore[assignment]
    note = stood._note = SimpleNamespace(project="shop", fronts=())  # type: ignore[assignment]
    stood._watching = asyncio.create_task(stood._watch())
    await asyncio.wait({stood._watching})
    assert await stood.doubts() == (
        "connections were not watched to the end: IndexError: a line of the kernel's",
    )
    await stood.down()
    assert back == [note]
