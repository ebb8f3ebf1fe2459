"""The one way to end a run early: asked by a signal, an abort condition, a full disk; heeded wherever a run waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from resilience.run.ending import Ending

_T = TypeVar("_T")


class Stopped(Exception):  # noqa: N818 - not an error: the way out of whatever was under way
    """The run was asked to stop; why stands in `Stop.ending`."""


@dataclass(slots=True)
class Stop:
    """A request to heal and stop; the first reason given stays."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    ending: Ending | None = None

    def request(self, ending: Ending) -> None:
        """Ask the run to heal and stop; harmless when it has been asked already."""
        if self.ending is None:
            self.ending = ending
        self.event.set()

    async def before(self, waiting: asyncio.Future[Any]) -> bool:
        """Wait for something, without ending it; True if the run has been asked to stop by then."""
        stopping = asyncio.ensure_future(self.event.wait())
        try:
            await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancelled(stopping)
        return self.event.is_set()

    async def unless(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """The coroutine's result; raises `Stopped`, with the coroutine cancelled, if the run is asked to stop first."""
        working = asyncio.ensure_future(coroutine)
        try:
            if await self.before(working) and not working.done():
                raise Stopped
            return working.result()
        finally:
            await cancelled(working)


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait for their end, however they end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
