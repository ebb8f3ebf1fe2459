"""What every service of the lab does around its application: listen, say so once, and end when told.

A service prints exactly one JSON line on stdout when it serves, logs to stderr, ends within two seconds of SIGTERM (drains first on
SIGUSR1, and loses no request: it answers `Connection: close` until nobody is connected), and,
under `--die-with-parent`, when its standard input reaches its end: its owner holds the other end of that pipe, so no
service outlives its owner, however that one dies.

Listening: several processes may share one *inherited* socket (`--listen-fd`); a process that stops accepting leaves the
queue to the others and loses nothing. They take turns: left to the event loop, the process that wakes first empties the
queue, and a burst of keep-alive connections ends up on one of two processes (seen: 64 of 64). So each takes a few and
looks away for a millisecond; as long as the queue is found filled again the few are doubled, so a herd is not held up.
Without `--listen-fd` the service binds `--host`/`--port` (0: any) and simply takes what comes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import uvloop
from aiohttp import web

from faults.descriptors import raise_descriptor_limit
from resilience.lab.ports import listening_socket
from resilience.lab.replica import name_in_docker
from resilience.lab.settings import SettingsError

LOG = logging.getLogger("chaos_spike.lab")

_TURN_PAUSE_S = 0.001
_LONGEST_TURN = 16
_FAILED_PAUSE_S = 0.05
_DRAIN_LOOK_S = 0.05
DRAIN_S = 8.0
"""How long a draining process waits for connections that say nothing: a caller whose next request is this rare loses none by then."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """The flags of a service process."""

    instance: str
    host: str
    port: int
    listen_fd: int | None
    admin_host: str
    admin_port: int
    die_with_parent: bool


def parse_options(program: str, arguments: Sequence[str]) -> ServiceOptions:
    """Flags to options; argparse ends the process on a bad one."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument(
        "--instance", default=socket.gethostname(), help="name of this process in headers and events"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument(
        "--listen-fd", type=int, default=None, help="an inherited listening socket, instead of a port"
    )
    parser.add_argument("--admin-host", default="127.0.0.1")
    parser.add_argument("--admin-port", type=int, default=0, help="0: any free port")
    parser.add_argument("--die-with-parent", action="store_true", help="end when standard input does")
    parser.add_argument("--name-of-container", action="store_true", help="take the name from Docker's DNS")
    flags = vars(parser.parse_args(arguments))
    if flags.pop("name_of_container"):
        flags["instance"] = name_in_docker(program.rpartition(".")[2])
    return ServiceOptions(**flags)


