"""TLS below every driver that speaks HTTP: whom it trusts, whom it does not, and what a failed handshake is."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from websockets.asyncio.server import serve

from resilience.load import SpikeLoadGenerator
from resilience.load.requests import HttpRequest, Request, SessionRequest, WebSocketRequest
from resilience.load.shapes import constant

pytestmark = pytest.mark.integration

Trust = dict[str, str | bool]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on PATH")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tls.invalid -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def trusts(certificate: tuple[Path, Path]) -> dict[str, Trust]:
    """Whom to trust: the authority that signed, anybody, or those whom the system trusts."""
    return {"trusted": {"ca_file": str(certificate[0])}, "insecure": {"insecure": True}, "strict": {}}


def server_side(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What a server with that certificate needs."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@contextlib.asynccontextmanager
async def site(tls: ssl.SSLContext | None) -> AsyncIterator[str]:
    """A site with a login that sets a cookie, a redirect, and a basket for who has the cookie; its host and port."""

    async def login(request: web.Request) -> web.Response:
        answer = web.json_response({"token": await request.text()})
        answer.set_cookie("user", await request.text(), secure=request.secure)
        return answer

    async def moved(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/basket")

    async def basket(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.cookies.get("user") else 401)

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.add_routes(
        [web.post("/login", login), web.get("/moved", moved), web.get("/basket", basket), web.get("/", hello)]
    )
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def outcomes(request: Request, name: str = "load") -> dict[str, int]:
    """Twenty operations, and what became of them."""
    generator = SpikeLoadGenerator(request, name=name, deadline_s=30, connections=4)
    counts = (await generator.run(constant(40, 0.5))).overall.counts
    return {
        category: n for category, n in counts.items() if n and category not in {"offered", "attempts", "good"}
    }


EXPECTED = {"trusted": {"ok": 20}, "insecure": {"ok": 20}, "strict": {"connect": 20}}


async def test_http_driver_speaks_tls(certificate: tuple[Path, Path]) -> None:
    """With an authority of one's own, with none at all, and with one that is not trusted."""
    async with site(server_side(certificate)) as address:
        found = {
            name: await outcomes(HttpRequest(f"https://{address}/", **trust))  # type: ignore[arg-type]
            for name, trust in trusts(certificate).items()
        }
    assert found == EXPECTED


async def test_session_driver_speaks_tls(certificate: tuple[Path, Path]) -> None:
    """A login, its cookie (for TLS only) and a redirect, on connections that are trusted as the request says."""
    async with site(server_side(certificate)) as address:
        found = {}
        for name, trust in trusts(certificate).items():
            login = HttpRequest(f"https://{address}/login", method="POST", body=b"{user}", **trust)  # type: ignore[arg-type]
            basket = HttpRequest(f"https://{address}/moved", expect_status=((200, 200),), **trust)  # type: ignore[arg-type]
            found[name] = await outcomes(SessionRequest((login, basket)))
    assert found == EXPECTED


async def test_websocket_driver_speaks_tls(certificate: tuple[Path, Path]) -> None:
    """A login over https, then a socket over wss with what it gave; each trusts by itself."""

    async def echo(socket: object) -> None:
        async for message in socket:  # type: ignore[attr-defined]
            await socket.send(message)  # type: ignore[attr-defined]

    tls = server_side(certificate)
    async with site(tls) as address, serve(echo, "127.0.0.1", 0, ssl=tls) as server:
        url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/{{token}}"
        found = {}
        for name, trust in trusts(certificate).items():
            login = HttpRequest(
                f"https://{address}/login",
                "POST",
                body=b"{i}",
                extract=(("token", "json.token"),),
                insecure=True,
            )
            request = WebSocketRequest(url, messages=("hello {i}",), echo=True, login=login, **trust)  # type: ignore[arg-type]
            found[name] = await outcomes(request)
    assert found == EXPECTED


async def test_drivers_call_a_failed_handshake_no_connection(certificate: tuple[Path, Path]) -> None:
    """Plain HTTP where TLS should be, and a certificate for somebody else: no driver got a connection, whatever it had sent."""
    cert = str(certificate[0])
    found = {}
    async with site(None) as plain, site(server_side(certificate)) as elsewhere:
        other = elsewhere.replace("127.0.0.1", "localhost")
        for what, address in (("plain", plain), ("another name", other)):
            get = HttpRequest(f"https://{address}/", ca_file=cert)
            found[what] = [
                await outcomes(get),
                await outcomes(SessionRequest((get,))),
                await outcomes(WebSocketRequest(f"wss://{address}/", ca_file=cert)),
            ]
    assert found == {"plain": [{"connect": 20}] * 3, "another name": [{"connect": 20}] * 3}
