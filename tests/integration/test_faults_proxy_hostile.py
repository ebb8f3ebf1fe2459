"""Whatever is sent to the API or the data port, the server lives, answers as the contract says, and answers soon.

Some hundred malformed requests in `make test`, ten thousand in `make test-all`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults_proxy_process import ServerProcess, server_process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.toxics import OWN_TOXICS, TOXICS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

KINDS = [toxic.kind for toxic in TOXICS + OWN_TOXICS]
CONTRACT_500 = ("listen tcp", "lookup ", "address ")
"""How 500s of the contract begin: what Go's net package says about a listen address."""

names = st.sampled_from(["p", "q", "t", "", "..", "%2F", "é", "\x00", "a" * 300])
numbers = st.one_of(st.integers(), st.floats(), st.sampled_from([0, -1, 2**63, 1e400, 10**400]))
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20))
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
attributes = st.dictionaries(
    st.sampled_from(["latency", "jitter", "rate", "bytes", "status", "headers", "path", "probability", "x"]),
    scalars,
    max_size=3,
)
toxics = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(KINDS) | values,
        "name": names,
        "stream": st.sampled_from(["upstream", "DOWNSTREAM", ""]) | values,
        "toxicity": numbers | values,
        "attributes": attributes | values,
        "ttl_ms": numbers | values,
    },
)
proxies = st.fixed_dictionaries(
    {},
    optional={
        "name": names | values,
        "listen": st.sampled_from(["127.0.0.1:0", "127.0.0.1:99999", "256.1.1.1:0", "x", "[::1", ":http"])
        | values,
        "upstream": st.sampled_from(["127.0.0.1:9", "x"]) | values,
        "enabled": values,
        "toxics": st.lists(toxics | values, max_size=3) | values,
    },
)
documents = st.one_of(values, proxies, toxics, st.lists(proxies | values, max_size=3))
bodies = st.one_of(
    documents.map(lambda document: json.dumps(document).encode()),
    documents.map(lambda document: json.dumps(document).encode()[:-1]),
    st.binary(max_size=60),
    st.sampled_from([b"", b"[" * 20_000, b'{"a":' * 20_000, b'"' + b"x" * 70_000]),
)
paths = st.one_of(
    st.sampled_from(
        [
            "/proxies",
            "/populate",
            "/reset",
            "/version",
            "/capabilities",
            "/connections",
            "/metrics",
            "//",
            "/x",
        ]
    ),
    st.sampled_from(
        ["/events", "/events?since=x", "/events?since=-1", "/events?since=" + "9" * 40, "/events?since=²"]
    ),
    st.builds("/proxies/{}".format, names.map(lambda name: name.replace("\x00", "%00"))),
    st.builds("/proxies/{}/toxics".format, st.sampled_from(["p", "q", "%ff"])),
    st.builds("/proxies/p/toxics/{}".format, st.sampled_from(["t", "%ff", "u"])),
)
methods = st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "get", "X-Y"])
requests = st.tuples(methods, paths, bodies)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that must live to the end without having logged a traceback."""
    log = tmp_path / "log"
    with server_process(log=log) as process:
        yield process
    text = log.read_text(errors="replace")
    assert "Traceback" not in text, text[-3000:]


@contextlib.contextmanager
def watched(server: ServerProcess) -> Iterator[list[float]]:
    """Ask the API every few milliseconds meanwhile; give the list of how long each answer took, in seconds."""
    took: list[float] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            began = time.perf_counter()
            assert server.call("GET", "/version")[0] == 200
            took.append(time.perf_counter() - began)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def p99_s(took: list[float]) -> float:
    """Pick the 99th percentile; enough answers for one must have come."""
    assert len(took) >= 50
    return statistics.quantiles(took, n=100)[98]


def send(server: ServerProcess, request: tuple[str, str, bytes]) -> None:
    """Send one request as it is, and judge the answer."""
    method, path, body = request
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(head.encode() + body)
        answer = http.client.HTTPResponse(sock, method=method)
        answer.begin()
        text = answer.read()
    if answer.status >= 500:
        assert answer.status == 500, (request, answer.status)
        assert json.loads(text)["error"].startswith(CONTRACT_500), (request, text)


def hammer(server: ServerProcess, examples: int) -> None:
    """Send that many malformed requests."""
    server.proxied("p", 9)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(requests)
    def run(request: tuple[str, str, bytes]) -> None:
        send(server, request)

    run()
    assert server.call("GET", "/proxies")[0] == 200


def test_api_survives_malformed_requests(server: ServerProcess):
    """Some hundred: no 5xx but the contract's."""
    hammer(server, 400)


