"""The HTTP driver: a pool of bare connections, and the accounting of the operations on them.

Theory of operation. `issue` takes the connection that has been idle longest (so that every connection, and every instance
behind a shared socket, gets its turn), or opens one, or drops the arrival when the stream is at its in-flight cap. Nothing is
queued inside the generator. Operations in flight stand in the order of their start, which is the order of their time-outs:
`expire` looks at the head only. Each operation ends exactly once, in `answered`, `fail`, on the connection's fast path, or in
`give_up`.

Host names are resolved once, before the run. Connections are opened beforehand as far as the target lets us; one that the
target closes is replaced when an arrival needs it. There are no retries: a request that meets a connection the target has
just closed is a `reset`, as its caller would see it.

What it deliberately does not do: cookies, redirects, HTTP/2, proxies.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic_ns

from resilience.load.fields import row_of
from resilience.load.http_connection import NOTHING_KNOWN, HttpConnection, KnownHead
from resilience.load.http_response import ResponseReader
from resilience.load.judging import AnswerJudge
from resilience.load.model import NEVER_ENDS_NS, Stream, request_id, share
from resilience.load.noting import Noting
from resilience.load.recorder import Recorder
from resilience.load.requests import HttpRequest
from resilience.load.sources import Heard
from resilience.load.template import compile_request, target_of
from resilience.metrics.outcomes import CODE, CONNECT, DROPPED, TIMEOUT, UNFINISHED

_KNOWN_HEADS = 32
"""So many heads are remembered, the youngest: with a Date in them yesterday's never come back."""
_OPENING_AT_ONCE = 64
_HEAD_END = b"\r\n\r\n"


