"""Bulk data through each lossless toxic arrives whole and in order: 16 MB in `make test`, 1 GB in `make test-all`."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from faults_proxy_process import ServerProcess, server_process

from faults.toxics import OWN_TOXICS, TOXICS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BLOCK_BYTES = 4_000_000
SETTINGS: dict[str, dict[str, int]] = {
    "noop": {},
    "latency": {"latency": 5, "jitter": 5},
    "bandwidth": {"rate": 2_000_000},
    "slow_close": {"delay": 20},
    "slicer": {"average_size": 60_000, "size_variation": 9_000},
    "bandwidth_shared": {"rate": 2_000_000},
    "latency_normal": {"mean": 5, "deviation": 2},
    "latency_lognormal": {"median": 2, "p99": 20},
    "latency_pareto": {"minimum": 1, "p99": 20},
    "latency_sine": {"low": 0, "high": 10, "period": 100},
    "latency_step": {"low": 0, "high": 10, "period": 100},
    "refuse": {},
    "fail_first": {"connections": 0},
}


def test_every_lossless_toxic_has_settings_here():
    """A new toxic that is not to lose bytes is tried as well."""
    assert {toxic.kind for toxic in TOXICS + OWN_TOXICS if not toxic.drops} == set(SETTINGS)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """One server for all toxics."""
    with server_process() as process:
        yield process


def send(sock: socket.socket, size_bytes: int, seed: str) -> bytes:
    """Send random blocks, each with its number, and the end; return their digest."""
    digest = hashlib.blake2b()
    block = bytearray(random.Random(seed).randbytes(BLOCK_BYTES))
    for number in range(size_bytes // BLOCK_BYTES):
        block[:8] = number.to_bytes(8, "big")
        digest.update(block)
        sock.sendall(block)
    sock.shutdown(socket.SHUT_WR)
    return digest.digest()


def swallow(sock: socket.socket) -> tuple[int, bytes]:
    """Read to the end; return size and digest."""
    digest, size_bytes, buffer = hashlib.blake2b(), 0, bytearray(1 << 20)
    while got_bytes := sock.recv_into(buffer):
        digest.update(memoryview(buffer)[:got_bytes])
        size_bytes += got_bytes
    return size_bytes, digest.digest()


def carry(server: ServerProcess, kind: str, stream: str, size_bytes: int) -> None:
    """Send that much in one direction through the toxic."""
    accepted: dict[str, Any] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = server.proxied(kind, listener.getsockname()[1])

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                if stream == "upstream":
                    accepted["swallowed"] = swallow(connection)
                else:
                    accepted["sent"] = send(connection, size_bytes, kind)
                    connection.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=200) as client:
                # Added to an open connection: what turns new ones away must leave it alone.
                server.add(kind, {"type": kind, "stream": stream, "attributes": SETTINGS[kind]})
                if stream == "upstream":
                    accepted["sent"] = send(client, size_bytes, kind)
                    client.recv(1)
                else:
                    accepted["swallowed"] = swallow(client)
        finally:
            thread.join(200)
            server.call("DELETE", f"/proxies/{kind}")
    assert accepted["swallowed"] == (size_bytes, accepted["sent"])


@pytest.mark.parametrize("stream", ["upstream", "downstream"])
@pytest.mark.parametrize("kind", SETTINGS)
def test_bulk_arrives_whole(server: ServerProcess, kind: str, stream: str):
    """Sixteen megabytes."""
    carry(server, kind, stream, 16_000_000)


@pytest.mark.external
@pytest.mark.parametrize("kind", SETTINGS)
def test_gigabyte_arrives_whole(server: ServerProcess, kind: str):
    """A gigabyte."""
    carry(server, kind, "upstream", 1_000_000_000)
    assert server.rss_bytes() < 600_000_000
