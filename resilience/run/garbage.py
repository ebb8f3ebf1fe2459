"""What a run leaves to the garbage collector is collected soon, in small pieces.

Each connection of asyncio's own transports is a circle of references, and observers open several a second: only a collection frees them. Left to
itself Python collects everything when what is young has grown to a quarter of what is old: with a hundred thousand objects that are there from the
imports on, that is after many minutes, takes a tenth of a second, and the runner has meanwhile become larger than it need be.

So what the start left behind is set aside (`gc.freeze`), the young are looked at each second, and all that came since then every half minute, which
takes a millisecond or two. What has become free by that goes back to the system where the C library can (glibc): the buffers of answers, lines and
directories leave holes between what stays, and a heap with holes grows although nothing in it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import itertools
from collections.abc import AsyncIterator

_EVERY_S = 1.0
_ALL_EVERY = 30


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[None]:
    """Collect while inside. What somebody else has frozen before stays frozen, and so then does what there was at the start."""
    froze_before = gc.get_freeze_count() > 0
    gc.collect()
    gc.freeze()
    task = asyncio.create_task(_collect())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if not froze_before:
            gc.unfreeze()


async def _collect() -> None:
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
    for turn in itertools.count(1):
        await asyncio.sleep(_EVERY_S)
        if turn % _ALL_EVERY:
            gc.collect(1)
            continue
        gc.collect()
        if give_back is not None:
            give_back(0)
