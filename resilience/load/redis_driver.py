"""The Redis driver: one command an operation, or several, on redis-py's connections.

Theory of operation. redis-py's client retries ten times with backoff by default, so an outage disappears inside it. This driver
takes connections only, with no retry, from its own pool, so that waiting, connecting, sending and hearing each have their
stamp. A connection on which anything went wrong is closed.

What it deliberately does not do: cluster or sentinel, pipelines, decoding beyond text. LOADING and OOM count as shed, other
error replies as 5xx.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from time import monotonic_ns
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from resilience.load.fields import fill, row_of
from resilience.load.model import Stream
from resilience.load.noting import Noting
from resilience.load.recorder import Recorder
from resilience.load.requests import RedisRequest
from resilience.load.sources import Heard
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import CONNECT, OK, PROTOCOL, RESET, SERVER_ERROR, SHED, TIMEOUT, WRONG_DATA

_READING: Final = frozenset({"GET", "GETEX", "GETDEL", "MGET", "HGET", "HMGET"})
"""Commands whose missing values are null replies: cache hits and misses."""


class RedisDriver(TaskDriver):
    """Commands on Redis or Valkey."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, RedisRequest):
            raise TypeError("the Redis driver needs a RedisRequest")
        self._request = stream.request
        self._commands = (stream.request.command, *stream.request.then)
        self._noting = Noting(stream.request.record, "redis") if stream.request.record else None
        self._factory = ConnectionPool.from_url(
            stream.request.url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            decode_responses=True,
            health_check_interval=0,
        )
        self._idle: deque[AbstractConnection] = deque()

    async def prepare(self) -> int:
        """Open connections beforehand, until one fails."""
        for _ in range(min(self.wanted, self.cap)):
            connection = self._factory.make_connection()  # type: ignore[no-untyped-call]
            try:
                async with asyncio.timeout(self.stream.timeout_ns / 1e9):
                    await connection.connect()
            except (RedisError, OSError, TimeoutError):
                await connection.disconnect(nowait=True)
                break
            self._idle.append(connection)
        return len(self._idle)

    async def attempt(self, operation: Operation) -> Answer:
        """Send the command and hear the reply."""
        operation.has_turn()
        connection = self._idle.popleft() if self._idle else self._factory.make_connection()  # type: ignore[no-untyped-call]
        sound = False
        try:
            if not connection.is_connected:
                await connection.connect()
                operation.is_connected()
            row = row_of(self._request.data, operation.i)
            operation.is_sending()
            reply: Any = None
            for command in self._commands:
                words = [fill(part, operation.i, row) for part in command]
                await connection.send_command(*words)
                try:
                    reply = await connection.read_response()
                except ResponseError:
                    sound = True
                    raise
                finally:
                    operation.hears()
                self._count(words[0], reply)
            sound = True
            operation.heard = Heard(reply=reply)
            expected = self._request.expect
            wrong = expected is not None and _text(reply) != fill(expected, operation.i, row)
            return Answer(WRONG_DATA if wrong else OK)
        finally:
            if sound:
                self._idle.append(connection)
            else:
                await connection.disconnect(nowait=True)

    def notes_of(self, operation: Operation, outcome: str, now: int) -> Iterable[dict[str, Any]]:
        """The note of an operation, if there is to be one."""
        return self.note_of(self._noting, row_of(self._request.data, operation.i), operation, outcome, now)

    def _count(self, command: str, reply: Any) -> None:
        """A reading command found something, or it did not; of several keys each counts."""
        if command.upper() not in _READING:
            return
        replies = reply if isinstance(reply, list) else [reply]
        now = monotonic_ns()
        found = sum(1 for each in replies if each is not None)
        if found:
            self.recorder.figures.count("hits", now, found)
        if found < len(replies):
            self.recorder.figures.count("misses", now, len(replies) - found)

    async def release(self) -> None:
        """Close every connection."""
        while self._idle:
            await self._idle.popleft().disconnect(nowait=True)
        await self._factory.disconnect()

    def explain(self, error: Exception, operation: Operation) -> str:
        """redis-py's errors."""
        if isinstance(error, BusyLoadingError | OutOfMemoryError):
            return SHED
        if isinstance(error, ResponseError):
            return SERVER_ERROR
        if isinstance(error, RedisTimeoutError):
            return TIMEOUT if operation.sent else CONNECT
        if isinstance(error, RedisConnectionError):
            return RESET if operation.sent else CONNECT
        if isinstance(error, RedisError):
            return PROTOCOL
        return super().explain(error, operation)


def _text(reply: object) -> str:
    return "" if reply is None else str(reply)