@pytest.mark.external
@pytest.mark.alone
def test_api_survives_ten_thousand_malformed_requests_and_answers_soon(server: ServerProcess):
    """Ten thousand, while random bytes come in on the data port; others are answered within 100 ms (p99)."""
    stop = threading.Event()
    noise = threading.Thread(target=babble, args=(server, stop))
    noise.start()
    try:
        with watched(server) as took:
            hammer(server, 10_000)
    finally:
        stop.set()
        noise.join()
    assert p99_s(took) <= 0.1


def babble(server: ServerProcess, stop: threading.Event) -> None:
    """Send random bytes through a proxy with toxics, in both directions, over and over."""
    dice = random.Random(4)
    with echo_server() as port:
        proxy = server.proxied("noise", port)
        for kind, more in (
            ("http", {"path": "/a*"}),
            ("corrupt", {"per_million": 5}),
            ("latency", {"latency": 1}),
        ):
            stream = "upstream" if kind == "http" else "downstream"
            server.add("noise", {"type": kind, "stream": stream, "attributes": more})
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", proxy), timeout=5) as sock:
                sock.settimeout(0.05)
                with contextlib.suppress(OSError):
                    sock.sendall(
                        dice.choice([b"", b"GET /a", b"POST /a HTTP/1.1\r\n"]) + dice.randbytes(2000)
                    )
                    sock.recv(4096)


@contextlib.contextmanager
def echo_server() -> Iterator[int]:
    """Echo in a thread; one connection after the other, each a second at most."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        connection.settimeout(0.2)
                        while data := connection.recv(65536):
                            connection.sendall(data)

        listener.settimeout(0.2)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def test_data_port_survives_random_bytes(server: ServerProcess):
    """Noise in a second's time; the API answers all the while."""
    stop = threading.Event()
    with watched(server) as took:
        noise = threading.Thread(target=babble, args=(server, stop))
        noise.start()
        time.sleep(1)
        stop.set()
        noise.join()
    assert p99_s(took) <= 1.0


def test_api_port_survives_what_is_no_http(server: ServerProcess):
    """Random bytes, half requests, endless headers: each is answered with 400 or closed."""
    dice = random.Random(5)
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as sock:
            sock.settimeout(0.05)
            start = dice.choice(
                [b"", b"GET / HTTP/1.1\r\n", b"POST /proxies HTTP/1.1\r\nContent-Length: 50\r\n\r\n"]
            )
            with contextlib.suppress(OSError):
                sock.sendall(start + dice.randbytes(500))
                sock.recv(4096)
    assert server.call("GET", "/version")[0] == 200


def test_api_answers_though_its_connections_are_used_up(server: ServerProcess):
    """Six hundred connections that say nothing do not keep out the one that has something to heal."""
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
        began = time.perf_counter()
        assert server.call("POST", "/reset")[0] == 204
        assert time.perf_counter() - began < 1


@contextlib.contextmanager
def flood() -> Iterator[int]:
    """A server that writes to everybody, in a process of its own: in a thread it would keep the one that measures from running."""
    command = [sys.executable, str(Path(__file__).with_name("faults_flood.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


@pytest.mark.parametrize(
    "count",
    [100, pytest.param(1000, marks=[pytest.mark.external, pytest.mark.alone])],
    ids=["hundred", "thousand"],
)
def test_api_answers_while_clients_never_read(server: ServerProcess, count: int):
    """Behind each a server that floods, with a toxic and without; memory stays bounded, answers come soon."""
    with flood() as flooding, contextlib.ExitStack() as stack:
        port = server.proxied("p", flooding)
        server.add("p", {"type": "latency", "name": "l", "toxicity": 0.5, "attributes": {"latency": 50}})
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        time.sleep(1)
        with watched(server) as took:
            for turn in range(20):
                server.add("p", {"type": "noop", "name": f"n{turn}"})
                assert server.call("GET", "/proxies")[0] == 200
                assert server.call("GET", "/connections")[0] == 200
                time.sleep(0.05)
            assert server.call("POST", "/reset")[0] == 204
        assert p99_s(took) <= (0.1 if count == 1000 else 1.0)
        assert server.rss_bytes() < 450_000_000 + count * 1_000_000
