"""`python -m faults.proxy.tap`: taps, which pass traffic on untouched and write down which requests went by, when.

Theory of operation
    A tap is a listener without toxics whose connections are observed. It always listens; an upstream that
    refuses or resets is passed on to the caller as a reset. Records go to a bounded ring per tap, read by long
    polling its control API.

    When did a request arrive? Bytes were in the kernel's hands at some moment after the loop looked last and
    before it read them now. `LoopWake` keeps the time at which the previous round of the loop began; a heart
    beat of a millisecond keeps rounds short while nothing happens, so the interval is honest and narrow.

Control API (loopback unless told otherwise, same guard against web pages as the proxy's):
    GET /taps, POST /taps, DELETE /taps/{name}, GET /taps/{name}/records?since=SEQ&wait=SECONDS&forget=1
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from faults.proxy.addresses import AddressError, format_address, parse_address
from faults.proxy.api import Guard
from faults.proxy.connection import ConnectionOptions
from faults.proxy.dial import Dialler
from faults.proxy.held import HeldBudget
from faults.proxy.listener import Listener
from faults.proxy.ports import BindError, bind, resolve_listen
from faults.proxy.process import log_to_stderr, run_process
from faults.proxy.sides import Observer
from faults.proxy.tap_records import HttpObserver, RecordRing, TapNumbers, TcpObserver

__all__ = ["LoopWake", "TapServer", "TapSpec", "main", "serve_taps"]

_BEAT_S = 0.001
_MAX_WAIT_S = 60.0
_BATCH = 5000


class LoopWake:
    """Bounds when something that is read now can have happened: [start of the previous round, now].

    A round starts with its first callback that asks, so the lower end may be late by the work of other callbacks
    (the control API's) that came before it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._in_round = False
        self._previous_ns = self._current_ns = time.monotonic_ns()
        self._timer = loop.call_later(_BEAT_S, self._beat)

    def read(self) -> tuple[int, int]:
        """Return the bounds, in ns of CLOCK_MONOTONIC, for what the running callback has just read."""
        now_ns = time.monotonic_ns()
        if not self._in_round:
            self._in_round = True
            self._previous_ns, self._current_ns = self._current_ns, now_ns
            self._loop.call_soon(self._leave)
        return self._previous_ns, now_ns

    def _leave(self) -> None:
        self._in_round = False

    def _beat(self) -> None:
        self.read()
        self._timer = self._loop.call_later(_BEAT_S, self._beat)

    def close(self) -> None:
        """Stop the heart beat."""
        self._timer.cancel()


@dataclass(frozen=True, slots=True)
class TapSpec:
    """A tap: `protocol` is http or tcp, `correlate` the request header whose value identifies a call, or None."""

    name: str
    listen: str
    upstream: str
    protocol: str = "http"
    correlate: str | None = "x-request-id"

    @classmethod
    def from_mapping(cls, value: Any) -> TapSpec:
        """Read a tap from JSON; raise ValueError with what is wrong."""
        if not isinstance(value, dict):
            raise ValueError("a tap is an object")  # noqa: TRY004 - one error type for bad JSON
        for key in ("name", "upstream"):
            if not isinstance(value.get(key), str) or not value[key]:
                raise ValueError(f"missing required field: {key}")
        protocol = value.get("protocol", "http")
        if protocol not in {"http", "tcp"}:
            raise ValueError(f"protocol must be http or tcp, not {protocol!r}")
        listen = value.get("listen") or "127.0.0.1:0"
        return cls(value["name"], str(listen), value["upstream"], protocol, value.get("correlate"))


@dataclass(slots=True)
class _Tap:
    spec: TapSpec
    listener: Listener
    ring: RecordRing
    news: asyncio.Event


class TapServer:
    """Several taps and their control API in one loop."""

    def __init__(self, guard: Guard) -> None:
        self.control_url = ""
        self._taps: dict[str, _Tap] = {}
        self._guard = guard
        self._wake = LoopWake(asyncio.get_running_loop())
        self._budget = HeldBudget()
        self._runner: web.AppRunner | None = None
        self._closing = False

    async def start(self, host: str, port: int) -> None:
        """Serve the control API on `host:port` (0 for any). Raises OSError."""
        app = web.Application(middlewares=[self._guarded])
        app.add_routes(
            [
                web.get("/taps", self._index),
                web.post("/taps", self._create),
                web.delete("/taps/{name}", self._delete),
                web.get("/taps/{name}/records", self._records),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        address = self._runner.addresses[0]
        self.control_url = f"http://{format_address(str(address[0]), int(address[1]))}"

    def addresses(self) -> dict[str, str]:
        """Return where each tap listens."""
        return {name: tap.listener.address for name, tap in self._taps.items()}

    async def add(self, spec: TapSpec) -> str:
        """Add a tap; return its address. Raises ValueError where the name is taken, OSError or AddressError."""
        address = parse_address(spec.listen)
        family, host = await resolve_listen(address.host, "the resolver")
        if spec.name in self._taps:
            raise ValueError(f"tap {spec.name!r} already exists")
        port, sock = bind(family, host, address.port)
        news = asyncio.Event()
        ring = RecordRing(on_append=news.set)
        numbers = TapNumbers()

        def observe(_number: int) -> Observer:
            if spec.protocol == "tcp":
                return TcpObserver(ring, numbers, self._wake.read)
            return HttpObserver(ring, numbers, self._wake.read, spec.correlate)

        listener = Listener(
            port, sock, Dialler(spec.upstream), ConnectionOptions(self._budget), observe=observe
        )
        self._taps[spec.name] = _Tap(spec, listener, ring, news)
        await listener.start()
        return listener.address

    async def close(self) -> None:
        """Answer waiting readers, stop the API, then the taps."""
        self._closing = True
        for tap in self._taps.values():
            tap.news.set()
        if self._runner is not None:
            await self._runner.cleanup()
        for tap in self._taps.values():
            tap.listener.close()
        for tap in self._taps.values():
            await tap.listener.wait_closed()
        self._wake.close()

    # Control API

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        headers = request.headers
        refusal = self._guard.refusal(
            headers.get("Host"), headers.get("Origin"), headers.get("Authorization")
        )
        if refusal is not None or headers.get("User-Agent", "").startswith("Mozilla/"):
            return _error(
                403 if refusal is None else refusal.status, "refused" if refusal is None else refusal.message
            )
        answer: web.StreamResponse = await handler(request)
        return answer

    def _show(self, tap: _Tap) -> dict[str, object]:
        return {
            "listen": tap.listener.address,
            "upstream": tap.spec.upstream,
            "protocol": tap.spec.protocol,
            "correlate": tap.spec.correlate,
            "next_seq": tap.ring.next_seq,
            "dropped": tap.ring.dropped,
            "connections": len(tap.listener.connections),
        }

    async def _index(self, _request: web.Request) -> web.Response:
        return web.json_response({name: self._show(tap) for name, tap in self._taps.items()})

    async def _create(self, request: web.Request) -> web.Response:
        try:
            spec = TapSpec.from_mapping(json.loads(await request.read()))
            if spec.name in self._taps:
                return _error(409, f"tap {spec.name!r} already exists")
            await self.add(spec)
        except (ValueError, AddressError, RecursionError) as error:
            return _error(400, str(error))
        except (OSError, BindError) as error:
            return _error(500, str(error))
        return web.json_response(self._show(self._taps[spec.name]), status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        tap = self._taps.pop(request.match_info["name"], None)
        if tap is None:
            return _error(404, "tap not found")
        tap.listener.close()
        tap.news.set()
        return web.Response(status=204)

    async def _records(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            since = int(request.query.get("since", "1"))
            wait_s = min(_MAX_WAIT_S, max(0.0, float(request.query.get("wait", "0"))))
            forget = int(request.query.get("forget", "0"))
        except ValueError:
            return _error(400, "since, wait and forget are numbers")
        tap = self._taps.get(name)
        if tap is None:
            return _error(404, "tap not found")
        if forget:
            tap.ring.forget(since)
        await self._news(tap, name, since, wait_s)
        records, following, dropped = tap.ring.since(since, _BATCH)
        return web.json_response({"next": following, "dropped": dropped, "records": records})

    async def _news(self, tap: _Tap, name: str, since: int, wait_s: float) -> None:
        """Wait until there is a record from `since` on, the time is up, or the tap is gone."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while tap.ring.next_seq <= since and not self._closing and self._taps.get(name) is tap:
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                return
            tap.news.clear()
            try:
                await asyncio.wait_for(tap.news.wait(), timeout=left_s)
            except TimeoutError:
                return


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message, "status": status}, status=status)


async def serve_taps(
    specs: Sequence[TapSpec], *, host: str = "127.0.0.1", port: int = 0, guard: Guard | None = None
) -> TapServer:
    """Start taps and their control API in the running loop; OSError where something cannot listen."""
    server = TapServer(guard or Guard())
    try:
        for spec in specs:
            await server.add(spec)
        await server.start(host, port)
    except (BindError, AddressError, ValueError) as error:
        await server.close()
        raise OSError(str(error)) from error
    except BaseException:
        await server.close()
        raise
    return server


def _read_config(path: Path) -> list[TapSpec]:
    entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, list):
        raise ValueError("the config is an array of taps")  # noqa: TRY004 - one error type for bad JSON
    return [TapSpec.from_mapping(entry) for entry in entries]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tap process; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m faults.proxy.tap", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--host", default="127.0.0.1", help="host for the control API (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port for the control API, 0 for any")
    parser.add_argument("--config", type=Path, help="JSON array of taps")
    parser.add_argument("--die-with-parent", action="store_true", help="end when stdin ends")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    arguments = parser.parse_args(argv)
    log_to_stderr(arguments.log_format)
    try:
        specs = [] if arguments.config is None else _read_config(arguments.config)
    except (OSError, ValueError) as error:
        parser.error(f"cannot use {arguments.config}: {error}")

    async def start() -> TapServer:
        return await serve_taps(specs, host=arguments.host, port=arguments.port)

    def describe(server: TapServer) -> dict[str, object]:
        return {"control": server.control_url, "taps": server.addresses()}

    return run_process(start, describe, die_with_parent=arguments.die_with_parent)


if __name__ == "__main__":
    sys.exit(main())
