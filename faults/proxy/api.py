"""The admin API's HTTP edge: reads requests, asks `wire` what they mean and `Control` for the answer, writes it.

aiohttp's low-level server does HTTP; its router is not used, since the order of Toxiproxy's checks (redirect,
unknown path, wrong method, browser) and the bytes of its answers are part of the contract.

Who may talk to it: whoever can change proxies can break a system, so in the default mode requests that a web page
could have made are refused: a browser's User-Agent (as in Toxiproxy), any `Origin`, and a `Host` that is
neither an address nor `localhost` nor named by `allow_hosts` (DNS rebinding). With a `token`, every request
needs `Authorization: Bearer <token>`.

Bounds: bodies by `max_body_bytes`, connections by `max_connections`. Where one too many comes, the oldest one is closed:
whoever holds connections open without using them cannot keep out whoever has something to heal.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from faults.proxy import wire
from faults.proxy.control import Control
from faults.proxy.store import ApiError
from faults.proxy.wire import Answer, Route

__all__ = ["Api", "Guard"]

_log = logging.getLogger(__name__)
_KEEPALIVE_S = 60.0


@dataclass(frozen=True, slots=True)
class Guard:
    """Who may use the API; `strict` is off in compatible mode."""

    strict: bool = True
    allow_hosts: frozenset[str] = frozenset()
    token: str | None = None
    max_body_bytes: int = 4 * 1024 * 1024
    max_connections: int = 512

    def refusal(self, host: str | None, origin: str | None, authorization: str | None) -> ApiError | None:
        """Say why a request is refused, None where it is not."""
        if self.token is not None:
            expected = f"Bearer {self.token}"
            if not hmac.compare_digest((authorization or "").encode(), expected.encode()):
                return ApiError(401, "missing or wrong token")
        if not self.strict:
            return None
        if origin is not None:
            return ApiError(403, "requests with an Origin are refused: this is not an API for web pages")
        if host is not None and not self._is_known(host):
            return ApiError(403, f"unknown Host {host!r}: name it with --allow-host")
        return None

    def _is_known(self, host: str) -> bool:
        bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        bare = bare.strip("[]").lower()
        if bare == "localhost" or bare in self.allow_hosts:
            return True
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            return False
        return True


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record is about us: what a client garbled was answered with 400, and is no error of the server's."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


class _BoundedServer(web.Server):
    """Closes the oldest connection where there would be too many."""

    most = 512

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Make room, then take the connection."""
        if len(self.connections) >= self.most:
            self.connections[0].force_close()
        super().connection_made(handler, transport)


class Api:
    """Answers HTTP requests for one `Control`."""

    def __init__(self, control: Control, guard: Guard, *, metrics: bool = False) -> None:
        self._control = control
        self._guard = guard
        self._metrics = metrics
        self._runner: web.ServerRunner | None = None

    async def start(self, host: str, port: int) -> list[tuple[str, int]]:
        """Listen on `host:port` (0 for any); return the addresses in use. Raises OSError."""
        quiet = _log.getChild("http")
        quiet.addFilter(_is_ours)
        server = _BoundedServer(self._handle, access_log=None, keepalive_timeout=_KEEPALIVE_S, logger=quiet)
        server.most = self._guard.max_connections
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=256).start()
        return [(str(address[0]), int(address[1])) for address in self._runner.addresses]

    async def close(self) -> None:
        """Stop listening; running requests get one second."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answer(request)
        response = web.Response(status=answer.status, body=answer.body or None)
        for name, value in answer.headers:
            response.headers[name] = value
        if answer.content_type is not None:
            response.headers["Content-Type"] = answer.content_type
        return response

    async def _answer(self, request: web.BaseRequest) -> Answer:
        route = wire.match_route(
            request.method, request.raw_path, own=not self._control.options.compat, metrics=self._metrics
        )
        if isinstance(route, Answer):
            return route
        if request.headers.get("User-Agent", "").startswith("Mozilla/"):
            return wire.BROWSER_REFUSED
        refusal = self._guard.refusal(
            request.headers.get("Host"), request.headers.get("Origin"), request.headers.get("Authorization")
        )
        if refusal is not None:
            return wire.error_answer(refusal)
        body = await self._body(request)
        if isinstance(body, ApiError):
            return wire.error_answer(body)
        return await self._carry_out(route, body)

    async def _body(self, request: web.BaseRequest) -> bytes | ApiError:
        limit_bytes = self._guard.max_body_bytes
        body = bytearray()
        async for part in request.content.iter_any():
            body += part
            if len(body) > limit_bytes:
                return ApiError(413, f"request body larger than {limit_bytes} bytes")
        return bytes(body)

    async def _carry_out(self, route: Route, body: bytes) -> Answer:
        try:
            return await self._control.answer(route, body)
        except Exception:  # noqa: BLE001 - the API must answer whatever happens; the log has the traceback
            _log.exception("the operation %s failed", route.operation)
            return wire.error_answer(ApiError(500, "internal error"))
