"""The embedded proxy against Toxiproxy 2.12: what each adds to a direct connection, in turns, on one machine.

One nginx worker is the upstream and wrk the client (for bulk and for delays the lean ends of `lean.py`). Every round starts both proxies anew and
takes, for each way in turn: the median latency at one connection and requests a second with their 99th percentile at 32
(keep-alive), new connections a second, bulk down and up with the CPU seconds that a GB costs, the memory that 1,000 idle
connections take, and how far from 100 ms a latency toxic of 100 ms is at 100 connections.

Toxiproxy is `$CHAOS_SPIKE_TOXIPROXY` or `toxiproxy-server` on PATH, e.g. from
`GOBIN=/tmp/bin go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0` (the program is called `server` then).

Run it alone with `python -m bench toxiproxy --rounds 5`. Figures are medians of the rounds.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

SECONDS = 2
IDLE = 1000
DELAY_MS = 100
DELAYED = 100
PEER = "Toxiproxy 2.12"
Row = dict[str, Any]
Figures = dict[str, float]

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


@dataclass(frozen=True)
class Way:
    """A way to the upstream: where clients connect, the proxy's process and API (both None for direct)."""

    address: str
    pid: int | None = None
    admin: str | None = None


class Sink:
    """Two processes, one that swallows what it is sent and one that sends, and the means of filling and draining them."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.lean", "sink"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{self._line()['port']}"
        self._spring = subprocess.Popen([*command[:-1], "spring"], stdout=subprocess.PIPE)
        assert self._spring.stdout is not None
        self.spring_address = f"127.0.0.1:{json.loads(self._spring.stdout.readline())['port']}"
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._process, self._spring):
            process.kill()
            process.communicate()

    def _line(self) -> Row:
        assert self._process.stdout is not None
        line: Row = json.loads(self._process.stdout.readline())
        return line

    def drain(self, address: str) -> tuple[float, float]:
        """Read from `address` for a while; return the GB that came, and in how many seconds."""
        command = [sys.executable, "-m", "bench.lean", "drain", address, str(SECONDS)]
        done = subprocess.run(command, capture_output=True, check=True)
        line: Row = json.loads(done.stdout)
        return line["bytes"] / 1e9, line["s"]

    def fill(self, address: str) -> tuple[float, float]:
        """Send to `address` for a while; return the GB that arrived here, and in how many seconds."""
        command = [sys.executable, "-m", "bench.lean", "source", address, str(SECONDS)]
        subprocess.run(command, check=True)
        line = self._line()
        return line["bytes"] / 1e9, line["s"]


def main(rounds: int = 5) -> list[Row]:
    """The rows of this comparison."""
    wrk, nginx = shutil.which("wrk"), shutil.which("nginx")
    peer = os.environ.get("CHAOS_SPIKE_TOXIPROXY") or shutil.which("toxiproxy-server")
    for program, missing in ((wrk, "wrk"), (nginx, "nginx"), (peer, "toxiproxy-server")):
        if program is None:
            return [{"name": "proxy", "skipped": f"{missing} is not on PATH", "rounds": rounds}]
    assert wrk is not None
    assert nginx is not None
    assert peer is not None
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    taken: dict[str, list[Figures]] = {"direct": [], "ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as home, _nginx(nginx, Path(home)) as upstream, Sink() as sink:
        for _ in range(rounds):
            for name, figures in _round(wrk, peer, upstream, sink).items():
                taken[name].append(figures)
    return _rows(taken, rounds)


def _round(wrk: str, peer: str, upstream: str, sink: Sink) -> dict[str, Figures]:
    with _ours(upstream) as ours, _toxiproxy(peer, upstream) as theirs:
        ways = {"direct": Way(upstream), "ours": ours, "peer": theirs}
        figures: dict[str, Figures] = {name: {} for name in ways}
        for take in (_idle, _alone, _crowd, _fresh, _bulk, _delay):
            for name, way in ways.items():
                figures[name].update(take(wrk, way, sink))
    return figures


def _alone(wrk: str, way: Way, _sink: Sink) -> Figures:
    return {"alone_us": _wrk(wrk, way, 1)["p50_us"]}


def _crowd(wrk: str, way: Way, _sink: Sink) -> Figures:
    found = _wrk(wrk, way, 32)
    return {"rate": found["rate"], "p99_us": found["p99_us"]}


def _fresh(wrk: str, way: Way, _sink: Sink) -> Figures:
    return {"fresh": _wrk(wrk, way, 32, "-H", "Connection: close")["rate"]}


def _bulk(_wrk_path: str, way: Way, sink: Sink) -> Figures:
    down_at, up_at = sink.spring_address, sink.address
    if way.admin is not None:
        down_at, up_at = _proxied(way.admin, down_at, "spring"), _proxied(way.admin, up_at, "sink")
    before = _cpu_s(way)
    down_gb, down_s = sink.drain(down_at)
    between = _cpu_s(way)
    up_gb, up_s = sink.fill(up_at)
    after = _cpu_s(way)
    return {
        "down": down_gb / down_s,
        "up": up_gb / up_s,
        "down_cpu": (between - before) / down_gb,
        "up_cpu": (after - between) / up_gb,
    }


def _idle(_wrk_path: str, way: Way, _sink: Sink) -> Figures:
    if way.pid is None:
        return {}
    before = _rss_mib(way.pid)
    host, _, port = way.address.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        time.sleep(0.5)
        return {"idle_mib": _rss_mib(way.pid) - before}


def _delay(_wrk_path: str, way: Way, _sink: Sink) -> Figures:
    """How much later than asked for answers come, behind a latency toxic."""
    if way.admin is None:
        return {}
    toxic = {"type": "latency", "name": "delay", "attributes": {"latency": DELAY_MS}}
    _api(f"{way.admin}/proxies/bench/toxics", toxic)
    command = [sys.executable, "-m", "bench.lean", "delays", way.address, str(DELAYED), str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    late_ms = sorted(took_s * 1000 - DELAY_MS for took_s in json.loads(done.stdout))
    return {"late_p50_ms": statistics.median(late_ms), "late_p99_ms": late_ms[len(late_ms) * 99 // 100]}


def _rows(taken: dict[str, list[Figures]], rounds: int) -> list[Row]:
    def median(name: str, key: str) -> float:
        return statistics.median(figures[key] for figures in taken[name])

    def row(name: str, unit: str, ours: float, peer: float) -> Row:
        return {
            "name": f"proxy, {name}",
            "ours": round(ours, 3),
            "peer": round(peer, 3),
            "peer_name": PEER,
            "ratio": round(ours / peer, 3) if peer else None,
            "unit": unit,
            "rounds": rounds,
        }

    rows = [
        row(
            "added median latency, 1 connection",
            "microseconds over direct",
            *(
                # Within each round: what the machine does meanwhile is alike there.
                statistics.median(
                    mine["alone_us"] - plain["alone_us"]
                    for mine, plain in zip(taken[name], taken["direct"], strict=True)
                )
                for name in ("ours", "peer")
            ),
        )
    ]
    for key, name, unit in (
        ("rate", "32 connections", "requests per second"),
        ("p99_us", "32 connections, p99", "microseconds"),
        ("fresh", "a connection for each request", "connections per second"),
        ("down", "bulk down", "GB per second"),
        ("up", "bulk up", "GB per second"),
        ("down_cpu", "bulk down, CPU", "CPU seconds per GB"),
        ("up_cpu", "bulk up, CPU", "CPU seconds per GB"),
        ("idle_mib", f"{IDLE} idle connections", "MiB"),
        ("late_p50_ms", f"latency of {DELAY_MS} ms at {DELAYED} connections, late by, median", "ms"),
        ("late_p99_ms", f"latency of {DELAY_MS} ms at {DELAYED} connections, late by, p99", "ms"),
    ):
        rows.append(row(name, unit, median("ours", key), median("peer", key)))
    direct = ("rate", "p99_us", "fresh", "down", "up")
    rows.append(
        {
            "name": "proxy, direct for comparison",
            "skipped": ", ".join(f"{key} {median('direct', key):.4g}" for key in direct),
            "rounds": rounds,
        }
    )
    return rows


def _wrk(program: str, way: Way, connections: int, *more: str) -> Figures:
    command = [program, "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "20s", "--latency", *more]
    done = subprocess.run([*command, f"http://{way.address}/"], capture_output=True, text=True, check=True)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    count = re.search(r"(\d+) requests in", done.stdout)
    if rate is None or count is None:
        raise RuntimeError(f"wrk's answer was not understood: {done.stdout}")
    found = {"rate": float(rate[1]), "count": float(count[1])}
    for percent in ("50", "99"):
        figure = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\n", done.stdout)
        if figure is not None:
            found[f"p{percent}_us"] = float(figure[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[figure[2]]
    return found


@contextlib.contextmanager
def _nginx(program: str, home: Path) -> Iterator[str]:
    port = _free_port()
    (home / "nginx.conf").write_text(_NGINX.format(home=home, port=port))
    command = [program, "-e", "stderr", "-p", str(home), "-c", str(home / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            _await_port(port)
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()


@contextlib.contextmanager
def _ours(upstream: str) -> Iterator[Way]:
    command = [sys.executable, "-m", "faults.proxy", "-port", "0", "--die-with-parent"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            admin = json.loads(process.stdout.readline())["admin"]
            yield Way(_proxied(admin, upstream), process.pid, admin)
        finally:
            process.stdin.close()


@contextlib.contextmanager
def _toxiproxy(program: str, upstream: str) -> Iterator[Way]:
    port = _free_port()
    environment = {**os.environ, "LOG_LEVEL": "warn"}
    command = [program, "-host", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            _await_port(port)
            admin = f"http://127.0.0.1:{port}"
            yield Way(_proxied(admin, upstream), process.pid, admin)
        finally:
            process.kill()


def _proxied(admin: str, upstream: str, name: str = "bench") -> str:
    made = _api(f"{admin}/proxies", {"name": name, "listen": "127.0.0.1:0", "upstream": upstream})
    return str(made["listen"])


def _api(url: str, body: Row) -> Row:
    request = urllib.request.Request(url, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        made: Row = json.loads(answer.read())
        return made


def _cpu_s(way: Way) -> float:
    if way.pid is None:
        return 0.0
    fields = Path(f"/proc/{way.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


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
