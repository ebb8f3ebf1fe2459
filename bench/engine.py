"""What a request costs the generator: our engine against wrk, in requests per CPU second.

Both drive the same nginx (or, without one, the same aiohttp server) on loopback, one after the other in each round, on the same
core, while the target has another core where there is one. Ours is the engine as a run uses it, in its own worker process:
every operation stamped, counted, folded and sent. wrk is closed-loop, so ours is driven as a closed model with as many users
as wrk has connections: with 64 of them both find several answers at each wake; with one, every request pays for its own wake,
which in a virtual machine costs more than all the rest. The last row is the open model, which is what plans use, at a fixed
rate: nearly every request has a wake of its own there, so its peer is wrk with one connection.

Run it alone with `python bench/engine.py [ROUNDS]`; `main(rounds)` returns rows for a larger report:
{name, ours, peer, peer_name, ratio, unit, rounds}, or {name, skipped: reason}.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resilience.load.engine import LoadEngine
from resilience.load.model import Closed, HttpRequest, PhaseWindow, RateSegment, Shape, Stream
from resilience.metrics.fold import LoadTable

CROWD = 64
SECONDS = 3
OPEN_RATE = 10_000.0
_S = 10**9
Row = dict[str, Any]

_NGINX = """
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {home}; proxy_temp_path {home};
  fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "hello world"; }} }}
}}
"""


@contextlib.contextmanager
def target() -> Iterator[tuple[str, str]]:
    """Serve on loopback, away from the generator's core; gives the URL and the server's name."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as home:
        nginx = shutil.which("nginx")
        if nginx is not None:
            config = Path(home) / "nginx.conf"
            config.write_text(_NGINX.format(home=home, port=port))
            command, name = [nginx, "-e", "stderr", "-p", home, "-c", str(config)], "nginx"
        else:
            command, name = [sys.executable, __file__, "--serve", str(port)], "aiohttp"
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
            try:
                os.sched_setaffinity(server.pid, _cores()[1])
                _await_port(port)
                yield f"http://127.0.0.1:{port}/", name
            finally:
                server.terminate()


def ours(url: str, shape: Shape, connections: int) -> float:
    """Good requests per CPU second of one worker of the engine."""
    return asyncio.run(_drive(url, shape, connections))


async def _drive(url: str, shape: Shape, connections: int) -> float:
    messages: list[dict[str, Any]] = []
    stream = Stream(
        name="load",
        shape=shape,
        arrival="uniform",
        request=HttpRequest(url=url),
        deadline_ns=_S,
        timeout_ns=5 * _S,
        connections=connections,
    )
    phases = (PhaseWindow("all", 0, SECONDS * _S),)
    async with LoadEngine([stream], phases, workers=1, run_id="bench", on_message=messages.append) as engine:
        await engine.prepare()
        for pid in engine.pids:
            os.sched_setaffinity(pid, _cores()[0])
        await engine.start(time.monotonic_ns() + 20_000_000)
        await engine.finish(SECONDS + 10)
    good = LoadTable.from_messages(messages, phases).bin("load").counts["good"]
    (end,) = [message for message in messages if message["kind"] == "end"]
    return float(good * _S / end["cpu_ns"])


def wrk(url: str, program: str, connections: int) -> float:
    """Requests per CPU second of wrk with one thread."""
    own = os.sched_getaffinity(0)
    with tempfile.TemporaryFile() as out:
        os.sched_setaffinity(0, _cores()[0])  # a child inherits it with its first instruction
        try:
            process = subprocess.Popen([program, "-t1", f"-c{connections}", f"-d{SECONDS}s", url], stdout=out)
        finally:
            os.sched_setaffinity(0, own)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        out.seek(0)
        found = re.search(rb"(\d+) requests in", out.read())
    return int(found[1]) / (usage.ru_utime + usage.ru_stime) if found else float("nan")


def main(rounds: int = 3) -> list[Row]:
    """The rows of this benchmark; the median of `rounds` interleaved rounds."""
    program = shutil.which("wrk")
    span = SECONDS * _S
    cases: tuple[tuple[str, Shape, int, int], ...] = (
        (f"{CROWD} users without pause", Closed(CROWD, 0, 0, span), CROWD, CROWD),
        ("one user without pause", Closed(1, 0, 0, span), 1, 1),
        (f"open model at {OPEN_RATE:.0f}/s", (RateSegment(0, span, OPEN_RATE, OPEN_RATE),), CROWD, 1),
    )
    mine: dict[str, list[float]] = {name: [] for name, *_ in cases}
    theirs: dict[int, list[float]] = {CROWD: [], 1: []}
    with target() as (url, server):
        for _ in range(rounds):
            for name, shape, connections, _peer in cases:
                mine[name].append(ours(url, shape, connections))
            if program is not None:
                for connections, figures in theirs.items():
                    figures.append(wrk(url, program, connections))
    rows = []
    for name, _shape, _connections, peer in cases:
        row: Row = {
            "name": f"http on {server}, {name}",
            "ours": round(statistics.median(mine[name])),
            "rounds": rounds,
        }
        if program is None:
            rows.append({**row, "skipped": "wrk is not on PATH"})
            continue
        of_peer = statistics.median(theirs[peer])
        ratio = round(row["ours"] / of_peer, 3)
        plural = "connection" if peer == 1 else "connections"
        rows.append(
            {
                **row,
                "peer": round(of_peer),
                "peer_name": f"wrk, {peer} {plural}",
                "ratio": ratio,
                "unit": "requests per CPU second",
            }
        )
    return rows


def _cores() -> tuple[set[int], set[int]]:
    """The generator's core, and the target's."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, {cores[-1]}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await_port(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the target did not start")


def _serve(port: int) -> None:
    from aiohttp import web  # noqa: PLC0415 - only where there is no nginx

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello world")

    app = web.Application()
    app.router.add_get("/", hello)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None, backlog=4096)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(int(sys.argv[2]))
    else:
        for row in main(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
            sys.stdout.write(f"{row}\n")
