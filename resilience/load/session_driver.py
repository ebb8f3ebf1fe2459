"""The session driver: users with cookies who follow redirects, in several steps, on aiohttp.

Theory of operation. One operation is one user's way through all steps; the first step that is not ok decides its outcome, and a
degraded step makes an otherwise good way degraded. A step may take values out of its answer for the steps after it; an answer
that lacks one is wrong data. `sent` is when the first step's request goes out, `first` when its answer's head is there,
`acquired` and `connected` come from aiohttp's tracing of the first step. Each step carries the operation's id.

Users who come back (`keep_users`) keep their cookies, their row of data and what they extracted; a step that is `once` is left out
when it has been ok before. An arrival is the user who has been away longest.

What it deliberately does not do: retry, limit connections, or keep a user's cookies unless the request says so.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from time import monotonic_ns
from types import SimpleNamespace
from typing import Any

import aiohttp

from resilience.load.fields import row_of
from resilience.load.judging import AnswerJudge
from resilience.load.model import Stream
from resilience.load.noting import Noting
from resilience.load.recorder import Recorder
from resilience.load.requests import HttpRequest, SessionRequest
from resilience.load.sessions import open_connector, open_session
from resilience.load.steps import extracted, take_step
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import CONNECT, DEGRADED, OK, PROTOCOL, RESET, WRONG_DATA


class _Step:
    """A step with what is compiled of it once."""

    __slots__ = ("judge", "noting", "request")

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.judge = AnswerJudge(request)
        self.noting = Noting(request.record, "http") if request.record else None


class _User:
    """Somebody with cookies, a row of data, and what the answers so far have given."""

    __slots__ = ("doing", "done", "row", "session")

    def __init__(self, session: aiohttp.ClientSession, row: dict[str, str]) -> None:
        self.session = session
        self.row = row
        self.doing = 0
        """Operations under way."""
        self.done: set[int] = set()
        """Steps that were ok and are to be taken once only."""


class SessionDriver(TaskDriver):
    """Users with cookies, in steps."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, SessionRequest) or not stream.request.steps:
            raise TypeError("the session driver needs a SessionRequest with at least one step")
        self._request = stream.request
        self._steps = [_Step(step) for step in self._request.steps]
        if any(step.once and step.record for step in self._request.steps):
            raise ValueError(
                "a step that is taken once has nothing to write down of later calls: record or once"
            )
        self._recording = any(step.noting for step in self._steps)
        self._connector: aiohttp.TCPConnector | None = None
        self._kept: dict[int, _User] = {}
        self._away: deque[int] = deque(self.numbers())
        """Users who come back and have nothing under way, the longest away first."""
        self._busy: dict[int, _User] = {}
        """Whose operations are under way, by the number of the arrival."""

    def numbers(self) -> range:
        """The users who come back to this worker: each lives in one, with one set of cookies."""
        keep = self._request.keep_users or 0
        # Fewer users than workers: they have to be in several places.
        return range(self.stripe, keep, self.stripes) or range(keep)

    async def prepare(self) -> int:
        """Make the connector; connections open as users need them."""
        self._connector = open_connector(self._request.steps[0])
        return 0

    async def attempt(self, operation: Operation) -> Answer:
        """One user's way through the steps."""
        if self._request.keep_users is None:
            user = self._busy[operation.i] = self._new_user(operation.i)
            async with user.session:
                return await self._walk(user, operation)
        # Nobody waits: when all have something under way, one of them does two things at once.
        number = self._away.popleft() if self._away else self._anybody(operation.i)
        if number not in self._kept:
            self._kept[number] = self._new_user(number)
        user = self._busy[operation.i] = self._kept[number]
        user.doing += 1
        try:
            return await self._walk(user, operation)
        finally:
            user.doing -= 1
            if not user.doing:
                self._away.append(number)

    def notes_of(self, operation: Operation, outcome: str, now: int) -> Iterable[dict[str, Any]]:
        """The notes of the steps that were taken, and one for each recording step that was not, or never ended."""
        user = self._busy.pop(operation.i, None)
        notes = list(operation.notes)
        if not self._recording:
            return notes
        missing = [step.noting for step in self._steps if step.noting is not None][len(notes) :]
        row = user.row if user is not None else self._row(self._anybody(operation.i))
        call_id = self.id_of(operation.i)
        at = (operation.sent or operation.start, now)
        return notes + [
            noting.note(operation.i, call_id, row, None, at=at, outcome=outcome) for noting in missing
        ]

    async def release(self) -> None:
        """Close the kept users and the connector."""
        for user in self._kept.values():
            await user.session.close()
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

    def _anybody(self, i: int) -> int:
        numbers = self.numbers()
        return numbers[i // self.stripes % len(numbers)] if numbers else i

    def _row(self, number: int) -> dict[str, str]:
        return {"user": str(number), **row_of(self._request.steps[0].data, number)}

    def _new_user(self, number: int) -> _User:
        assert self._connector is not None
        session = open_session(self._connector)
        session.trace_configs.append(_STAMPING)
        return _User(session, self._row(number))

    async def _walk(self, user: _User, operation: Operation) -> Answer:
        outcome = OK
        answer = Answer()
        for place, step in enumerate(self._steps):
            if place in user.done:
                continue
            answer = await self._take(user, operation, step)
            if answer.outcome == DEGRADED:
                outcome = DEGRADED
            elif answer.outcome != OK:
                return answer
            if step.request.once:
                user.done.add(place)
        return answer._replace(outcome=outcome)

    async def _take(self, user: _User, operation: Operation, step: _Step) -> Answer:
        sent = monotonic_ns()
        call_id = self.id_of(operation.i)
        heard = await take_step(
            user.session,
            step.request,
            operation.i,
            user.row,
            id_header=(self.stream.correlate, call_id),
            operation=operation,
        )
        status = heard.status or 0
        outcome = step.judge.outcome(status, heard.headers, heard.body)
        if step.request.extract and outcome in {OK, DEGRADED}:
            found = extracted(step.request.extract, heard)
            if found is None:
                outcome = WRONG_DATA
            else:
                user.row |= found
        if step.noting is not None:
            at = (sent, monotonic_ns())
            operation.notes.append(
                step.noting.note(operation.i, call_id, user.row, heard, at=at, outcome=outcome)
            )
        return Answer(outcome, status, step.judge.instance(heard.headers))


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
