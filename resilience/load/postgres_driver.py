"""The PostgreSQL driver: one statement an operation, or several, on asyncpg.

Theory of operation. With a pool, as an application has one, waiting for a connection is part of the operation and a stamp of its
own (`pool`). With `pool=0` every operation opens its own connection, as a herd does. Arguments are texts when they have been
filled in; what the server takes them for (`$1::int`, or a column's type) it says when a statement is prepared, which is done once
for each statement, and asyncpg is handed values of that kind.

What it deliberately does not do: result conversion, or a second try. Too many connections and the rest of class
53 (insufficient resources) count as shed: the server refused on purpose.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import zip_longest
from time import monotonic_ns
from typing import Any

import asyncpg

from resilience.load.fields import fill, row_of
from resilience.load.model import Stream, share
from resilience.load.noting import Noting
from resilience.load.recorder import Recorder
from resilience.load.requests import PostgresRequest, Statement
from resilience.load.sources import Heard
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import CONNECT, OK, RESET, SERVER_ERROR, SHED, WRONG_DATA


class PostgresDriver(TaskDriver):
    """Statements on PostgreSQL."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, PostgresRequest):
            raise TypeError("the PostgreSQL driver needs a PostgresRequest")
        self._request = stream.request
        self._statements = (
            Statement(stream.request.sql, stream.request.arguments),
            *stream.request.then,
        )
        self._kinds: dict[Statement, tuple[str, ...]] = {}
        """What the server takes the arguments of each statement for."""
        self._noting = Noting(stream.request.record, "postgres") if stream.request.record else None
        self._size = max(1, share(stream.request.pool, stripe, stripes)) if stream.request.pool else 0
        self._pool: asyncio.LifoQueue[Any] = asyncio.LifoQueue()

    async def prepare(self) -> int:
        """Open the pool; a place whose connection fails stays empty until an operation needs it."""
        opened = 0
        for _ in range(self._size):
            connection = None
            try:
                connection = await self._connect(self.stream.timeout_ns / 1e9)
                opened += 1
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection = None  # the operations will say why
            if connection is not None:
                await self._learn(connection)
            self._pool.put_nowait(connection)
        return opened

    async def attempt(self, operation: Operation) -> Answer:
        """Run the statement."""
        if not self._size:
            operation.has_turn()
            connection = await self._connect(None)
            operation.is_connected()
            try:
                return await self._run(connection, operation)
            finally:
                connection.terminate()
        connection = await self._pool.get()
        operation.has_turn()
        keep = None
        try:
            if connection is None or connection.is_closed():
                connection = await self._connect(None)
                operation.is_connected()
            answer = await self._run(connection, operation)
            keep = connection
            return answer
        except asyncpg.PostgresError:
            keep = (
                connection  # the server answered: the connection is sound, unless it says otherwise next time
            )
            raise
        finally:
            if keep is None and connection is not None:
                connection.terminate()
            self._pool.put_nowait(keep)

    def notes_of(self, operation: Operation, outcome: str, now: int) -> Iterable[dict[str, Any]]:
        """The note of an operation, if there is to be one."""
        return self.note_of(self._noting, row_of(self._request.data, operation.i), operation, outcome, now)

    async def release(self) -> None:
        """Close the pool."""
        while not self._pool.empty():
            connection = self._pool.get_nowait()
            if connection is not None:
                connection.terminate()
        await asyncio.sleep(0)

    def explain(self, error: Exception, operation: Operation) -> str:
        """The server's errors by their class, the client's by whether anything was sent."""
        if isinstance(error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError):
            return RESET if operation.sent else CONNECT
        if isinstance(error, asyncpg.PostgresError):
            state = str(getattr(error, "sqlstate", "") or "")
            return SHED if state.startswith("53") else SERVER_ERROR
        return super().explain(error, operation)

    async def _connect(self, timeout_s: float | None) -> Any:
        return await asyncpg.connect(self._request.dsn, timeout=timeout_s or self.stream.timeout_ns / 1e9)

    async def _run(self, connection: Any, operation: Operation) -> Answer:
        if self._request.transaction:
            async with connection.transaction():
                return await self._send(connection, operation)
        return await self._send(connection, operation)

    async def _learn(self, connection: Any) -> None:
        """Ask the server once what it takes each argument for; a statement that it does not like fails when it is sent."""
        for statement in self._statements:
            if statement.arguments and statement not in self._kinds:
                with contextlib.suppress(
                    asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError
                ):
                    prepared = await connection.prepare(statement.sql, timeout=self.stream.timeout_ns / 1e9)
                    self._kinds[statement] = tuple(kind.name for kind in prepared.get_parameters())

    async def _send(self, connection: Any, operation: Operation) -> Answer:
        row = row_of(self._request.data, operation.i)
        operation.is_sending()
        rows: list[Any] = []
        await self._learn(connection)
        for statement in self._statements:
            kinds = self._kinds.get(statement, ())
            texts = [fill(text, operation.i, row) for text in statement.arguments]
            # A statement that could not be prepared goes out as it is: its error is the operation's.
            arguments = [_value(text, kind) for text, kind in zip_longest(texts, kinds, fillvalue="")]
            rows = await connection.fetch(statement.sql, *arguments)
            operation.hears()
            self.recorder.figures.count("statements", monotonic_ns())
        operation.heard = Heard(row=dict(rows[0]) if rows else None, rows=len(rows))
        expected = self._request.expect_rows
        return Answer(OK if expected is None or len(rows) == expected else WRONG_DATA)


def _value(text: str, kind: str) -> Any:
    """An argument as asyncpg wants one of that type. Raises ValueError where the text is none."""
    convert = _CONVERTED.get(kind)
    return text if convert is None else convert(text)


def _truth(text: str) -> bool:
    if text.lower() not in {"true", "t", "yes", "1", "false", "f", "no", "0"}:
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in {"true", "t", "yes", "1"}


_CONVERTED: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), int),
    **dict.fromkeys(("float4", "float8"), float),
    "numeric": Decimal,
    "bool": _truth,
    "bytea": str.encode,
    "date": date.fromisoformat,
    **dict.fromkeys(("timestamp", "timestamptz"), datetime.fromisoformat),
}
