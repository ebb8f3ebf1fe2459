"""Lean ends for the comparison of proxies, each a process of its own: plain sockets, large buffers, one thread.

    python -m bench.lean sink                                  prints its port; each connection's bytes and seconds
    python -m bench.lean spring                                prints its port; sends zeros to whoever connects
    python -m bench.lean drain HOST:PORT SECONDS               reads for a while; prints bytes and seconds
    python -m bench.lean source HOST:PORT SECONDS              sends zeros, and waits until the other end has read them
    python -m bench.lean delays HOST:PORT CONNECTIONS SECONDS  asks for / at random times, prints seconds for each answer

They print JSON lines. wrk does the rest, but it can neither send bulk nor spread its requests: its connections
march in step behind a latency toxic, and then wait for each other instead of for the toxic.
"""

import contextlib
import json
import random
import selectors
import socket
import sys
import time

_BUFFER_BYTES = 1 << 20
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def sink() -> None:
    """Read everything, one connection after the other, until killed."""
    buffer = bytearray(_BUFFER_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                size_bytes, began = 0, time.perf_counter()
                while got_bytes := connection.recv_into(buffer):
                    size_bytes += got_bytes
                print(json.dumps({"bytes": size_bytes, "s": time.perf_counter() - began}), flush=True)


def spring() -> None:
    """Send zeros, to one connection after the other, until killed."""
    data = bytes(_BUFFER_BYTES)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(data)


def drain(host: str, port: int, seconds: float) -> None:
    """Read for a while."""
    buffer, size_bytes = bytearray(_BUFFER_BYTES), 0
    with socket.create_connection((host, port), timeout=30) as connection:
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            size_bytes += connection.recv_into(buffer)
        print(json.dumps({"bytes": size_bytes, "s": time.perf_counter() - began}))


def source(host: str, port: int, seconds: float) -> None:
    """Send zeros for a while."""
    data = bytes(_BUFFER_BYTES)
    with socket.create_connection((host, port), timeout=30) as connection:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def delays(host: str, port: int, count: int, seconds: float) -> None:
    """Ask on each connection, a random while after the last answer; print how long each answer took."""
    dice = random.Random(1)
    selector = selectors.DefaultSelector()
    start = time.perf_counter()
    waiting = [(start + dice.random() * 0.1, socket.create_connection((host, port))) for _ in range(count)]
    sent: dict[socket.socket, float] = {}
    took: list[float] = []
    while (now := time.perf_counter()) < start + seconds:
        for at, connection in [pair for pair in waiting if pair[0] <= now]:
            waiting.remove((at, connection))
            selector.register(connection, selectors.EVENT_READ)
            sent[connection] = time.perf_counter()
            connection.sendall(_REQUEST)
        # Never a blocking wait: what the clock of this process adds would be counted as the proxy's.
        for key, _ in selector.select(0.0):
            connection = key.fileobj  # type: ignore[assignment]  # nothing else was registered
            connection.recv(65536)
            read_at = time.perf_counter()
            took.append(read_at - sent.pop(connection))
            selector.unregister(connection)
            waiting.append((read_at + dice.random() * 0.02, connection))
    print(json.dumps(took))


def main() -> None:
    """Be the end that the command line asks for."""
    what, *rest = sys.argv[1:]
    if what in {"sink", "spring"}:
        (sink if what == "sink" else spring)()
        return
    host, _, port = rest[0].rpartition(":")
    if what == "source":
        source(host, int(port), float(rest[1]))
    elif what == "drain":
        drain(host, int(port), float(rest[1]))
    else:
        delays(host, int(port), int(rest[1]), float(rest[2]))


if __name__ == "__main__":
    main()
