"""What one operation of a load is, for each driver: a request, a user's way through several, a socket, a statement, a command, a script.

Everything that an answer must be stands in keys that begin with `expect`; everything that is written down of a call stands in
`record`. Templates hold `{i}` (the number of the arrival), fields of the rows of `data`, and the names under `variables`.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from resilience.plan.fields import DurationNs, Name, PositiveNs
from resilience.plan.schema.base import Model

Rows = tuple[dict[str, str], ...] | str | None
"""Rows for templates, or the name of a CSV or JSON Lines file beside the plan."""


def _status_range(value: object) -> object:
    """`201`, `2xx` or `200-299` as its two ends."""
    text = str(value)
    if len(text) == 3 and text[0].isdigit() and text[1:].lower() == "xx":
        return (int(text[0]) * 100, int(text[0]) * 100 + 99)
    low, dash, high = text.partition("-")
    if isinstance(value, bool) or not low.isdigit() or (dash and not high.isdigit()):
        raise ValueError(f"{value!r} is no status; write 201, 2xx or 200-299")
    ends = (int(low), int(high or low))
    if not 100 <= ends[0] <= ends[1] <= 599:
        raise ValueError(f"{value!r} is no status; they run from 100 to 599")
    return ends


Status = Annotated[
    tuple[int, int],
    BeforeValidator(_status_range),
    WithJsonSchema({"type": ["integer", "string"], "examples": [201, "2xx", "200-299"]}),
]


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} cannot be split into words: {error}") from None


Command = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "examples": ["GET price:{sku}", ["SET", "price:{sku}", "{i}"]],
        }
    ),
]


class Degraded(Model):
    """How a fallback answer is told from a full one."""

    header: dict[str, str]

    @model_validator(mode="after")
    def _one_header(self) -> Degraded:
        if len(self.header) != 1:
            raise ValueError('exactly one header tells a fallback: header: {X-Degraded: "true"}')
        return self


class Call(Model):
    """What every operation has: until when its end is good, and when it is given up."""

    deadline: PositiveNs = 1_000_000_000
    timeout: PositiveNs = 10_000_000_000


class Exchange(Model):
    """One HTTP request and what its answer must be."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = {}
    json_body: Annotated[Any, Field(alias="json")] = None
    form: dict[str, str] | None = None
    body: str | None = None
    expect_status: tuple[Status, ...] = ((200, 202), (204, 204))
    expect_headers: dict[str, str] = {}
    expect_json: dict[str, Any] = {}
    degraded: Degraded | None = None
    record: dict[Name, str] = {}

    @model_validator(mode="after")
    def _one_body(self) -> Exchange:
        if sum(part is not None for part in (self.json_body, self.form, self.body)) > 1:
            raise ValueError("a request has one body: `json`, `form` or `body`")
        return self


class HttpLoad(Exchange, Call):
    """One declarative HTTP request. `{name}` in url, headers and body is filled from the rows of `data`, `{i}` counts."""

    data: Rows = None
    variables: dict[Name, str] = {}
    verify: bool | str = True


class SessionStep(Exchange):
    """One request of a user's way; what it extracts can be used by the steps after it."""

    extract: dict[Name, str] = {}
    once: bool = False

    @model_validator(mode="after")
    def _once_is_silent(self) -> SessionStep:
        if self.once and self.record:
            raise ValueError(
                "a step that is taken once has nothing to write down of later calls: record or once"
            )
        return self


class SessionLoad(Call):
    """A user with cookies who follows redirects, in steps. With `users` so many come back; else each operation is a new one."""

    steps: Annotated[tuple[SessionStep, ...], Field(min_length=1)]
    users: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    data: Rows = None
    variables: dict[Name, str] = {}
    verify: bool | str = True


class Messages(Model):
    """What a user who stays says: every `every`, `count` times or until it leaves. `{n}` counts from 0."""

    send: str
    every: PositiveNs = 1_000_000_000
    count: Annotated[int, Field(ge=1)] | None = None
    answer: dict[str, Any] = {}
    echo: bool = False
    broadcast: bool = False


class Pushes(Model):
    """What a user who stays hears unasked: how it is told, where its id is, how many there must be."""

    json_body: Annotated[dict[str, Any], Field(alias="json")] = {}
    id: str | None = None
    count: Annotated[int, Field(ge=1)] | None = None