class SharedListener:
    """Accepts from a listening socket; in turns, if other processes accept from it, too."""

    def __init__(
        self, sock: socket.socket, factory: Callable[[], asyncio.BaseProtocol], *, shared: bool
    ) -> None:
        self._sock = sock
        self._factory = factory
        self._shared = shared
        self._turn = 1
        self._loop = asyncio.get_running_loop()
        self._hand_overs: set[asyncio.Task[Any]] = set()
        self._stopped = False

    def start(self) -> None:
        """Begin to accept."""
        if not self._stopped:
            self._loop.add_reader(self._sock.fileno(), self._take_turn)

    def stop(self) -> None:
        """Accept no more. The socket itself stays open, for the others."""
        self._stopped = True
        self._loop.remove_reader(self._sock.fileno())

    def _take_turn(self) -> None:
        taken = 0
        while taken < (self._turn if self._shared else _LONGEST_TURN):
            try:
                connection, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                self._turn = 1  # all taken, by us or by others
                if not taken:
                    return
                break
            except ConnectionAbortedError:
                continue  # its caller has gone
            except OSError as error:
                LOG.warning("cannot accept: %s", error)
                self._look_away(_FAILED_PAUSE_S)
                return
            taken += 1
            connection.setblocking(False)
            task = self._loop.create_task(self._hand_over(connection))
            self._hand_overs.add(task)
            task.add_done_callback(self._hand_overs.discard)
        else:
            self._turn = min(2 * self._turn, _LONGEST_TURN)
        if self._shared:
            self._look_away(_TURN_PAUSE_S)

    def _look_away(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock.fileno())
        self._loop.call_later(seconds, self.start)

    async def _hand_over(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:
            connection.close()


class Service:
    """The life of one service process: an async context manager that ends what it started, newest first."""

    def __init__(self, options: ServiceOptions, name: str) -> None:
        self.options = options
        self.name = name
        self.boot = secrets.token_hex(6)
        self.draining = False
        self.leaving = False
        self._told = asyncio.Event()
        self._told_to_drain = asyncio.Event()
        self._public: web.Server | None = None
        self._ready: dict[str, Any] = {}
        self._listeners: list[SharedListener] = []
        self._ends = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told.set)
        loop.add_signal_handler(signal.SIGUSR1, self._told_to_drain.set)
        loop.add_signal_handler(signal.SIGUSR2, self._leave)
        if self.options.die_with_parent:
            loop.add_reader(sys.stdin.fileno(), self._parent_spoke)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ends.aclose()

    def at_end(self, end: Callable[[], Awaitable[Any]]) -> None:
        """Await `end()` when the service ends; what was registered last ends first."""
        self._ends.push_async_callback(end)

    async def public(self, runner: web.AppRunner) -> None:
        """Serve the service's own application."""
        shared = self.options.listen_fd is not None
        sock = (
            socket.socket(fileno=self.options.listen_fd)
            if shared
            else listening_socket(self.options.host, self.options.port)
        )
        self._ready["url"] = await self._serve(runner, sock, shared=shared)
        self._public = runner.server

    async def admin(self, runner: web.AppRunner) -> None:
        """Serve this very process's admin application."""
        sock = listening_socket(self.options.admin_host, self.options.admin_port)
        self._ready["admin"] = await self._serve(runner, sock, shared=False)

    async def _serve(self, runner: web.AppRunner, sock: socket.socket, *, shared: bool) -> str:
        sock.setblocking(False)
        self._ends.callback(sock.close)
        await runner.setup()
        self.at_end(runner.cleanup)
        assert runner.server is not None  # set by setup()
        listener = SharedListener(sock, runner.server, shared=shared)
        listener.start()
        self._listeners.append(listener)
        host, port = sock.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run_until_told(self) -> None:
        """Print the ready line, then wait for SIGTERM, SIGINT or the owner's end; accepts nothing afterwards.

        SIGUSR1 means the same without haste: callers keep their connections until they have been told, by an answer, to let go. SIGUSR2,
        before that, only takes readiness back: a balancer in front sends no further callers, and nobody is turned away.
        """
        line = {"ready": True, "service": self.name, "instance": self.options.instance, "boot": self.boot}
        sys.stdout.write(json.dumps({**line, "pid": os.getpid(), **self._ready}) + "\n")
        sys.stdout.flush()
        waiting = [asyncio.create_task(event.wait()) for event in (self._told, self._told_to_drain)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        self.draining = True
        for listener in self._listeners:
            listener.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self._told.is_set() and self._public is not None and self._public.connections:  # noqa: ASYNC110 - a server has no event for its last connection
                    await asyncio.sleep(_DRAIN_LOOK_S)
        for task in waiting:
            task.cancel()

    def _leave(self) -> None:
        """Not ready any more, and serving as before: whoever sends us callers is to see it first."""
        self.leaving = True

    def _parent_spoke(self) -> None:
        """Our owner never writes: readable means closed."""
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._told.set()


def run_service(serve: Callable[[ServiceOptions], Awaitable[None]], options: ServiceOptions) -> int:
    """Run `serve` on uvloop to its end. 0 when it ended as told; 1, with one line on stderr, on a bad set-up."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    raise_descriptor_limit()

    async def run() -> None:
        await serve(options)

    try:
        uvloop.run(run())
    except (SettingsError, OSError) as error:
        LOG.error("%s", error)  # noqa: TRY400 - a bad set-up is one line, not a traceback
        return 1
    return 0
