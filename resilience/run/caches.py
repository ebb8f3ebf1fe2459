"""What a cache server says of itself, asked where callers reach it. An observer: it writes down, it judges nothing.

`cache` events, every half second: `{"cache", "boot", "evicted", "expired", "hits", "misses", "keys", "used_bytes", "limit_bytes"}`, from the INFO of Redis or Valkey;
null for what it does not say. `boot` is the server's own id of its start. A gap while it does not answer: faults on its way are this
observer's, too. It needs redis-py (the extra `lab`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from resilience.run.clock import now_ns

Emit = Callable[[dict[str, Any]], None]

EVERY_S = 0.5
_ASK_S = 1.0
_FIELDS = {
    "evicted": "evicted_keys",
    "expired": "expired_keys",
    "hits": "keyspace_hits",
    "misses": "keyspace_misses",
    "used_bytes": "used_memory",
    "limit_bytes": "maxmemory",
}


async def watch_cache(name: str, url: str, emit: Emit) -> None:
    """Follow one server until cancelled. ValueError for what is no Redis URL."""
    async for told in _answers(url):
        at = told.pop("at")
        emit(
            {
                "kind": "cache" if told else "gap",
                **({"cache": name, **told} if told else _gap(name)),
                "at": at,
            }
        )


def _gap(name: str) -> dict[str, Any]:
    return {"source": f"cache {name}", "lost": None}


async def _answers(url: str) -> AsyncIterator[dict[str, Any]]:
    """What the server says at each look, with `at`; nothing but `at` for the first of several looks without an answer."""
    silent = False
    while True:
        lo = now_ns()
        # A connection for each look: one that was cut would say nothing about whether the server is there.
        client = Redis.from_url(
            url, socket_timeout=_ASK_S, socket_connect_timeout=_ASK_S, retry=Retry(NoBackoff(), 0)
        )
        try:
            info = await client.info()
        except (
            RedisError,
            OSError,
            RuntimeError,
            TimeoutError,
        ):  # RuntimeError: uvloop's, of a connection that was cut
            if not silent:
                yield {"at": [lo, now_ns()]}
            silent = True
        else:
            silent = False
            yield {**read_info(info), "at": [lo, now_ns()]}
        finally:
            await client.aclose()
        await asyncio.sleep(EVERY_S)


def read_info(info: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an INFO answer; None for what is not in it, or is no number."""
    keys = [
        each.get("keys")
        for name, each in info.items()
        if re.fullmatch(r"db\d+", name) and isinstance(each, Mapping)
    ]
    return {
        "boot": str(info.get("run_id", "")),
        **{figure: _whole(info.get(field)) for figure, field in _FIELDS.items()},
        "keys": sum(map(int, filter(None, keys))),
    }


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
