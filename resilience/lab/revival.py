"""Bringing a killed process of the lab back, in its place: same ports, same parent, same end.

A process fault kills one of the lab's processes and has to bring it back. Started by whoever heals, it would outlive the lab. So
the supervisor starts it: it keeps, for each process that may be killed, how it is started on the ports that it had, and offers that on a
loopback port of its own:

    GET  /processes              {"redis": {"pid": 4711, "ready": "127.0.0.1:40001", "runs": true}, ...}
    POST /processes/NAME/start   200 {"pid": 4712} once it accepts connections, at once if it runs; 404; 500 with its last words

revive.py asks that: it is the command of such a fault, and ends with 0 when the process is back. One start at a time a process. What the process had in memory is gone; that is what the fault is for.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from resilience.lab.child import Child
from resilience.lab.ports import LOOPBACK, listening_socket
from resilience.lab.system import LocalProcess, StackError


@dataclass(slots=True)
class Kept:
    """One process that may be killed. `ready` is its "host:port"; `again` starts it there and returns once it accepts."""

    child: Child
    ready: str
    again: Callable[[], Awaitable[Child]]
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Revivals:
    """The control of one lab. `replaced` is told (old child, new child) of each start, to keep its own books."""

    replaced: Callable[[Child, Child], None]
    _kept: dict[str, Kept] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    def keep(self, name: str, kept: Kept) -> None:
        """Offer to start `name` again."""
        self._kept[name] = kept

    async def start(self) -> Mapping[str, LocalProcess]:
        """Serve; every process that may be killed, with the command that brings it back."""
        app = web.Application()
        app.router.add_get("/processes", self._show)
        app.router.add_post("/processes/{name}/start", self._start_again)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        sock = listening_socket(LOOPBACK, 0)
        await web.SockSite(self._runner, sock).start()
        url = f"http://{LOOPBACK}:{sock.getsockname()[1]}"
        command = (sys.executable, "-P", "-m", "resilience.lab.revive", url)
        return {
            name: LocalProcess(kept.child.pid, kept.ready, (*command, name))
            for name, kept in self._kept.items()
        }

    async def stop(self) -> None:
        """Serve no more; harmless when it does not."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                name: {"pid": kept.child.pid, "ready": kept.ready, "runs": not kept.child.ended}
                for name, kept in self._kept.items()
            }
        )

    async def _start_again(self, request: web.Request) -> web.Response:
        kept = self._kept.get(request.match_info["name"])
        if kept is None:
            return web.json_response({"error": f"one of {', '.join(self._kept)}"}, status=404)
        async with kept.lock:
            if kept.child.ended:
                try:
                    child = await kept.again()
                except StackError as error:
                    return web.json_response({"error": str(error)}, status=500)
                # What is left of the old one's pipes goes with it.
                await kept.child.stop(0.0)
                old, kept.child = kept.child, child
                self.replaced(old, child)
        return web.json_response({"pid": kept.child.pid})
