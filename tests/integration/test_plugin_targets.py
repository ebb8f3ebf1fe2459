"""`chaos.process` and `chaos.container`: a test's own process frozen, killed and restarted, and what cannot be meant."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from faults.processes import Revival
from resilience.lab.system import System
from resilience.pytest_plugin.achaos import AsyncChaos
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.session import ChaosOptions, ChaosSession
from resilience.pytest_plugin.targets import container_named, processes_of

pytestmark = pytest.mark.integration

SERVER = """
import os, socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    print(listener.getsockname()[1], flush=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())
"""
"""Tells everybody who connects its pid; ends by itself after a minute."""


@pytest.fixture
def chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    """The chaos of one test."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "state"))
    session = ChaosSession(ChaosOptions(seed=1))
    made = Chaos(session)
    try:
        yield made
        assert made.close() == []
    finally:
        assert session.close() == []


class Served:
    """A server: its process, its port, and how it comes back."""

    def __init__(self) -> None:
        command = (sys.executable, "-c", SERVER)
        self.process = subprocess.Popen([*command, "0"], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.revival = Revival((*command, str(self.port)), f"127.0.0.1:{self.port}")

    def says(self, patience_s: float = 0.5) -> int | None:
        """The pid of who answers; None where nobody does."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=patience_s) as connection:
                connection.settimeout(patience_s)
                return int(connection.recv(64) or b"0") or None
        except OSError:
            return None

    def close(self) -> None:
        """End whoever serves now, and the first of them."""
        if (pid := self.says(5)) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def served() -> Iterator[Served]:
    """A server that is ended afterwards."""
    server = Served()
    yield server
    server.close()


def test_process_of_a_test_stands_still_inside_the_block(chaos: Chaos, served: Served) -> None:
    """By its object or its pid; the same process answers afterwards."""
    for where in (served.process, served.process.pid):
        with chaos.process(where).freeze() as fault:
            assert fault.active
            assert served.says() is None
        assert served.says(20) == served.process.pid


def test_killed_and_restarted_process_comes_back_by_its_command(chaos: Chaos, served: Served) -> None:
    """Gone inside the block, another one after it; restarted, it answers inside of it."""
    with chaos.process(served.process).kill(revival=served.revival, name="killed") as fault:
        assert str(fault) == "killed"
        assert served.says() is None
    second = served.says(20)
    assert second not in {None, served.process.pid}
    with chaos.process(second).restart(revival=served.revival):
        until_s = time.monotonic() + 20
        while served.says() in {None, second} and time.monotonic() < until_s:
            time.sleep(0.05)
    assert served.says(20) not in {None, second}


async def test_process_faults_are_awaited(chaos: Chaos, served: Served) -> None:
    """`async with`, as every fault of `achaos`."""
    async with AsyncChaos(chaos).process(served.process).freeze():
        assert served.says() is None
    assert served.says(20) == served.process.pid


@pytest.fixture
def lab_chaos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chaos]:
    """The chaos of one test whose target is the lab."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "state"))
    session = ChaosSession(ChaosOptions(seed=1))
    made = Chaos(session, "lab")
    try:
        yield made
        assert made.close() == []
    finally:
        assert session.close() == []


def ponged(address: str, patience_s: float = 0.5) -> bool:
    """Whether a Redis server answers there: that it wants a password is an answer."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=patience_s) as connection:
            connection.settimeout(patience_s)
            connection.sendall(b"PING\r\n")
            return connection.recv(64) != b""
    except OSError:
        return False


async def test_process_of_the_lab_is_meant_by_its_name_and_awaited(lab_chaos: Chaos) -> None:
    """Frozen and killed by `achaos`; the lab starts it again, and a second fault finds the process that it has become."""
    redis = AsyncChaos(lab_chaos).process("redis")
    before = lab_chaos.target.processes["redis"]
    assert ponged(before.ready, 5)
    async with redis.kill(name="gone") as fault:
        assert (str(fault), fault.active) == ("gone", True)
        assert not ponged(before.ready)
    assert ponged(before.ready, 5)
    still = redis.freeze()
    await still.inject()
    assert not ponged(before.ready)
    await still.heal()
    assert ponged(before.ready, 5)


def test_what_cannot_be_meant_is_said(chaos: Chaos, served: Served) -> None:
    """A name that the target has not, a thing that is no process, a kill without a way back; nothing is hurt."""
    empty = System("external", "http://127.0.0.1:1")
    with pytest.raises(ChaosSetupError, match="the target has no process 'redis'; it has none"):
        processes_of(print, "redis", lambda: empty, print)
    for nothing in (None, True, object()):
        with pytest.raises(ChaosSetupError, match="is no process"):
            chaos.process(nothing)
    with pytest.raises(ChaosSetupError, match="say how the process comes back"):
        chaos.process(served.process).kill().inject()
    with pytest.raises(ChaosSetupError, match="no container"):
        container_named(object())
    assert served.says(20) == served.process.pid


def test_container_may_be_an_object_of_several_libraries(chaos: Chaos) -> None:
    """docker-py's, and one of testcontainers; an engine that is not there is said."""
    kept = SimpleNamespace(id="abc")
    assert container_named("shop-db-1") == "shop-db-1"
    assert container_named(kept) == "abc"
    assert container_named(SimpleNamespace(get_wrapped_container=lambda: kept)) == "abc"
    with pytest.raises(ChaosSetupError, match="the Docker engine at unix:///no/such"):
        chaos.container("shop-db-1", engine="unix:///no/such.sock").pause().inject()
