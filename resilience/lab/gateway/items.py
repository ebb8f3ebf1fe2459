"""`GET` and `PUT /api/items/{id}`: cache-aside over PostgreSQL, kept in order by versions.

The classic race of cache-aside (a reader fetches version 1, a writer commits 2 and clears the cache, the reader stores
1) cannot happen here: every write to the cache is a script that keeps the newer version. A writer stores what it
committed, under the same rule. A cache that is down is gone around and said so (`X-Cache: bypass`); a writer that
could not reach it leaves an older version there, at most for the entry's time to live: that is this pattern's limit.

X-Cache: hit | miss | bypass. The version is in the body and in ETag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from redis.asyncio import Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as CacheGone
from redis.exceptions import RedisError

from resilience.lab.gateway.context import CACHE_HEADER, bad_request, json_object, refusal
from resilience.lab.gateway.database import Database

# Whatever has no more digits fits a bigint.
_ID_DIGITS = 18
_MAX_NAME = 200

# KEYS[1] entry; ARGV: version, entry, time to live in ms. An entry is "VERSION:JSON". 1 if stored, 0 if a newer one is there.
_STORE_NEWER = """
local held = redis.call('GET', KEYS[1])
if held and tonumber(string.match(held, '^(%d+):')) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class _Connection(Connection):
    """What uvloop raises when a connection has been closed meanwhile is no OSError: here it is what the client calls it."""

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,
    ) -> None:
        """As the client does it; ConnectionError for a connection that is closed."""
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise CacheGone(f"closed before anything was sent: {error}") from error


def cache_client(url: str, timeout_ms: int, *, blocking_reads: bool = False) -> Redis:
    """A client that gives up soon and never retries: its default of ten retries would hide an outage.

    With `blocking_reads` only connecting is limited: a subscriber may hear nothing for hours.
    """
    return Redis.from_url(
        url,
        socket_timeout=None if blocking_reads else timeout_ms / 1000,
        socket_connect_timeout=timeout_ms / 1000,
        retry=Retry(NoBackoff(), 0),
        max_connections=256,
        connection_class=_Connection,
    )


def _text(entry: bytes | str) -> str:
    return entry if isinstance(entry, str) else entry.decode()


class ItemCache:
    """Versioned entries; every method copes with a cache that is not there."""

    def __init__(self, client: Redis, ttl_ms: int) -> None:
        self._client = client
        self._ttl_ms = ttl_ms
        self._store = client.register_script(_STORE_NEWER)

    async def get(self, item_id: int) -> tuple[Mapping[str, Any] | None, bool]:
        """(the entry or `None`, whether the cache could be asked)."""
        try:
            entry = await self._client.get(f"item:{item_id}")
        except (RedisError, OSError, TimeoutError):
            return None, False
        if entry is None:
            return None, True
        try:
            return json.loads(_text(entry).partition(":")[2]), True
        except ValueError:
            return None, True  # not an entry of ours; it will be overwritten

    async def put(self, item: Mapping[str, Any]) -> bool:
        """Store unless a newer version is there; whether the cache could be asked.

        A connection of the pool may have been cut in an outage that is over by now. It must not keep an older version there: asked again, once, on
        one that is new.
        """
        try:
            try:
                await self._store_newer(item)
            except CacheGone:
                await self._client.connection_pool.disconnect(inuse_connections=False)
                await self._store_newer(item)
        except (RedisError, OSError, TimeoutError):
            return False
        return True

    async def _store_newer(self, item: Mapping[str, Any]) -> None:
        version = item["version"]
        await self._store(
            keys=[f"item:{item['id']}"], args=[version, f"{version}:{json.dumps(item)}", self._ttl_ms]
        )

    async def reachable(self) -> bool:
        """Whether it answers right now."""
        try:
            return bool(await self._client.ping())
        except (RedisError, OSError, TimeoutError):
            return False


def _item_id(request: web.Request) -> int | None:
    text = request.match_info["id"]
    if not text.isascii() or not text.isdigit() or len(text) > _ID_DIGITS:
        return None
    return int(text)


def _answer(item: Mapping[str, Any], cache: str) -> web.Response:
    return web.json_response(dict(item), headers={CACHE_HEADER: cache, "ETag": f'"{item["version"]}"'})


async def _change(request: web.Request) -> tuple[str, int, int | None]:
    """(name, price in cents, expected version if any) of the body, or a 400."""
    body = await json_object(request)
    name, price_cents, version = body.get("name"), body.get("price_cents"), body.get("version")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or "\0" in name:
        raise bad_request(f"name must be a text of 1 to {_MAX_NAME} characters")
    if type(price_cents) is not int or not 0 < price_cents < 2**53:
        raise bad_request("price_cents must be a positive whole number")
    if version is not None and (type(version) is not int or not 0 < version < 2**53):
        raise bad_request("version must be a positive whole number")
    return name, price_cents, version


class Items:
    """The item routes."""

    def __init__(self, database: Database, cache: ItemCache) -> None:
        self._database = database
        self._cache = cache

    async def get(self, request: web.Request) -> web.Response:
        """200 `{"id", "name", "price_cents", "version"}` | 404."""
        item_id = _item_id(request)
        if item_id is None:
            return refusal(404, "no such item")
        cached, cache_up = await self._cache.get(item_id)
        if cached is not None:
            return _answer(cached, "hit")
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT id, name, price_cents, version FROM items WHERE id = $1", item_id
            )
        if row is None:
            return refusal(404, "no such item")
        item = dict(row)
        stored = cache_up and await self._cache.put(item)
        return _answer(item, "miss" if stored else "bypass")

    async def put(self, request: web.Request) -> web.Response:
        """`{"name", "price_cents", "version"?}` -> 200 with the new version | 400 | 404 | 409 if `version` is not current."""
        item_id = _item_id(request)
        if item_id is None:
            return refusal(404, "no such item")
        change = await _change(request)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "UPDATE items SET name = $2, price_cents = $3, version = version + 1"
                " WHERE id = $1 AND version = coalesce($4::bigint, version)"
                " RETURNING id, name, price_cents, version",
                item_id,
                *change,
            )
            if row is None:
                current = await connection.fetchval("SELECT version FROM items WHERE id = $1", item_id)
        if row is None:
            if current is None:
                return refusal(404, "no such item")
            return refusal(409, f"the item is at version {current}")
        item = dict(row)
        stored = await self._changed(item)
        return _answer(item, "miss" if stored else "bypass")

    async def _changed(self, item: Mapping[str, Any]) -> bool:
        """Let the cache know of a committed change; whether it could be asked."""
        return await self._cache.put(item)
