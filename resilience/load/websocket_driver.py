"""The WebSocket driver: handshake, welcome, messages that are answered, and staying connected, on `websockets`.

Theory of operation. An operation is the user's arrival: connect with the plan's headers (a token, for instance), wait for the
welcome if there is one, send each message and wait for its answer. Then the operation has ended, and the socket stays open for
`hold_ns` as one of the driver's live sockets, which count what they hear (broadcasts) and whether they were lost early.

What it deliberately does not do: reconnect (an operation that fails is a failure), compress, or send pings of its own.
"""

import asyncio
import contextlib
import ssl

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException

from resilience.load.fields import fill, row_of
from resilience.load.judging import unexpected
from resilience.load.model import Stream
from resilience.load.recorder import Recorder
from resilience.load.requests import WebSocketRequest
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import OK, PROTOCOL, RESET, WRONG_DATA


class WebSocketDriver(TaskDriver):
    """Users who arrive on WebSockets."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, WebSocketRequest):
            raise TypeError("the WebSocket driver needs a WebSocketRequest")
        self._request = stream.request
        self._tls = _tls_context(stream.request)
        self._held: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._lost = 0
        self._heard = 0

    def figures(self) -> dict[str, int]:
        """Sockets held open now; those that the other side closed while they were to be held; messages heard meanwhile."""
        return {"live": len(self._held), "lost": self._lost, "heard": self._heard}

    async def attempt(self, operation: Operation) -> Answer:
        """Arrive, and stay."""
        request = self._request
        row = row_of(request.data, operation.i)
        headers = {name: fill(value, operation.i, row) for name, value in request.headers}
        headers[self.stream.correlate] = self.id_of(operation.i)
        operation.has_turn()
        try:
            socket = await connect(
                fill(request.url, operation.i, row),
                additional_headers=headers,
                compression=None,
                open_timeout=None,
                ping_interval=None,
                close_timeout=1,
                proxy=None,
                ssl=self._tls,
            )
        except InvalidStatus as error:
            operation.is_sending()
            status = error.response.status_code
            return Answer(unexpected(status), status)
        operation.is_connected()
        held = False
        try:
            answer = await self._converse(
                socket, operation, [fill(text, operation.i, row) for text in request.messages]
            )
            if answer.outcome == OK and request.hold_ns:
                held = True
                task = asyncio.create_task(self._hold(socket))
                self._held.add(task)
                task.add_done_callback(self._held.discard)
            return answer
        finally:
            if not held:
                # Not awaited: the closing handshake is no part of the operation.
                task = asyncio.create_task(_close(socket))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def release(self) -> None:
        """Close every socket that is still open."""
        tasks = [*self._held, *self._closing]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def explain(self, error: Exception, operation: Operation) -> str:
        """The library's errors: a lost socket, or no WebSocket at all."""
        if isinstance(error, ConnectionClosed):
            return RESET
        if isinstance(error, InvalidHandshake):
            return RESET if isinstance(error.__cause__, EOFError | OSError) else PROTOCOL
        # AssertionError: the library asserts what a peer can break that speaks first, and something else.
        if isinstance(error, WebSocketException | AssertionError):
            return PROTOCOL
        return super().explain(error, operation)

    async def _converse(self, socket: ClientConnection, operation: Operation, messages: list[str]) -> Answer:
        operation.is_sending()
        if self._request.welcome:
            await socket.recv()
            operation.hears()
        for message in messages:
            await socket.send(message)
            heard = await socket.recv()
            operation.hears()
            if self._request.echo and heard != message:
                return Answer(WRONG_DATA, 101)
        return Answer(OK, 101)

    async def _hold(self, socket: ClientConnection) -> None:
        try:
            async with asyncio.timeout(self._request.hold_ns / 1e9):
                async for _ in socket:
                    self._heard += 1
            self._lost += 1
        except TimeoutError:
            pass
        except ConnectionClosed:
            self._lost += 1
        finally:
            await _close(socket)


async def _close(socket: ClientConnection) -> None:
    try:
        with contextlib.suppress(WebSocketException, OSError):
            await socket.close()
    finally:
        socket.transport.abort()


def _tls_context(request: WebSocketRequest) -> ssl.SSLContext | None:
    if not request.url.startswith("wss:"):
        return None
    context = ssl.create_default_context(cafile=request.ca_file)
    if request.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
