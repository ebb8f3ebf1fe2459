"""Restarting a container as an undo, against an engine of a few lines: over a socket file and over TCP."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from faults.undo import UNDO_KINDS, Undo, UndoFailed

pytestmark = pytest.mark.integration

RESTART = UNDO_KINDS["docker.restart"]


class StubEngine(BaseHTTPRequestHandler):
    """Answers by the container's name: gone, broken, anything else is fine; remembers what it was asked."""

    asked: list[str]

    def address_string(self) -> str:
        """A socket file has no addresses."""
        return "peer"

    def log_message(self, *_words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """State of a container."""
        self._answer(200, json.dumps({"State": {"Running": "stopped" not in self.path}}).encode())

    def do_POST(self) -> None:
        """Restart it."""
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.asked.append(f"{self.command} {self.path}")
        status = 404 if "gone" in self.path else 500 if "broken" in self.path else status
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class SocketFileServer(socketserver.UnixStreamServer):
    """As the engine listens by default."""


@pytest.fixture(params=["socket file", "tcp"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """(address, what it was asked) of a stub engine."""
    asked: list[str] = []
    handler = type("Handler", (StubEngine,), {"asked": asked})
    server: socketserver.BaseServer
    if request.param == "tcp":
        tcp = socketserver.TCPServer(("127.0.0.1", 0), handler)
        server, address = tcp, f"tcp://127.0.0.1:{tcp.server_address[1]}"
    else:
        server, address = SocketFileServer(str(tmp_path / "e.sock"), handler), f"unix://{tmp_path}/e.sock"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield address, asked
    server.shutdown()
    thread.join()
    server.server_close()


def undo(engine: str, container: str) -> Undo:
    """Restart that container."""
    return Undo("docker.restart", {"engine": engine, "container": container})


def test_docker_restart_asks_without_grace(engine: tuple[str, list[str]]) -> None:
    """What is frozen does not listen: it is killed at once, and reported as done."""
    address, asked = engine
    assert RESTART.undo(undo(address, "abc")) is True
    assert asked == ["POST /containers/abc/restart?t=0"]
    assert RESTART.is_clean(undo(address, "abc")) is True
    assert RESTART.is_clean(undo(address, "stopped")) is False


def test_docker_restart_of_what_is_gone_is_done(engine: tuple[str, list[str]]) -> None:
    """No container, no frozen server."""
    assert RESTART.undo(undo(engine[0], "gone")) is False
    assert RESTART.is_clean(undo(engine[0], "gone")) is True


def test_docker_restart_that_fails_says_so(engine: tuple[str, list[str]]) -> None:
    """An engine that refuses is a failure that may pass."""
    with pytest.raises(UndoFailed, match="500"):
        RESTART.undo(undo(engine[0], "broken"))


@pytest.mark.parametrize("scheme", ["unix://{}/none.sock", "tcp://127.0.0.1:{}", "ssh://host"])
def test_docker_restart_without_an_engine_fails(scheme: str, tmp_path: Path) -> None:
    """No socket file, nobody on the port, no such way to speak."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = scheme.format(tmp_path if "unix" in scheme else sock.getsockname()[1])
        with pytest.raises(UndoFailed):
            RESTART.undo(undo(address, "abc"))