class WebSocketLoad(Call):
    """A user on a WebSocket: perhaps a login, the handshake, a welcome, first messages; then staying, talking and listening."""

    url: str = "{ws}"
    headers: dict[str, str] = {}
    subprotocols: tuple[str, ...] = ()
    login: SessionStep | None = None
    welcome: dict[str, Any] | None = None
    first: tuple[str, ...] = ()
    echo: bool = False
    stay: DurationNs = 0
    messages: Messages | None = None
    pushes: Pushes | None = None
    close: Annotated[int, Field(ge=1000, le=4999)] | None = None
    reconnect: PositiveNs | None = None
    record: bool = False
    data: Rows = None
    variables: dict[Name, str] = {}
    verify: bool | str = True

    @model_validator(mode="after")
    def _talks_while_it_stays(self) -> WebSocketLoad:
        for key in ("messages", "pushes", "reconnect", "close"):
            if getattr(self, key) is not None and not self.stay:
                raise ValueError(f"`{key}` is about users who stay: add for example stay: 10s")
        if self.login is not None and (self.login.record or self.login.once):
            raise ValueError(
                "`record` and `once` are about sessions; `record: true` of the load writes each socket down"
            )
        return self


class Sql(Model):
    """One statement and its parameters `$1 ...`. Parameters are sent as text: cast them in the statement (`$1::int`)."""

    sql: str
    params: tuple[str, ...] = ()


class PostgresLoad(Call):
    """Statements on PostgreSQL, on a pool's connection or (`pool: 0`) on one that is opened for the operation."""

    dsn: str = "{db}"
    sql: str | None = None
    params: tuple[str, ...] = ()
    statements: tuple[Sql, ...] = ()
    transaction: bool = False
    pool: Annotated[int, Field(ge=0, le=10_000)] = 10
    expect_rows: Annotated[int, Field(ge=0)] | None = None
    record: dict[Name, str] = {}
    data: Rows = None
    variables: dict[Name, str] = {}

    @model_validator(mode="after")
    def _something_to_run(self) -> PostgresLoad:
        if (self.sql is None) == (not self.statements):
            raise ValueError("write `sql: ...`, or `statements: [{sql: ...}, ...]`, one of them")
        if self.params and self.sql is None:
            raise ValueError("`params` belong to `sql`; each of `statements` has its own")
        return self

    def all(self) -> tuple[Sql, ...]:
        """The statements in order."""
        return self.statements if self.sql is None else (Sql(sql=self.sql, params=self.params),)


class RedisLoad(Call):
    """Commands on Redis or Valkey."""

    url: str = "{cache}"
    command: Command | None = None
    commands: tuple[Command, ...] = ()
    expect: str | None = None
    record: dict[Name, str] = {}
    data: Rows = None
    variables: dict[Name, str] = {}

    @model_validator(mode="after")
    def _something_to_send(self) -> RedisLoad:
        if (self.command is None) == (not self.commands):
            raise ValueError("write `command: ...`, or `commands: [...]`, one of them")
        return self

    def all(self) -> tuple[tuple[str, ...], ...]:
        """The commands in order."""
        return self.commands if self.command is None else (self.command,)


class ScriptLoad(Call):
    """`users.py:place_order`: an `async def place_order(ctx)` of a Python file beside the plan."""

    function: str
    data: Rows = None

    @model_validator(mode="before")
    @classmethod
    def _just_the_function(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _file_and_function(self) -> ScriptLoad:
        path, _, function = self.function.rpartition(":")
        if not path.endswith(".py") or not function.isidentifier():
            raise ValueError(
                f"{self.function!r}: write the file and the function, for example users.py:place_order"
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """A text is enough."""
        return {"anyOf": [{"type": "string", "examples": ["users.py:place_order"]}, handler(core_schema)]}


DriverName = Literal["http", "session", "websocket", "postgres", "redis", "script"]
DRIVERS: tuple[DriverName, ...] = ("http", "session", "websocket", "postgres", "redis", "script")
AnyCall = HttpLoad | SessionLoad | WebSocketLoad | PostgresLoad | RedisLoad | ScriptLoad
