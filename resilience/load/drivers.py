"""What a driver is, and which there are: one module each, one line in the registry.

A driver starts operations when its pacer tells it to, and leaves what became of them with its recorder, each exactly once. It
never queues an arrival and never retries. Driver modules are imported when a stream asks for them: a worker that speaks HTTP
needs neither asyncpg nor redis.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Final, Protocol, cast

from resilience.load.model import Stream
from resilience.load.recorder import Recorder
from resilience.load.requests import driver_name

DRIVERS: Final[dict[str, tuple[str, str]]] = {
    "http": ("resilience.load.http_driver", "HttpDriver"),
    "session": ("resilience.load.session_driver", "SessionDriver"),
    "websocket": ("resilience.load.websocket_driver", "WebSocketDriver"),
    "postgres": ("resilience.load.postgres_driver", "PostgresDriver"),
    "redis": ("resilience.load.redis_driver", "RedisDriver"),
    "script": ("resilience.load.script_driver", "ScriptDriver"),
}
"""Module and class of every driver, under the name that `requests.REQUESTS` has for its requests."""


class Driver(Protocol):
    """What a pacer and a worker ask of a driver. Times are ns of CLOCK_MONOTONIC."""

    next_due: int
    """When the pacer has something due; kept by the pacer."""
    pump: Callable[[], None]
    """The pacer's own: start what is due."""
    done: Callable[[int, int], None] | None
    """Called with an operation's number and end, for a closed model."""

    async def prepare(self) -> int:
        """Open connections beforehand; how many are open. Never raises because the target is down."""

    async def top_up(self) -> None:
        """Bring the open connections back to what the plan wants beforehand."""

    def issue(self, i: int, intended: int) -> None:
        """Start operation i, due at `intended`, now; or drop it at the in-flight cap."""

    def expire(self, now: int) -> None:
        """End operations that are past their time-out."""

    def give_up(self, now: int) -> None:
        """End everything under way as unfinished."""

    async def close(self) -> None:
        """Leave no task and no socket."""

    @property
    def under_way(self) -> int:
        """How many operations are in flight."""

    @property
    def lingering(self) -> int:
        """What stays open for a while when its operation has ended, as a WebSocket user does."""

    def figures(self) -> dict[str, int]:
        """What else this driver counts, for the worker's reports: open connections, lost sockets and the like."""


class _Make(Protocol):
    def __call__(
        self, stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str
    ) -> Driver: ...


def make_driver(stream: Stream, recorder: Recorder, *, stripe: int, stripes: int, run_id: str) -> Driver:
    """The driver that a stream's request asks for. Raises ImportError where the library it stands on is not installed."""
    module, name = DRIVERS[driver_name(stream.request)]
    make = cast("_Make", getattr(import_module(module), name))
    return make(stream, recorder, stripe=stripe, stripes=stripes, run_id=run_id)
