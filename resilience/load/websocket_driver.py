"""The WebSocket driver: users who perhaps log in, arrive on a socket, and stay connected for a while.

Theory of operation. An operation is the user's arrival: log in if the plan says so, connect with the plan's headers (a token, for
instance), wait for the welcome if there is one, send each message and wait for its answer. Then the operation has ended, and the
user stays for `hold_ns` as one of the driver's live sockets (`SocketUser`): talks, hears what is pushed, and comes back after a
loss if the plan wants that. Stays end with the run at the latest.

What it deliberately does not do: try an arrival again (an operation that fails is a failure), compress, or send pings of its own.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from time import monotonic_ns

import aiohttp

from resilience.load.close_codes import closed_outcome
from resilience.load.fields import row_of
from resilience.load.judging import AnswerJudge, unexpected
from resilience.load.model import Stream
from resilience.load.recorder import Recorder
from resilience.load.requests import HttpRequest, WebSocketRequest
from resilience.load.sessions import open_connector, open_session
from resilience.load.socket_link import HungUpError, LinkError, LinkLostError, RefusedError
from resilience.load.socket_user import SocketUser, WrongMessageError
from resilience.load.steps import extracted, take_step
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import CONNECT, DEGRADED, OK, PROTOCOL, RESET, TIMEOUT, WRONG_DATA

_SWITCHED = 101
_CATEGORIES: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((WrongMessageError,), WRONG_DATA),
    ((HungUpError,), RESET),
    ((aiohttp.ClientConnectorError, aiohttp.ClientSSLError), CONNECT),
    ((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError), RESET),
    ((LinkError, aiohttp.ClientError), PROTOCOL),
)
"""The libraries' errors, the narrow ones first."""


class WebSocketDriver(TaskDriver):
    """Users who arrive on WebSockets."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, WebSocketRequest):
            raise TypeError("the WebSocket driver needs a WebSocketRequest")
        self._request = stream.request
        self._tls = _tls_context(stream.request)
        login = stream.request.login
        self._judge = None if login is None else AnswerJudge(login)
        self._connector: aiohttp.TCPConnector | None = None
        self._held: dict[asyncio.Task[None], SocketUser] = {}
        self._here: set[SocketUser] = set()
        """Users with an open socket, those who are just being welcomed included."""
        self._closing: set[asyncio.Task[None]] = set()
        self._ends: deque[int] = deque()
        """When each user who has arrived wants to leave, in the order of arrival."""

    @property
    def lingering(self) -> int:
        """Users who stay."""
        return len(self._held)

    def figures(self) -> dict[str, int]:
        """Users who should be connected by the plan, and those who are."""
        now = monotonic_ns()
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        live = sum(1 for user in self._held.values() if user.connected)
        return {"wanted": len(self._ends), "live": live}

    async def prepare(self) -> int:
        """Make the connector for logins; sockets open as users arrive."""
        if self._request.login is not None:
            self._connector = open_connector(self._request.login)
        return 0

    async def attempt(self, operation: Operation) -> Answer:
        """Arrive, and stay."""
        request = self._request
        until = operation.start + request.hold_ns
        if request.hold_ns:
            self._ends.append(until)
        row: Mapping[str, str] = {"user": str(operation.i), **row_of(request.data, operation.i)}
        operation.has_turn()
        if request.login is not None:
            operation.is_sending()
            refused, found = await self._log_in(request.login, operation, row)
            if refused is not None:
                return refused
            row = {**row, **found}
        user = SocketUser(
            request,
            self.recorder,
            i=operation.i,
            row=row,
            id_header=(self.stream.correlate, self.id_of(operation.i)),
            tls=self._tls,
        )
        try:
            await user.open(operation.is_sending)
        except RefusedError as error:
            return Answer(unexpected(error.status), error.status)
        except OSError:
            return Answer(CONNECT)  # nobody there, or no TLS: also after a login, which has been sent
        operation.is_connected()
        self._here.add(user)
        return await self._arrive(user, operation, until)

    def give_up(self, now: int) -> None:
        """End everything under way as unfinished; whoever stays has stayed until now."""
        super().give_up(now)
        for user in self._here:
            user.leave(now, lost=False, code=None)

    async def release(self) -> None:
        """Close every socket that is still open."""
        tasks = [*self._held, *self._closing]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._connector is not None:
            await self._connector.close()

    def explain(self, error: Exception, operation: Operation) -> str:
        """The libraries' errors: a lost socket, no WebSocket at all, or a login that could not be sent."""
        for kinds, category in _CATEGORIES:
            if isinstance(error, kinds):
                return category
        return super().explain(error, operation)

    def timed_out(self, operation: Operation) -> str:
        """Who was never let in by a handshake never connected, whatever was sent; a login is an exchange of its own."""
        return TIMEOUT if operation.connected or self._request.login is not None else CONNECT

    async def _log_in(
        self, login: HttpRequest, operation: Operation, row: Mapping[str, str]
    ) -> tuple[Answer | None, dict[str, str]]:
        """The answer that ends the operation, or none and what the login gave."""
        assert self._connector is not None
        assert self._judge is not None
        id_header = (self.stream.correlate, self.id_of(operation.i))
        async with open_session(self._connector) as session:
            heard = await take_step(session, login, operation.i, row, id_header=id_header)
        status = heard.status or 0
        outcome = self._judge.outcome(status, heard.headers, heard.body)
        if outcome not in {OK, DEGRADED}:
            return Answer(outcome, status), {}
        found = extracted(login.extract, heard)
        return (Answer(WRONG_DATA, status), {}) if found is None else (None, found)

    async def _arrive(self, user: SocketUser, operation: Operation, until: int) -> Answer:
        """The welcome and the first messages; afterwards the user stays, or is gone."""
        held = lost = False
        code: int | None = None
        try:
            await user.greet()
            if user.first_ns is not None:
                operation.first = user.first_ns
            if self._request.hold_ns:
                held = True
                task = asyncio.create_task(self._stay(user, until))
                self._held[task] = user
                task.add_done_callback(lambda done: self._held.pop(done, None) and None)
            return Answer(OK, _SWITCHED)
        except WrongMessageError:
            return Answer(WRONG_DATA, _SWITCHED)
        except LinkLostError as closed:
            code = closed.code
            lost = True
            return Answer(closed_outcome(code), code)
        finally:
            if not held:
                self._here.discard(user)
                user.leave(monotonic_ns(), lost=lost, code=code)
                # Not awaited: the closing handshake is no part of the operation.
                task = asyncio.create_task(user.close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def _stay(self, user: SocketUser, until: int) -> None:
        try:
            while True:
                sound = await user.stay(until)
                await user.close()
                if sound or self._request.reconnect_ns is None or not await user.come_back(until):
                    return
        except Exception:
            # Whatever went wrong here, there was a socket, and it leaves its note; who asks for the task learns the rest.
            user.leave(monotonic_ns(), lost=True, code=None)
            raise
        finally:
            self._here.discard(user)
            await user.close()


def _tls_context(request: WebSocketRequest) -> ssl.SSLContext | None:
    if not request.url.startswith("wss:"):
        return None
    context = ssl.create_default_context(cafile=request.ca_file)
    if request.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
