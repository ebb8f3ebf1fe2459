"""The script driver: an `async def` of the user's own Python file is the operation.

Theory of operation. The file is loaded once in each worker, by its path, without being put on `sys.path`; the function is called
with a `UserContext` for each operation. It returns None (ok) or the name of a category; an AssertionError is wrong data,
connection errors and time-outs are what they are. What the script does not stamp counts from the operation's start.

    async def place_order(ctx):
        async with ctx.http.post(ctx.url("/orders"), json={"n": ctx.i}, headers=ctx.headers) as answer:
            assert answer.status == 201
            ctx.record("order", order=(await answer.json())["id"])

What it deliberately does not do: sandbox the script, or forgive an exception: an unknown one is logged once a kind and counted as
wrong data.
"""

import importlib.util
import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic_ns
from typing import Any
from urllib.parse import urljoin

import aiohttp

from resilience.load.fields import row_of
from resilience.load.model import Stream
from resilience.load.noting import bounded
from resilience.load.recorder import Recorder
from resilience.load.requests import ScriptRequest
from resilience.load.sessions import open_connector, open_session
from resilience.load.task_driver import Answer, Operation, TaskDriver
from resilience.metrics.outcomes import CATEGORIES, CONNECT, DROPPED, OK, RESET, UNFINISHED, WRONG_DATA

_RETURNABLE = frozenset(CATEGORIES) - {DROPPED, UNFINISHED}


class ScriptError(Exception):
    """The user's file cannot be used; the message says why."""


class UserContext:
    """What a script gets: who it is, its data, and an HTTP session of its own whose traps are off."""

    __slots__ = ("_note", "_operation", "addresses", "headers", "http", "i", "id", "row")

    def __init__(
        self,
        operation: Operation,
        row: Mapping[str, str],
        id_header: tuple[str, str],
        http: aiohttp.ClientSession,
        *,
        addresses: Mapping[str, str],
        note: Callable[[dict[str, Any], int], None],
    ) -> None:
        self._operation = operation
        self._note = note
        self.addresses: Mapping[str, str] = addresses
        """Where the system is: "base", "ws", and its databases by name ("db", "cache" in the lab)."""
        self.i: int = operation.i
        """The number of the arrival in its stream."""
        self.row: Mapping[str, str] = row
        """The data row of this arrival."""
        self.id: str = id_header[1]
        """The id of this operation, for correlation."""
        self.headers: dict[str, str] = dict([id_header])
        """The correlation header, to be sent along."""
        self.http: aiohttp.ClientSession = http
        """A session with cookies of its own; connections are shared."""

    def url(self, path: str) -> str:
        """A path of the system as a whole URL; what is one already stays as it is."""
        return urljoin(self.addresses.get("base", ""), path)

    def record(self, what: str, **values: Any) -> None:
        """Write down values of this call, as a note of the run's record: numbers, truth values, texts (200 characters)."""
        now = monotonic_ns()
        fixed = {"what": what, "i": self.i, "id": self.id, "at": [self._operation.start, now]}
        # What the caller says goes first: a script may know a better outcome, or time, than we do.
        self._note({**fixed, **{name: _kept(name, value) for name, value in values.items()}}, now)

    def sending(self) -> None:
        """Stamp: the request goes out now."""
        self._operation.is_sending()

    def heard(self) -> None:
        """Stamp: the first of the answer is here."""
        self._operation.hears()


def _kept(name: str, value: Any) -> Any:
    """`at` is an interval, everything else what a note may hold."""
    return [int(end) for end in value] if name == "at" else bounded(value)


User = Callable[[UserContext], Awaitable[str | None]]


def load_user(path: str, function: str) -> User:
    """The coroutine function of a file. Raises ScriptError where there is none."""
    spec = importlib.util.spec_from_file_location(f"chaos_spike_script_{Path(path).stem}", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ScriptError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Any = getattr(module, function, None)
    if not inspect.iscoroutinefunction(found):
        raise ScriptError(f"{path} has no `async def {function}(ctx)`")
    user: User = found
    return user


class ScriptDriver(TaskDriver):
    """Operations written by the user."""

    def __init__(self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> None:
        super().__init__(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
        if not isinstance(stream.request, ScriptRequest):
            raise TypeError("the script driver needs a ScriptRequest")
        self._request = stream.request
        self._user = load_user(stream.request.path, stream.request.function)
        self._connector: aiohttp.TCPConnector | None = None

    async def prepare(self) -> int:
        """Make the connector that the scripts' sessions share."""
        self._connector = open_connector()
        return 0

    async def attempt(self, operation: Operation) -> Answer:
        """Call the user's function."""
        assert self._connector is not None
        operation.has_turn()
        operation.is_sending()
        async with open_session(self._connector) as http:
            row = row_of(self._request.data, operation.i)
            context = UserContext(
                operation,
                row,
                (self.stream.correlate, self.id_of(operation.i)),
                http,
                addresses=self._request.addresses,
                note=self.recorder.note,
            )
            outcome = await self._user(context)
        if outcome is None:
            return Answer(OK)
        if outcome not in _RETURNABLE:
            raise ScriptError(
                f"the script returned {outcome!r}; it may return None or one of {', '.join(sorted(_RETURNABLE))}"
            )
        return Answer(outcome)

    async def release(self) -> None:
        """Close the shared connector."""
        if self._connector is not None:
            await self._connector.close()

    def explain(self, error: Exception, operation: Operation) -> str:
        """What a script raises, as its driver would see it."""
        if isinstance(error, AssertionError):
            return WRONG_DATA
        if isinstance(error, ConnectionRefusedError | aiohttp.ClientConnectorError):
            return CONNECT
        if isinstance(error, ConnectionError | aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
            return RESET
        return super().explain(error, operation)
