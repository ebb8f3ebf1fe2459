"""What one operation of a stream does, for each driver: frozen values, made by the plan's compiler or by hand.

Templates: `{i}` is the number of the arrival, `{field}` a field of the data row i mod rows.
"""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

Row = dict[str, str]
Pairs = tuple[tuple[str, str], ...]
"""Names and texts, in order."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP/1.1 request, as a template, and what its answer must be.

    The template fills the URL, the header values and the body. In the URL values are percent-encoded; in a JSON body they are
    JSON-escaped.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    data: tuple[Row, ...] = ()
    expect_status: tuple[tuple[int, int], ...] = ((200, 399),)
    """Ranges of statuses, both ends included, that count as an answer."""
    expect_headers: tuple[tuple[str, str], ...] = ()
    """Headers that an answer must have, with exactly these values."""
    expect_json: tuple[tuple[str, str], ...] = ()
    """Paths into a JSON body, such as `items.0.price`, and the values there as JSON text: `("status", '"paid"')`."""
    degraded_header: tuple[str, str] | None = None
    """Name and value of the response header by which the target marks a fallback."""
    instance_header: str | None = None
    """The response header that names the instance that answered."""
    ca_file: str | None = None
    """For https: trust this authority file instead of the system's."""
    insecure: bool = False
    """For https: accept any certificate."""
    record: Pairs = ()
    """What a note of each call holds: `("order", "json.id")`, `("key", "{sku}")`; see `noting`."""
    extract: Pairs = ()
    """In a session: values of the answer that later steps use as `{name}`: `("token", "json.token")`; see `sources`."""
    once: bool = False
    """In a session of users who come back: only until it has been ok once for that user, as a login is."""


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A user with cookies who follows redirects: several requests, one operation. The first that fails decides the outcome.

    Every operation is a new user, unless `keep_users` is set: then so many come back in turn, each with its cookies, its row of
    data and what it extracted. `{user}` is the number of the user.
    """

    steps: tuple[HttpRequest, ...]
    keep_users: int | None = None


@dataclass(frozen=True, slots=True)
class WebSocketRequest:
    """A WebSocket user: perhaps a login, the handshake, a welcome, messages that are answered; then staying for a while.

    The operation ends when the user has arrived: with the welcome and the answers to `messages`. A socket that stays (`hold_ns`)
    may go on sending (`send` every `every_ns`), hears what is pushed to it, and counts as lost if the server ends it before.
    Conditions are pairs of a path into a JSON message and the JSON text that must stand there, as in `expect_json`.
    """

    url: str
    headers: Pairs = ()
    welcome: bool = False
    """The server speaks first, and the operation waits for it."""
    messages: tuple[str, ...] = ()
    echo: bool = False
    """Each answer must be the message itself; otherwise any answer will do."""
    hold_ns: int = 0
    data: tuple[Row, ...] = ()
    ca_file: str | None = None
    insecure: bool = False
    subprotocols: tuple[str, ...] = ()
    """Offered in this order; the server has to choose one of them."""
    login: HttpRequest | None = None
    """Sent before the handshake; what it extracts can be used in URL, headers and messages."""
    welcome_json: Pairs = ()
    """What the welcome must say."""
    send: str | None = None
    """While it stays: this message, with `{n}` counting from 0."""
    every_ns: int = 1_000_000_000
    count: int | None = None
    """So many of them; None: until it leaves."""
    answer_json: Pairs = ()
    """What tells the answer to a message from other messages, `{n}` included; empty: any that is no push."""
    broadcast: bool = False
    """The messages are pushed to everybody: with `record`, each leaves a note with its id."""
    push_json: Pairs = ()
    """What tells a push; empty: no message is one, unless nothing is sent."""
    push_id: str | None = None
    """Where the id of a push stands in it (or of a broadcast in what is sent)."""
    pushes: int | None = None
    """So many pushes each socket must hear while it stays; those that it did not are missed."""
    close_code: int | None = None
    """The server is expected to end the socket with this code: then it is not lost."""
    reconnect_ns: int | None = None
    """Arrive again so long after being lost, for what remains of the stay; None: never."""
    record: bool = False
    """A note for each socket."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement and its arguments `$1 ...`; arguments are filled in, the statement is sent as it stands."""

    sql: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostgresRequest:
    """SQL statements with arguments `$1 ...`, on a connection of a pool, or (pool 0) on one that is opened for it."""

    dsn: str
    sql: str = "SELECT 1"
    arguments: tuple[str, ...] = ()
    pool: int = 10
    """Connections of the pool, of all workers together."""
    expect_rows: int | None = None
    """Rows that the last statement must give."""
    data: tuple[Row, ...] = ()
    then: tuple[Statement, ...] = ()
    """Further statements of the same operation, on the same connection."""
    transaction: bool = False
    """All statements, or none."""
    record: Pairs = ()
    """What a note holds of the last statement's result: `("count", "row.count")`, `("found", "rows")`."""


@dataclass(frozen=True, slots=True)
class RedisRequest:
    """One Redis command, for instance ("GET", "price:{sku}"), or several. `expect` is the last reply as text."""

    url: str
    command: tuple[str, ...] = ("PING",)
    expect: str | None = None
    data: tuple[Row, ...] = ()
    then: tuple[tuple[str, ...], ...] = ()
    """Further commands of the same operation, one after the other."""
    record: Pairs = ()
    """What a note holds: `("value", "reply")`."""


@dataclass(frozen=True, slots=True)
class ScriptRequest:
    """An `async def` of the user's own Python file, called once for each operation with a context."""

    path: str
    function: str = "user"
    data: tuple[Row, ...] = ()
    addresses: dict[str, str] = field(default_factory=dict)
    """Where the system is: `base`, `ws`, and its databases by name."""


Request = HttpRequest | SessionRequest | WebSocketRequest | PostgresRequest | RedisRequest | ScriptRequest

REQUESTS: dict[str, type[Request]] = {
    "http": HttpRequest,
    "session": SessionRequest,
    "websocket": WebSocketRequest,
    "postgres": PostgresRequest,
    "redis": RedisRequest,
    "script": ScriptRequest,
}
"""Every kind of request by the name of its driver."""


def driver_name(request: Request) -> str:
    """The name of the driver that a request asks for."""
    return next(name for name, kind in REQUESTS.items() if type(request) is kind)


def only_from_here(request: Request) -> bool:
    """Whether what a request calls can be reached from this machine alone."""
    if isinstance(request, SessionRequest):
        return any(map(only_from_here, request.steps))
    if isinstance(request, ScriptRequest):
        return any(map(on_loopback, request.addresses.values()))
    return on_loopback(request.dsn if isinstance(request, PostgresRequest) else request.url)


def on_loopback(url: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # whoever sends it says what is wrong with it
        return False
    return host in {"localhost", "::1"} or host.startswith("127.")