class HttpDriver:
    """Sends one stream's requests over HTTP/1.1."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        request = stream.request
        if not isinstance(request, HttpRequest):
            raise TypeError(f"the HTTP driver does not send a {type(request).__name__}")
        self._stream = stream
        self._recorder = recorder
        self._render = compile_request(request, correlate=stream.correlate, run_id=run_id, stream=stream.name)
        self._target = target_of(request.url)
        self._judge = AnswerJudge(request)
        self._noting = Noting(request.record, "http") if request.record else None
        self._data = request.data
        self._run_id = run_id
        self._head_only = request.method.upper() == "HEAD"
        self._cap = max(1, share(stream.in_flight_cap, stripe, stripes))
        self._wanted = min(share(stream.connections, stripe, stripes), self._cap)
        self._tls = _tls_context(request.ca_file, insecure=request.insecure) if self._target.tls else None
        self._address = self._target.host
        self._connections: set[HttpConnection] = set()
        self._idle: deque[HttpConnection] = deque()
        self.in_flight: dict[HttpConnection, None] = {}
        """Operations under way, in the order of their start."""
        self._heads: dict[bytes, KnownHead] = {}
        self.latest = NOTHING_KNOWN
        """The head that was seen last: mostly the next one, too."""
        self.rows_append = recorder.rows.append
        self.idle_append = self._idle.append
        self.call = recorder.call if stream.record_calls else None
        self.next_due = NEVER_ENDS_NS
        """When the pacer has something due; kept by the pacer, read on the fast path."""
        self.pump: Callable[[], None] = _nothing
        """The pacer's own: issue what is due."""
        self.done: Callable[[int, int], None] | None = None
        """Called with an operation's number and end, for a closed model."""

    @property
    def under_way(self) -> int:
        """How many operations are in flight."""
        return len(self.in_flight)

    @property
    def lingering(self) -> int:
        """A request leaves nothing that lasts."""
        return 0

    def figures(self) -> dict[str, int]:
        """Open connections, and how many of them carry nothing."""
        usable = sum(1 for connection in self._connections if connection.usable)
        return {"connections": usable, "idle": max(usable - len(self.in_flight), 0)}

    async def prepare(self) -> int:
        """Resolve the target's name and open connections beforehand; says how many are open."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_STREAM)
        except OSError:
            return 0  # every operation will fail to connect, and say so
        self._address = str(found[0][4][0])
        await self.top_up()
        return len(self._idle)

    async def top_up(self) -> None:
        """Open connections until as many are open as the plan wants beforehand, or the target refuses."""
        missing = self._wanted - sum(1 for connection in self._connections if connection.usable)
        while missing > 0:
            batch = [self._open() for _ in range(min(missing, _OPENING_AT_ONCE))]
            missing -= len(batch)
            opening = [task for connection in batch if (task := connection.opening) is not None]
            _, pending = await asyncio.wait(opening, timeout=self._stream.timeout_ns / 1e9)
            if pending:
                for connection in batch:
                    if connection.opening in pending:
                        connection.close()
                await asyncio.wait(pending)
            if not any(connection.usable for connection in batch):
                return

    def issue(self, i: int, intended: int) -> None:
        """Start operation i, which was due at `intended`."""
        idle = self._idle
        while idle:
            connection = idle.popleft()
            if connection.usable:
                request = self._render(i)
                self.in_flight[connection] = None
                connection.ask(i, intended, request)
                return
        now = monotonic_ns()
        if len(self.in_flight) >= self._cap:
            self._recorder.finish(
                i,
                intended=intended,
                start=now,
                acquired=0,
                connected=0,
                sent=0,
                first=0,
                done=now,
                outcome=DROPPED,
            )
            self._note(i, (now, now), DROPPED, None)
            if self.done is not None:
                self.done(i, now)
            return
        connection = self._open()
        connection.assign(i, intended, now)
        self.in_flight[connection] = None

    def opened(self, connection: HttpConnection) -> None:
        """A connection is ready: send what waits for it."""
        connection.opening = None
        if connection.busy:
            connection.send(self._render(connection.i))
        else:
            self._idle.append(connection)

    def answered(self, connection: HttpConnection, reader: ResponseReader, now: int, *, keep: bool) -> None:
        """The answer is complete."""
        connection.busy = False
        i = connection.i
        self._end(
            connection,
            now,
            self._judge.outcome(reader.status, reader.headers, reader.body),
            reader.status,
            self._judge.instance(reader.headers),
            Heard(reader.status, reader.headers, reader.body) if self._noting is not None else None,
        )
        if keep:
            self._idle.append(connection)
        else:
            connection.close()
        if self.done is not None:
            self.done(i, now)
        if now >= self.next_due:
            self.pump()

    def fail(self, connection: HttpConnection, outcome: str, now: int) -> None:
        """The operation failed, and its connection with it."""
        self._end(connection, now, outcome, None, None)
        i = connection.i
        connection.close()
        if self.done is not None:
            self.done(i, now)

    def gone(self, connection: HttpConnection) -> None:
        """A connection is closed."""
        self._connections.discard(connection)

    def expire(self, now: int) -> None:
        """End operations that are past their time-out."""
        oldest = now - self._stream.timeout_ns
        late = []
        for connection in self.in_flight:
            if connection.start > oldest:
                break
            late.append(connection)
        for connection in late:
            self.fail(connection, TIMEOUT if connection.connected or connection.sent else CONNECT, now)

    def give_up(self, now: int) -> None:
        """End everything that is still under way, as unfinished."""
        for connection in list(self.in_flight):
            self.fail(connection, UNFINISHED, now)

    async def close(self) -> None:
        """Close every connection; afterwards no task or socket is left."""
        tasks = [connection.opening for connection in self._connections if connection.opening is not None]
        for connection in list(self._connections):
            connection.close()
        if tasks:
            await asyncio.wait(tasks)
        for _ in range(100):
            if not self._connections:
                break
            await asyncio.sleep(0)  # transports report their end on a later turn of the loop

    def new_reader(self) -> ResponseReader:
        """A reader for the next answer."""
        return ResponseReader(head_only=self._head_only, keep_body=self._judge.reads_body)

    def recall(self, data: bytes) -> KnownHead | None:
        """What is known of an answer that came whole in one read, if its head was seen before."""
        known = self._heads.get(data[: data.find(_HEAD_END) + len(_HEAD_END)])
        if known is None or len(data) != known.whole:
            return None
        self.latest = known
        return known

    def learn(self, data: bytes, reader: ResponseReader) -> None:
        """Remember a head whose answer came whole in one read, if the next with the same head can be trusted to end alike."""
        if self._judge.reads_body:
            return
        end = data.find(_HEAD_END) + len(_HEAD_END)
        bodiless = self._head_only or reader.status in {204, 304}
        whole = end + (0 if bodiless else reader.content_length or 0)
        plain = reader.keep_alive and not reader.surplus and not reader.chunked
        if not plain or len(data) != whole:
            return  # among others: an interim answer came first
        if len(self._heads) >= _KNOWN_HEADS:
            del self._heads[next(iter(self._heads))]
        outcome = self._judge.outcome(reader.status, reader.headers)
        instance = self._judge.instance(reader.headers)
        head = data[:end]
        known = KnownHead(head, end, whole, CODE[outcome], outcome, reader.status, instance)
        self._heads[head] = self.latest = known

    def _end(
        self,
        connection: HttpConnection,
        now: int,
        outcome: str,
        status: int | None,
        instance: str | None,
        heard: Heard | None = None,
    ) -> None:
        del self.in_flight[connection]
        self._recorder.finish(
            connection.i,
            intended=connection.intended,
            start=connection.start,
            acquired=connection.acquired,
            connected=connection.connected,
            sent=connection.sent,
            first=connection.first,
            done=now,
            outcome=outcome,
            status=status,
            instance=instance,
        )
        self._note(connection.i, (connection.sent or connection.start, now), outcome, heard)

    def _note(self, i: int, at: tuple[int, int], outcome: str, heard: Heard | None) -> None:
        if self._noting is not None:
            call_id = request_id(self._run_id, self._stream.name, i, self._stream.correlate)
            row = row_of(self._data, i)
            self._recorder.note(self._noting.note(i, call_id, row, heard, at=at, outcome=outcome), at[1])

    def _open(self) -> HttpConnection:
        connection = HttpConnection(self)
        self._connections.add(connection)
        connection.opening = asyncio.get_running_loop().create_task(self._connect(connection))
        return connection

    async def _connect(self, connection: HttpConnection) -> None:
        # No time-out here: a timer for each would cost half as much again. `expire` and `top_up` see to it.
        tls = self._tls
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                self._address,
                self._target.port,
                ssl=tls,
                server_hostname=self._target.host if tls is not None else None,
            )
        except OSError:  # ssl.SSLError is one
            self._connections.discard(connection)
            connection.opening = None
            if connection.busy:
                self.fail(connection, CONNECT, monotonic_ns())
        except asyncio.CancelledError:
            self._connections.discard(connection)
            connection.opening = None
            raise


def _tls_context(ca_file: str | None, *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _nothing() -> None:
    """Until a pacer takes over."""
