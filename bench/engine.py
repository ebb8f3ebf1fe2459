"""What a request costs the generator: our engine against wrk, in requests per CPU second.

Both drive the same nginx (or, without one, the same aiohttp server) on loopback, one after the other in each round, on the same
core, while the target has another core where there is one. Ours is the engine as a run uses it, in its own worker process:
every operation stamped, counted, folded and sent. wrk is closed-loop, so the first row drives ours as a closed model with as
many users as wrk has connections; the second row is the open model, which is what plans use, at a fixed rate.

Run it alone with `python bench/engine.py [ROUNDS]`; `main(rounds)` returns rows for a larger report:
{name, ours, peer, peer_name, ratio, unit, rounds}, or {name, skipped: reason}.
"""

import asyncio
import contextlib
import os
import re
import shutil
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

CONNECTIONS = 64
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


def ours(url: str, shape: Shape) -> float:
    """Requests per CPU second of one worker of the engine."""
    return asyncio.run(_drive(url, shape))


async def _drive(url: str, shape: Shape) -> float:
    messages: list[dict[str, Any]] = []
    stream = Stream(
        name="load",
        shape=shape,
        arrival="uniform",
        request=HttpRequest(url=url),
        deadline_ns=_S,
        timeout_ns=5 * _S,
        connections=CONNECTIONS,
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


def wrk(url: str, program: str) -> float:
    """Requests per CPU second of wrk with one thread."""
    cores = _cores()[0]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            [program, "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url],
            stdout=out,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        out.seek(0)
        found = re.search(rb"(\d+) requests in", out.read())
    return int(found[1]) / (usage.ru_utime + usage.ru_stime) if found else float("nan")


def main(rounds: int = 3) -> list[Row]:
    """The rows of this benchmark; the median of `rounds` interleaved rounds."""
    program = shutil.which("wrk")
    closed = Closed(CONNECTIONS, 0, 0, SECONDS * _S)
    steady = (RateSegment(0, SECONDS * _S, OPEN_RATE, OPEN_RATE),)
    figures: dict[str, list[float]] = {"closed": [], "open": [], "wrk": []}
    with target() as (url, server):
        for _ in range(rounds):
            figures["closed"].append(ours(url, closed))
            if program is not None:
                figures["wrk"].append(wrk(url, program))
            figures["open"].append(ours(url, steady))
    rows = []
    for name, key in (
        (f"{CONNECTIONS} users without pause", "closed"),
        (f"open model at {OPEN_RATE:.0f}/s", "open"),
    ):
        mine = statistics.median(figures[key])
        if program is None:
            rows.append(
                {"name": f"http, {name}", "ours": mine, "skipped": "wrk is not on PATH", "rounds": rounds}
            )
            continue
        theirs = statistics.median(figures["wrk"])
        rows.append(
            {
                "name": f"http, {name}, {server}",
                "ours": round(mine),
                "peer": round(theirs),
                "peer_name": "wrk",
                "ratio": round(mine / theirs, 3),
                "unit": "requests per CPU second",
                "rounds": rounds,
            }
        )
    return rows


def _cores() -> tuple[set[int], set[int]]:
    """The generator's core, and the target's."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[0]}, {cores[-1]}


def _free_port() -> int:
    import socket  # noqa: PLC0415 - for this line alone

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _await_port(port: int) -> None:
    import socket  # noqa: PLC0415 - for this line alone

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
