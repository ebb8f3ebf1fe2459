"""The embedded proxy against Toxiproxy 2.12: what each adds to a direct connection, in turns, on one machine.

One nginx worker is the upstream and wrk the client (for bulk and for delays the lean ends of `lean.py`). Every round starts both proxies
anew and takes, for each way in turn: the memory that 1,000 idle connections take, the median latency at one connection and
requests a second with their 99th percentile at 32 (keep-alive), new connections a second, bulk both ways with the CPU seconds that
a GB costs, and how far from 100 ms a latency toxic of 100 ms is at 100 connections.

What decides between alike is the machine, so: latencies are taken in `SLICES` short turns a round, ways in rotating order, and the
added latency is the median of differences between neighbours in time; no process is pinned and none has a priority; and a figure that
was taken while somebody else used the machine is taken again, and where that did not help left out (`neighbours.py`, the same rule for
every way; how often is a row). A row most of whose figures are of that kind has them all the same, and no verdict on its goal. A
99th percentile at 32 connections stands on some 300 requests above it in each slice, and is the median of all slices.

Toxiproxy is `$CHAOS_SPIKE_TOXIPROXY` or `toxiproxy-server` on PATH, e.g. from
`GOBIN=/tmp/bin go install github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0` (the program is called `server` then).

Run it alone with `python -m bench toxiproxy --rounds 5`.
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
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.neighbours import Neighbours
from bench.proxies import Bulk, Way, nginx, ours, toxic, toxiproxy

SLICES = 3
IDLE = 1000
DELAY_MS = 100
DELAYED = 100
PEER = "Toxiproxy 2.12"
Row = dict[str, Any]
Figures = dict[str, float]
Taken = list[tuple[float, bool]]
"""Figures in the order of taking, each with whether it was undisturbed."""


def main(rounds: int = 5) -> list[Row]:
    """The rows of this comparison."""
    wrk, server = shutil.which("wrk"), shutil.which("nginx")
    peer = os.environ.get("CHAOS_SPIKE_TOXIPROXY") or shutil.which("toxiproxy-server")
    for program, missing in ((wrk, "wrk"), (server, "nginx"), (peer, "toxiproxy-server")):
        if program is None:
            return [{"name": "proxy", "skipped": f"{missing} is not on PATH", "rounds": rounds}]
    assert wrk is not None
    assert server is not None
    assert peer is not None
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with nginx(server) as (address, pid), Bulk() as bulk:
        comparison = Comparison(wrk, bulk, (pid, *bulk.pids))
        direct = Way(address, bulk.sink, bulk.spring)
        for _ in range(rounds):
            with ours(direct) as mine, toxiproxy(peer, direct) as theirs:
                comparison.round({"direct": direct, "ours": mine, "peer": theirs})
        return comparison.rows(rounds)


@dataclass
class Comparison:
    """All figures so far, by way and name, each a list in the order of taking: nth figures of all ways are neighbours in time."""

    wrk: str
    bulk: Bulk
    pids: tuple[int, ...]
    taken: dict[str, dict[str, Taken]] = field(default_factory=dict)
    neighbours: Neighbours = field(default_factory=Neighbours)

    def round(self, ways: dict[str, Way]) -> None:
        """Take everything once."""
        pids = (*self.pids, *(way.pid for way in ways.values() if way.pid is not None))
        proxied = {name: way for name, way in ways.items() if way.admin is not None}
        for name, way in proxied.items():
            # Once only, on a fresh process: memory that was given back stays with the allocator.
            self._take(name, _idle(way), True)
        plan: list[tuple[dict[str, Way], int, Callable[[Way], Figures]]] = [
            (ways, SLICES, self._alone),
            (ways, SLICES, self._crowd),
            (ways, 1, self._fresh),
            (ways, 1, self._bulk),
            (proxied, 1, _delay),
        ]
        for among, times, take in plan:
            names = list(among)
            for turn in range(times):
                first = turn % len(names)
                for name in names[first:] + names[:first]:
                    self._take(name, *self.neighbours.told_apart(partial(take, among[name]), pids))

    def _take(self, name: str, figures: Figures, undisturbed: bool) -> None:
        for key, figure in figures.items():
            self.taken.setdefault(name, {}).setdefault(key, []).append((figure, undisturbed))

    def _alone(self, way: Way) -> Figures:
        return {"alone_us": self._drive(way, 1)["p50_us"]}

    def _crowd(self, way: Way) -> Figures:
        found = self._drive(way, 32)
        return {"rate": found["rate"], "p99_us": found["p99_us"]}

    def _fresh(self, way: Way) -> Figures:
        return {"fresh": self._drive(way, 32, "-H", "Connection: close")["rate"]}

    def _bulk(self, way: Way) -> Figures:
        before = _cpu_s(way)
        down_gb, down_s = self.bulk.drain(way, 1)
        between = _cpu_s(way)
        up_gb, up_s = self.bulk.fill(way, 1)
        after = _cpu_s(way)
        return {
            "down": down_gb / down_s,
            "up": up_gb / up_s,
            "down_cpu": (between - before) / down_gb,
            "up_cpu": (after - between) / up_gb,
        }

    def _drive(self, way: Way, connections: int, *more: str) -> Figures:
        command = [self.wrk, "-t1", f"-c{connections}", "-d1s", "--timeout", "20s", "--latency", *more]
        done = subprocess.run([*command, f"http://{way.http}/"], capture_output=True, text=True, check=True)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if rate is None:
            raise RuntimeError(f"wrk's answer was not understood: {done.stdout}")
        found = {"rate": float(rate[1])}
        for percent in ("50", "99"):
            figure = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)\n", done.stdout)
            if figure is not None:
                found[f"p{percent}_us"] = float(figure[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[figure[2]]
        return found

    def rows(self, rounds: int) -> list[Row]:
        """What came of it."""
        added = tuple(
            _median(
                [
                    (through - direct, was_quiet and also)
                    for (through, was_quiet), (direct, also) in zip(
                        self.taken[name]["alone_us"], self.taken["direct"]["alone_us"], strict=True
                    )
                ]
            )
            for name in ("ours", "peer")
        )
        rows = [
            _row(
                "added median latency, 1 connection",
                "microseconds over direct",
                (added[0], added[1]),
                rounds,
                at_most=0.6,
            )
        ]
        late = f"latency of {DELAY_MS} ms at {DELAYED} connections, late by"
        for key, name, unit, goal in (
            ("rate", "32 connections", "requests per second", {"at_least": 1.0}),
            ("p99_us", "32 connections, p99", "microseconds", {"at_most": 0.5}),
            ("fresh", "a connection for each request", "connections per second", {"at_least": 0.8}),
            ("down", "bulk down", "GB per second", {"at_least": 2.0}),
            ("up", "bulk up", "GB per second", {"at_least": 2.0}),
            ("down_cpu", "bulk down, CPU", "CPU seconds per GB", {}),
            ("up_cpu", "bulk up, CPU", "CPU seconds per GB", {}),
            ("idle_mib", f"{IDLE} idle connections", "MiB", {}),
            ("late_p50_ms", f"{late}, median", "ms", {"ours_at_most": 1.0}),
            ("late_p99_ms", f"{late}, p99", "ms", {"ours_at_most": 5.0}),
        ):
            figures = (_median(self.taken["ours"][key]), _median(self.taken["peer"][key]))
            rows.append(_row(name, unit, figures, rounds, **goal))
        direct = ("alone_us", "rate", "p99_us", "fresh", "down", "up")
        told = ", ".join(f"{key} {_median(self.taken['direct'][key])[0]:.4g}" for key in direct)
        rows.append({"name": "proxy, direct for comparison", "skipped": told, "rounds": rounds})
        rows.append({"name": "proxy, neighbours", "skipped": self.neighbours.told(), "rounds": rounds})
        return rows


def _median(taken: Taken) -> tuple[float, bool]:
    """Return the median of the undisturbed figures, where they are half of all at least; else that of all, and False."""
    quiet = [figure for figure, undisturbed in taken if undisturbed]
    if len(quiet) * 2 >= len(taken):
        return statistics.median(quiet), True
    return statistics.median(figure for figure, _ in taken), False


def _idle(way: Way) -> Figures:
    assert way.pid is not None
    before = _rss_mib(way.pid)
    host, _, port = way.http.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
        time.sleep(0.5)
        return {"idle_mib": _rss_mib(way.pid) - before}


def _delay(way: Way) -> Figures:
    """How much later than asked for answers come, behind a latency toxic."""
    command = [sys.executable, "-m", "bench.lean", "delays", way.http, str(DELAYED), "2"]
    with toxic(way, "latency", {"latency": DELAY_MS}):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    late_ms = sorted(took_s * 1000 - DELAY_MS for took_s in json.loads(done.stdout))
    return {"late_p50_ms": statistics.median(late_ms), "late_p99_ms": late_ms[len(late_ms) * 99 // 100]}


def _row(
    name: str,
    unit: str,
    figures: tuple[tuple[float, bool], tuple[float, bool]],
    rounds: int,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    ours_at_most: float | None = None,
) -> Row:
    """A row; goals are of the ratio to the peer, or of our own figure. A disturbed one is not judged."""
    (mine, mine_quiet), (theirs, theirs_quiet) = figures
    ratio = round(mine / theirs, 3) if theirs else float("nan")
    row: Row = {
        "name": f"proxy, {name}",
        "ours": round(mine, 3),
        "peer": round(theirs, 3),
        "peer_name": PEER,
        "ratio": ratio,
        "unit": unit,
        "rounds": rounds,
    }
    if not (mine_quiet and theirs_quiet):
        row["unit"] += "; disturbed by others, not judged"
        return row
    if at_least is not None:
        row |= {"goal": f"ratio >= {at_least:g}", "met": ratio >= at_least}
    elif at_most is not None:
        row |= {"goal": f"ratio <= {at_most:g}", "met": ratio <= at_most}
    elif ours_at_most is not None:
        row |= {"goal": f"ours <= {ours_at_most:g}", "met": mine <= ours_at_most}
    return row


def _cpu_s(way: Way) -> float:
    if way.pid is None:
        return 0.0
    fields = Path(f"/proc/{way.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
