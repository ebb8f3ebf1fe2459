"""What stands between a caller and its dependency costs: the embedded proxy and the tap, without toxics, against direct.

One target and one wrk; direct, through the toxic proxy, through the tap (which parses every request) and through both, in turns
within each round. Requests a second at 32 connections, and the added median latency at one connection.
"""

import contextlib
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.target import target

SECONDS = 2
Row = dict[str, Any]


@contextlib.contextmanager
def _child(*arguments: str) -> Iterator[dict[str, Any]]:
    """Run one of our servers; gives its ready line. It ends when its stdin does."""
    command = [sys.executable, "-m", *arguments, "--host", "127.0.0.1", "--port", "0", "--die-with-parent"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            assert process.stdin is not None
            process.stdin.close()


def _proxied(admin: str, upstream: str) -> str:
    """Address of a new proxy on the embedded server."""
    body = json.dumps({"name": "bench", "listen": "127.0.0.1:0", "upstream": upstream}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{admin}/proxies", data=body), timeout=5) as answer:
        return str(json.loads(answer.read())["listen"])


@contextlib.contextmanager
def routes(upstream: str) -> Iterator[dict[str, str]]:
    """Every way to the target, by name, as host:port."""
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory() as home:
        proxy = stack.enter_context(_child("faults.proxy"))
        behind = _proxied(proxy["admin"], upstream)
        config = Path(home) / "taps.json"
        taps = {"tap": upstream, "tap and proxy": behind}
        config.write_text(
            json.dumps(
                [
                    {
                        "name": name,
                        "listen": "127.0.0.1:0",
                        "upstream": to,
                        "protocol": "http",
                        "correlate": "x-request-id",
                    }
                    for name, to in taps.items()
                ]
            )
        )
        tap = stack.enter_context(_child("faults.proxy.tap", "--config", str(config)))
        yield {"direct": upstream, "proxy": behind, **tap["taps"]}


def _wrk(program: str, address: str, connections: int) -> tuple[float, float]:
    """Requests a second, and the median latency in microseconds."""
    command = [program, "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", f"http://{address}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    median = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout)
    if rate is None or median is None:
        raise RuntimeError(f"wrk's answer was not understood: {done.stdout}")
    return float(rate[1]), float(median[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[median[2]]


def main(rounds: int = 5) -> list[Row]:
    """The rows of this comparison."""
    program = shutil.which("wrk")
    if program is None:
        return [{"name": "pass-through", "skipped": "wrk is not on PATH", "rounds": rounds}]
    figures: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with target() as served, routes(served.address) as ways:
        for _ in range(rounds):
            for connections in (1, 32):
                for name, address in ways.items():
                    figures.setdefault((name, connections), []).append(_wrk(program, address, connections))
    rows: list[Row] = []
    for name in ways:
        if name == "direct":
            continue
        for connections, place, unit in (
            (32, 0, "requests per second"),
            (1, 1, "microseconds, median latency"),
        ):
            mine = statistics.median(found[place] for found in figures[name, connections])
            plain = statistics.median(found[place] for found in figures["direct", connections])
            rows.append(
                {
                    "name": f"through {name}, {connections} connection{'s' if connections > 1 else ''}, {served.name}",
                    "ours": round(mine, 1),
                    "peer": round(plain, 1),
                    "peer_name": "direct",
                    "ratio": round(mine / plain, 3),
                    "unit": unit,
                    "rounds": rounds,
                }
            )
    return rows
