"""What one operation of a stream does, for each driver: frozen values, made by the plan's compiler or by hand.

Templates: `{i}` is the number of the arrival, `{field}` a field of the data row i mod rows.
"""

from dataclasses import dataclass

Row = dict[str, str]


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


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A user with cookies who follows redirects: several requests, one operation. The first that fails decides the outcome.

    Every operation is a new user, unless `keep_users` is set: then user i mod keep_users comes back with its cookies.
    """

    steps: tuple[HttpRequest, ...]
    keep_users: int | None = None


@dataclass(frozen=True, slots=True)
class WebSocketRequest:
    """A WebSocket user: handshake, perhaps a welcome, messages that are each answered, then staying connected for a while.

    The operation ends with the last answer; a socket that is then lost before `hold_ns` is over is counted as lost.
    """

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    welcome: bool = False
    """The server speaks first, and the operation waits for it."""
    messages: tuple[str, ...] = ()
    echo: bool = False
    """Each answer must be the message itself; otherwise any answer will do."""
    hold_ns: int = 0
    data: tuple[Row, ...] = ()
    ca_file: str | None = None
    insecure: bool = False


@dataclass(frozen=True, slots=True)
class PostgresRequest:
    """One SQL statement with arguments `$1 ...`, on a connection of a pool, or (pool 0) on one that is opened for it."""

    dsn: str
    sql: str = "SELECT 1"
    arguments: tuple[str, ...] = ()
    pool: int = 10
    """Connections of the pool, of all workers together."""
    expect_rows: int | None = None
    data: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class RedisRequest:
    """One Redis command, for instance ("GET", "price:{sku}"). `expect` is the reply it must have, as text."""

    url: str
    command: tuple[str, ...] = ("PING",)
    expect: str | None = None
    data: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class ScriptRequest:
    """An `async def` of the user's own Python file, called once for each operation with a context."""

    path: str
    function: str = "user"
    data: tuple[Row, ...] = ()


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
