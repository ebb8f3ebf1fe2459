"""The session driver: users with cookies who follow redirects, in several steps, on aiohttp.

Theory of operation. One operation is one user's way through all steps; the first step that is not ok decides its outcome, and a
degraded step makes an otherwise good way degraded. `sent` is when the first step's request goes out, `first` when its answer's
head is there, `acquired` and `connected` come from aiohttp's tracing of the first step. Each step carries the operation's id.

What it deliberately does not do: retry, limit connections, or keep a user's cookies unless the request says so.
"""

import asyncio
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

import aiohttp

from resilience.load.fields import fill, row_of
from resilience.load.judging import AnswerJudge
from resilience.load.model import Stream
from resilience.load.recorder import Recorder
from resilience.load.requests import HttpRequest, SessionRequest
from resilience.load.sessions import open_connector, open_session
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import CONNECT, DEGRADED, OK, PROTOCOL, RESET


class SessionDriver(TaskDriver):
    """Users with cookies, in steps."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, SessionRequest) or not stream.request.steps:
            raise TypeError("the session driver needs a SessionRequest with at least one step")
        self._request = stream.request
        self._judges = [AnswerJudge(step) for step in self._request.steps]
        self._connector: aiohttp.TCPConnector | None = None
        self._kept: dict[int, aiohttp.ClientSession] = {}

    async def prepare(self) -> int:
        """Make the connector; connections open as users need them."""
        self._connector = open_connector(self._request.steps[0])
        return 0

    async def attempt(self, operation: Operation) -> Answer:
        """One user's way through the steps."""
        if self._request.keep_users is not None:
            user = operation.i % self._request.keep_users
            if user not in self._kept:
                self._kept[user] = self._new_session()
            return await self._walk(self._kept[user], operation)
        async with self._new_session() as session:
            return await self._walk(session, operation)

    async def release(self) -> None:
        """Close the kept users and the connector."""
        for session in self._kept.values():
            await session.close()
        if self._connector is not None:
            await self._connector.close()
            await asyncio.sleep(0)

    def explain(self, error: Exception, operation: Operation) -> str:
        """Errors of aiohttp: no connection, a lost one, or no HTTP."""
        if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientSSLError):
            return CONNECT
        if isinstance(
            error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | aiohttp.ClientConnectionError
        ):
            return RESET
        if isinstance(error, aiohttp.ClientPayloadError):
            return RESET
        if isinstance(error, aiohttp.ClientResponseError | aiohttp.TooManyRedirects | aiohttp.InvalidURL):
            return PROTOCOL
        return super().explain(error, operation)

    def _new_session(self) -> aiohttp.ClientSession:
        assert self._connector is not None
        session = open_session(self._connector)
        session.trace_configs.append(_STAMPING)
        return session

    async def _walk(self, session: aiohttp.ClientSession, operation: Operation) -> Answer:
        outcome = OK
        answer = Answer()
        for step, judge in zip(self._request.steps, self._judges, strict=True):
            answer = await self._step(session, operation, step, judge)
            if answer.outcome == DEGRADED:
                outcome = DEGRADED
            elif answer.outcome != OK:
                return answer
        return answer._replace(outcome=outcome)

    async def _step(
        self, session: aiohttp.ClientSession, operation: Operation, step: HttpRequest, judge: AnswerJudge
    ) -> Answer:
        row = row_of(step.data, operation.i)
        headers = {name: fill(value, operation.i, row) for name, value in step.headers}
        headers[self.stream.correlate] = self.id_of(operation.i)
        body = step.body
        if body is not None:
            body = fill(body.decode("latin-1"), operation.i, row).encode("latin-1")
        async with session.request(
            step.method,
            fill(step.url, operation.i, row),
            headers=headers,
            data=body,
            trace_request_ctx=operation,
        ) as response:
            operation.hears()
            content = await response.read()
            found = [(name.lower(), value) for name, value in response.raw_headers]
            return Answer(
                judge.outcome(response.status, found, content), response.status, judge.instance(found)
            )


def _tracing() -> aiohttp.TraceConfig:
    """Stamps of the first step, where aiohttp knows them."""
    tracing = aiohttp.TraceConfig()

    def operation_of(context: SimpleNamespace) -> Operation:
        found: Operation = context.trace_request_ctx
        return found

    async def turn(_session: Any, context: SimpleNamespace, _event: Any) -> None:
        operation_of(context).has_turn()

    async def connected(_session: Any, context: SimpleNamespace, _event: Any) -> None:
        operation = operation_of(context)
        if not operation.sent:
            operation.is_connected()

    async def sending(_session: Any, context: SimpleNamespace, _event: Any) -> None:
        operation = operation_of(context)
        operation.has_turn()
        operation.sent = operation.sent or monotonic_ns()

    tracing.on_connection_create_start.append(turn)
    tracing.on_connection_create_end.append(connected)
    tracing.on_connection_reuseconn.append(turn)
    tracing.on_request_headers_sent.append(sending)
    tracing.freeze()
    return tracing


_STAMPING = _tracing()
