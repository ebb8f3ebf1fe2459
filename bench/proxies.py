"""The processes of the comparison of proxies: nginx, sink and spring behind, ours and Toxiproxy in front of them.

Every process here is told where it listens, lives in a context manager and is gone after it. `Way` is how the bench sees
each of the ways to them: direct, through ours, through Toxiproxy.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_NGINX = """
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; client_max_body_size 0; sendfile on;
  client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ return 200 "hello world"; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to the three servers, by address; `pid` and `admin` are the proxy's, None where there is none."""

    http: str
    sink: str
    spring: str
    pid: int | None = None
    admin: str | None = None


class Bulk:
    """Two processes, one that swallows what it is sent and one that sends, and the means of filling and draining them."""

    def __enter__(self) -> Self:
        self._sink = _lean("sink")
        self._spring = _lean("spring")
        self.sink = f"127.0.0.1:{_line(self._sink)['port']}"
        self.spring = f"127.0.0.1:{_line(self._spring)['port']}"
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._sink, self._spring):
            process.kill()
            process.communicate()

    @property
    def pids(self) -> tuple[int, int]:
        """Both processes."""
        return self._sink.pid, self._spring.pid

    def drain(self, way: Way, seconds: float) -> tuple[float, float]:
        """Read from the spring for a while; return the GB that came, and in how many seconds."""
        command = [sys.executable, "-m", "bench.lean", "drain", way.spring, str(seconds)]
        line = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return line["bytes"] / 1e9, line["s"]

    def fill(self, way: Way, seconds: float) -> tuple[float, float]:
        """Send to the sink for a while; return the GB that arrived there, and in how many seconds."""
        subprocess.run([sys.executable, "-m", "bench.lean", "source", way.sink, str(seconds)], check=True)
        line = _line(self._sink)
        return line["bytes"] / 1e9, line["s"]


def _lean(what: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "bench.lean", what], stdout=subprocess.PIPE)


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line: dict[str, Any] = json.loads(process.stdout.readline())
    return line


@contextlib.contextmanager
def nginx(program: str) -> Iterator[tuple[str, int]]:
    """One worker that answers every request with a few bytes: its address and process."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as home:
        config = Path(home) / "nginx.conf"
        config.write_text(_NGINX.format(home=home, port=port))
        command = [program, "-e", "stderr", "-p", home, "-c", str(config)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                _await_port(port)
                yield f"127.0.0.1:{port}", server.pid
            finally:
                server.terminate()


@contextlib.contextmanager
def ours(direct: Way) -> Iterator[Way]:
    """The embedded proxy in a process of its own."""
    command = [sys.executable, "-m", "faults.proxy", "-port", "0", "--die-with-parent"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        try:
            yield _through(_line(process)["admin"], process.pid, direct)
        finally:
            process.stdin.close()


@contextlib.contextmanager
def toxiproxy(program: str, direct: Way) -> Iterator[Way]:
    """Shopify's server."""
    port = _free_port()
    command = [program, "-host", "127.0.0.1", "-port", str(port)]
    environment = {**os.environ, "LOG_LEVEL": "warn"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            _await_port(port)
            yield _through(f"http://127.0.0.1:{port}", process.pid, direct)
        finally:
            process.kill()


def _through(admin: str, pid: int, direct: Way) -> Way:
    made = {}
    for name in ("http", "sink", "spring"):
        body = {"name": name, "listen": "127.0.0.1:0", "upstream": getattr(direct, name)}
        made[name] = str(call("POST", f"{admin}/proxies", body)["listen"])
    return Way(**made, pid=pid, admin=admin)


@contextlib.contextmanager
def toxic(way: Way, kind: str, attributes: dict[str, int]) -> Iterator[None]:
    """Put a toxic on the way to nginx, and take it away again."""
    call(
        "POST", f"{way.admin}/proxies/http/toxics", {"type": kind, "name": "bench", "attributes": attributes}
    )
    try:
        yield
    finally:
        call("DELETE", f"{way.admin}/proxies/http/toxics/bench")


def call(method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask an admin API."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data=data, method=method), timeout=5) as answer:
        text = answer.read()
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the server did not start")
