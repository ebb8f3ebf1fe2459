"""What the observers share: time-outs and a size for every answer, patience on failure, and names of states as we write them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeAlias

import aiohttp

Emit: TypeAlias = Callable[[dict[str, Any]], None]

# What an observed service may do wrong: be away, be slow, answer nonsense, or JSON that is nested deeper than anybody reads. All of
# it is retried, none of it is fatal.
TROUBLE: Final = (
    aiohttp.ClientError,
    TimeoutError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    OverflowError,
    RecursionError,
)
RETRY_S: Final = 0.2
MOST_BYTES: Final = 8 << 20
"""A service that says more than this at once makes no sense."""

_STATES: Final = {
    "closed": "closed",
    "open": "open",
    "opened": "open",
    "half_open": "half_open",
    "half_opened": "half_open",
    "forced_open": "forced_open",
    "disabled": "disabled",
    "metrics_only": "disabled",  # Resilience4j: it counts, and lets everything through
}


def state_name(word: str) -> str:
    """`half-open`, `HALF_OPEN`, `half-opened`, ... to `half_open`. ValueError for a word that is no state."""
    name = _STATES.get(word.strip().lower().replace("-", "_"))
    if name is None:
        raise ValueError(f"no breaker state: {word!r}")
    return name


def session(timeout_s: float | None, *, connect_s: float = 2.0) -> aiohttp.ClientSession:
    """A client session of one observer; `timeout_s` None for streams that stay open."""
    timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_s)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=4))


async def whole(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer. ValueError for one without end: it would fill the runner's memory."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            raise ValueError("an answer without end")
    return bytes(body)


async def server_sent(response: aiohttp.ClientResponse) -> AsyncIterator[str | None]:
    """The data of each event, and None for each line that ends none: somebody is there. ValueError for an event without end."""
    data: list[str] = []
    size = 0
    async for raw in response.content:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line and data:
            yield "\n".join(data)
            data.clear()
            size = 0
            continue
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
            size += len(raw)
            if size > MOST_BYTES:
                raise ValueError("an event without end")
        yield None


def now_ns() -> int:
    """The run record's clock."""
    return time.monotonic_ns()


async def pause() -> None:
    """Between two attempts on something that is away."""
    await asyncio.sleep(RETRY_S)


class Missed:
    """Attempts that brought nothing, told as one gap once there is an answer again, or observing ends."""

    def __init__(self) -> None:
        self._count = 0
        self._since_ns = 0

    def note(self, asked_ns: int) -> None:
        """One more; `asked_ns` is when it was made."""
        self._count += 1
        self._since_ns = self._since_ns or asked_ns

    def clear(self) -> None:
        """What was missed has been told after all."""
        self._count = self._since_ns = 0

    def report(self, emit: Emit, source: Mapping[str, str]) -> None:
        """Emit the gap, if there is one, and begin anew."""
        if self._count:
            emit({"kind": "gap", **source, "lost": self._count, "at": [self._since_ns, now_ns()]})
            self.clear()
