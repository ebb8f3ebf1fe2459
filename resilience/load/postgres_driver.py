"""The PostgreSQL driver: one statement an operation, or several, on asyncpg.

Theory of operation. With a pool, as an application has one, waiting for a connection is part of the operation and a stamp of its
own (`pool`). With `pool=0` every operation opens its own connection, as a herd does. Statements are sent with their arguments
as text and cast by the server where the SQL says so (`$1::int`).

What it deliberately does not do: result conversion, or a second try. Too many connections and the rest of class
53 (insufficient resources) count as shed: the server refused on purpose.
"""

import asyncio
from collections.abc import Iterable
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

    async def _send(self, connection: Any, operation: Operation) -> Answer:
        row = row_of(self._request.data, operation.i)
        operation.is_sending()
        rows: list[Any] = []
        for statement in self._statements:
            arguments = [fill(text, operation.i, row) for text in statement.arguments]
            rows = await connection.fetch(statement.sql, *arguments)
            operation.hears()
            self.recorder.figures.count("statements", monotonic_ns())
        operation.heard = Heard(row=dict(rows[0]) if rows else None, rows=len(rows))
        expected = self._request.expect_rows
        return Answer(OK if expected is None or len(rows) == expected else WRONG_DATA)
