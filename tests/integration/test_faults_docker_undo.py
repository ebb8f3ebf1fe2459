"""Undoing faults on containers, against an engine of a few lines: over a socket file and over TCP."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

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


class Engine(StubEngine):
    """An engine with one container, `abc`, in whatever state a fault has left it, and one network, `net`."""

    facts: dict[str, Any]

    def do_GET(self) -> None:
        """State of the container, or of a network."""
        known = {"/containers/abc/json": self.facts, "/networks/net": {}}
        self._answer(200 if self.path in known else 404, json.dumps(known.get(self.path, {})).encode())

    def do_POST(self) -> None:
        """Change the state, as the engine does."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        facts = self.facts
        match self.path.removeprefix("/containers/abc"):
            case "/unpause":
                facts["State"]["Paused"] = False
            case "/start":
                facts["State"]["Running"] = True
            case "/update":
                facts["HostConfig"].update(body)
            case "/networks/net/connect":
                joined = {
                    "NetworkID": "net",
                    "Aliases": [*body["EndpointConfig"]["Aliases"], body["Container"]],
                }
                facts["NetworkSettings"]["Networks"]["whatever"] = joined
        self._answer(200 if self.path.endswith("/update") else 204, b"")


@pytest.fixture
def broken() -> Iterator[tuple[str, type[Engine]]]:
    """The address of an engine, and what it knows and was asked: everything is wrong with its container."""
    facts = {
        "State": {"Running": False, "Paused": True},
        "HostConfig": {"NanoCpus": 0, "CpuPeriod": 100_000, "CpuQuota": 10_000},
        "NetworkSettings": {"Networks": {}},
    }
    handler = type("Handler", (Engine,), {"asked": [], "facts": facts})
    server = socketserver.TCPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"tcp://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    thread.join()
    server.server_close()


UNDOS = {
    "docker.unpause": {},
    "docker.start": {},
    "docker.stopped": {"started_at": "then", "grace_s": 0},
    "docker.connect": {"network": "net", "endpoint": {"Aliases": ["cache"]}},
    "docker.cpu": {"nano_cpus": 0, "period": 50_000, "quota": 25_000},
}


@pytest.mark.parametrize("kind", UNDOS)
def test_docker_undo_is_exact_and_may_be_repeated(broken: tuple[str, type[Engine]], kind: str) -> None:
    """The first undoes something, the second finds nothing to undo, and the engine is told once."""
    engine, asked_of = broken
    plan, executor = Undo(kind, {"engine": engine, "container": "abc", **UNDOS[kind]}), UNDO_KINDS[kind]
    assert executor.is_clean(plan) is False
    assert executor.undo(plan) is True
    assert executor.is_clean(plan) is True
    assert executor.undo(plan) is False
    assert len([asked for asked in asked_of.asked if asked.startswith("POST")]) == 1


@pytest.mark.parametrize("kind", UNDOS)
def test_docker_undo_of_what_is_gone_is_done(broken: tuple[str, type[Engine]], kind: str) -> None:
    """A container, or the network that it was in, that somebody removed."""
    gone = Undo(kind, {"engine": broken[0], "container": "other", **UNDOS[kind]})
    assert UNDO_KINDS[kind].undo(gone) is False
    assert UNDO_KINDS[kind].is_clean(gone) is True
    if kind == "docker.connect":
        lone = Undo(kind, {**gone.args, "container": "abc", "network": "no-more"})
        assert UNDO_KINDS[kind].undo(lone) is False
        assert UNDO_KINDS[kind].is_clean(lone) is True


@pytest.mark.parametrize(
    ("former", "told"),
    [
        ({"nano_cpus": 0, "period": 0, "quota": 0}, {"CpuPeriod": 0, "CpuQuota": -1}),
        ({"nano_cpus": 0, "period": 100_000, "quota": -1}, {"CpuPeriod": 0, "CpuQuota": -1}),
        ({"nano_cpus": 0, "period": 0, "quota": 20_000}, {"CpuPeriod": 100_000, "CpuQuota": 20_000}),
        ({"nano_cpus": 1_500_000_000, "period": 0, "quota": 0}, {"NanoCpus": 1_500_000_000}),
    ],
    ids=["none", "none in numbers", "quota", "cpus"],
)
def test_docker_cpu_tells_the_engine_the_former_limit(
    broken: tuple[str, type[Engine]], former: dict[str, int], told: dict[str, int]
) -> None:
    """No limit is a quota of -1: the engine takes 0 for "as it is"."""
    engine, asked_of = broken
    if former["nano_cpus"]:
        asked_of.facts["HostConfig"] = {"NanoCpus": 100_000_000, "CpuPeriod": 0, "CpuQuota": 0}
    plan = Undo("docker.cpu", {"engine": engine, "container": "abc", **former})
    assert UNDO_KINDS["docker.cpu"].undo(plan) is True
    assert told.items() <= asked_of.facts["HostConfig"].items()
    assert UNDO_KINDS["docker.cpu"].is_clean(plan) is True
