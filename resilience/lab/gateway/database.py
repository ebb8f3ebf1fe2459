"""The gateway's PostgreSQL: pool, schema, seed, and what can go wrong with it in words of our own.

The pool is bounded and so is the wait for it: when the database slows down, callers beyond the pool are refused
quickly (`DatabaseBusy`, shed) instead of queueing without end. Nothing is retried. Statements leave no session state
behind, so connections go back to the pool without asyncpg's reset round trip, which would double the cost of a read.

Any gateway may be the first on an empty database: the schema is created under an advisory lock and seeded once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from resilience.lab.gateway.passwords import hash_password

LOG = logging.getLogger("chaos_spike.lab")

USERS = 1000
ITEMS = 1000
SEED_PASSWORD = "lab-password"  # noqa: S105 - the published password of the lab's invented users
ACQUIRE_S = 0.5
_CONNECT_S = 2.0
_START_S = 20.0
_SCHEMA_LOCK = 0x6368616F73  # any number that no other program on this database is likely to lock

SCHEMA = """
CREATE TABLE IF NOT EXISTS users (name text PRIMARY KEY, password text NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    id bigint PRIMARY KEY, name text NOT NULL, price_cents bigint NOT NULL, version bigint NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, request_id text NOT NULL, customer text NOT NULL,
    sku text NOT NULL, quantity integer NOT NULL, total_cents bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS orders_by_request ON orders (request_id);
CREATE TABLE IF NOT EXISTS stock_moves (
    order_id bigint PRIMARY KEY REFERENCES orders (id), sku text NOT NULL, delta integer NOT NULL);
"""

_TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when the database is away: a connection that dies between two messages is an "internal client error"."""


class DatabaseBusy(Exception):  # noqa: N818 - a state of the pool
    """No connection of the pool came free in time: the caller is shed."""


class DatabaseFailed(Exception):  # noqa: N818 - a state of the database
    """The database could not be reached, or broke off."""


class DatabaseLate(Exception):  # noqa: N818 - a state of the database
    """The database did not answer in time."""


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg publishes no types
    def get_reset_query(self) -> str:
        return ""


class Database:
    """A bounded pool; `connection()` is the only way to it."""

    def __init__(self, pool: Any, *, acquire_s: float | None = ACQUIRE_S) -> None:
        self._pool = pool
        self._acquire_s = acquire_s

    @classmethod
    async def open(
        cls, url: str, *, size: int, timeout_ms: int, acquire_s: float | None = ACQUIRE_S
    ) -> Database:
        """Connect, waiting up to 20 s for a database that is still starting; OSError with the reason if it does not.

        `acquire_s` bounds the wait for a connection of the pool; None is the mistake that the lab can show.
        """
        pool = asyncpg.create_pool(
            url,
            # No floor: asyncpg would reconnect behind our back while the database is away.
            min_size=0,
            max_size=size,
            timeout=_CONNECT_S,
            command_timeout=timeout_ms / 1000,
            connection_class=_Connection,
        )
        await pool
        deadline = asyncio.get_running_loop().time() + _START_S
        while True:
            try:
                await pool.fetchval("SELECT 1")
                return cls(pool, acquire_s=acquire_s)
            except (TimeoutError, *_TROUBLE) as error:
                if asyncio.get_running_loop().time() > deadline:
                    pool.terminate()
                    raise OSError(f"the database does not answer: {error}") from error
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Close the pool; connections that do not close in time are cut."""
        try:
            async with asyncio.timeout(0.5):
                await self._pool.close()
        except (TimeoutError, *_TROUBLE):
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for one unit of work. DatabaseBusy, DatabaseLate or DatabaseFailed when it cannot be had."""
        try:
            connection = await self._pool.acquire(timeout=self._acquire_s)
        except TimeoutError as error:
            raise DatabaseBusy("no database connection came free in time") from error
        except _TROUBLE as error:
            raise DatabaseFailed("the database cannot be reached") from error
        try:
            yield connection
        except TimeoutError as error:
            raise DatabaseLate("the database did not answer in time") from error
        except _TROUBLE as error:
            raise DatabaseFailed(f"the database broke off: {type(error).__name__}") from error
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        """Release within bounds: asyncpg cuts a connection that hangs, and the answer does not wait for it."""
        try:
            await self._pool.release(connection, timeout=ACQUIRE_S)
        except (TimeoutError, *_TROUBLE) as error:
            LOG.warning("a database connection was cut: %s", type(error).__name__)

    async def reachable(self) -> bool:
        """Whether it answers a trivial question right now."""
        try:
            async with self.connection() as connection:
                return bool(await connection.fetchval("SELECT 1", timeout=ACQUIRE_S) == 1)
        except (DatabaseBusy, DatabaseFailed, DatabaseLate):
            return False

    def sizes(self) -> tuple[int, int]:
        """(open connections, idle ones among them)."""
        return self._pool.get_size(), self._pool.get_idle_size()

    async def prepare(self, log2_n: int) -> None:
        """Create the schema and seed users and items, unless another gateway has."""
        async with self._pool.acquire(timeout=_START_S) as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            await connection.execute(SCHEMA)
            if await connection.fetchval("SELECT EXISTS (SELECT FROM users)"):
                return
            await connection.execute(
                "INSERT INTO users SELECT 'user-' || n, $1 FROM generate_series(0, $2::int - 1) n",
                hash_password(SEED_PASSWORD, log2_n),
                USERS,
            )
            await connection.execute(
                "INSERT INTO items SELECT n, 'item ' || n, 100 + (n * 37) % 5000 FROM generate_series(1, $1::int) n",
                ITEMS,
            )
