"""A long load: does memory stay flat, is every arrival accounted for, and how much is written.

The real thing: `chaos-spike run` with a plan of one load, 5,000/s from one worker against nginx, recorded and judged as any run.
While it goes on the resident size of the runner and of its worker is taken every second; afterwards the record is read.

Rows: the slope of each process's memory, by Theil and Sen with its 95 % interval, over medians of ten seconds and without the first
fifth of the run (what is allocated once is allocated by then): flat means that the *upper* end of the interval stays under the
bound. Then arrivals scheduled, offered and accounted for, which have to be the same number. Then bytes on disk for a minute of the
run's second half against its first half: as much, whatever the length.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from bench.rows import Row, rounded
from bench.target import Served, generator_core, target
from resilience.analysis.memory import slope_of
from resilience.metrics.outcomes import CATEGORIES
from resilience.run.record import RunReader

RATE = 5_000
CONNECTIONS = 256
"""Open from the beginning, and never more: a target that stalls would otherwise have the worker open new ones, 2.6 kB each."""
FLAT_BYTES_PER_MINUTE = 100_000
BLOCK_S = 10
_PLAN = """
version: 1
name: soak
purpose: Memory, conservation and bytes on disk of a long load.
external: {{base_url: "{url}"}}
phases:
  - {{name: soak, duration: {seconds}s}}
load:
  steady: {{http: {{url: /}}, rate: {{default: {rate}/s}}, connections: {connections}, in_flight: {connections}}}
expect:
  answered: {{load: steady, phase: soak, errors: "< 1%"}}
"""
Sizes = list[tuple[float, float]]


def main(minutes: float = 10.0) -> list[Row]:
    """The rows of this measurement."""
    with target() as served, tempfile.TemporaryDirectory() as home:
        sizes, status = _run(served, Path(home), minutes)
        if not sizes["worker"]:
            raise RuntimeError(f"the run ended with {status} before its load began; its log says why")
        (folder,) = (Path(home) / "runs").iterdir()
        reader = RunReader(folder)
        verdict = reader.verdict()
        rows = [_memory(who, minutes, of) for who, of in sizes.items()]
        rows.append(_conservation(reader, minutes, verdict, status))
        rows.append(_disk(folder, minutes))
    return rows


def _run(served: Served, home: Path, minutes: float) -> tuple[dict[str, Sizes], int]:
    """Run the plan; seconds and bytes of runner and worker, and the exit code."""
    plan = home / "soak.yaml"
    plan.write_text(
        _PLAN.format(url=served.url, seconds=round(minutes * 60), rate=RATE, connections=CONNECTIONS)
    )
    command = [sys.executable, "-m", "resilience.cli.main", "run", str(plan), "--stack", "external"]
    command += ["--workers", "1", "--out", str(home / "runs")]
    sizes: dict[str, Sizes] = {"runner": [], "worker": []}
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, generator_core())  # a child inherits it with its first instruction
    try:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    finally:
        os.sched_setaffinity(0, own)
    began = time.monotonic()
    with process:
        try:
            runner = psutil.Process(process.pid)
            while process.poll() is None:
                _sample(runner, time.monotonic() - began, sizes)
                time.sleep(1)
        finally:
            process.kill()
    return sizes, process.returncode


def _sample(runner: psutil.Process, at_s: float, sizes: dict[str, Sizes]) -> None:
    try:
        workers = [child for child in runner.children() if "resilience.load.worker" in child.cmdline()]
        for worker in workers:  # only while there is one does the runner run the load
            sizes["worker"].append((at_s, worker.memory_info().rss))
            sizes["runner"].append((at_s, runner.memory_info().rss))
    except psutil.Error:
        pass  # it has just ended


def _memory(who: str, minutes: float, sizes: Sizes) -> Row:
    settled = [(at, size) for at, size in sizes if at >= sizes[0][0] + 0.2 * minutes * 60]
    blocks: dict[int, list[tuple[float, float]]] = {}
    for at, size in settled:
        blocks.setdefault(int(at // BLOCK_S), []).append((at, size))
    points = [
        (statistics.median(at for at, _ in some), statistics.median(size for _, size in some))
        for some in blocks.values()
    ]
    slope = slope_of(points)
    low, middle, high = (60 * bytes_per_s for bytes_per_s in (slope.low, slope.middle, slope.high))
    return {
        "name": f"memory of the {who} over {minutes:g} minutes at {RATE:,}/s",
        "ours": rounded(middle / 1000),
        "low": rounded(low / 1000),
        "high": rounded(high / 1000),
        "unit": "kB a minute (middle, and the ends of the 95 % interval)",
        "first_mb": rounded(points[0][1] / 1e6),
        "last_mb": rounded(points[-1][1] / 1e6),
        "rounds": 1,
        "goal": f"upper end <= {FLAT_BYTES_PER_MINUTE / 1000:g}",
        "met": high <= FLAT_BYTES_PER_MINUTE,
    }


def _conservation(reader: RunReader, minutes: float, verdict: dict[str, Any], status: int) -> Row:
    counts = dict.fromkeys(("offered", *CATEGORIES), 0)
    for increment in reader.bins():
        for name in counts:
            counts[name] += increment["n"][name]
    ended = sum(counts[name] for name in CATEGORIES)
    scheduled = sum(line["scheduled"] for line in reader.workers() if line["kind"] == "end")
    planned = round(minutes * 60) * RATE
    return {
        "name": f"arrivals of {minutes:g} minutes at {RATE:,}/s that are accounted for",
        "ours": ended,
        "planned": planned,
        "scheduled": scheduled,
        "offered": counts["offered"],
        "categories": {name: counts[name] for name in CATEGORIES if counts[name]},
        "verdict": verdict.get("verdict"),
        "exit_code": status,
        "validity": verdict.get("validity", {}).get("reasons"),
        "unit": "arrivals",
        "rounds": 1,
        "goal": "planned = scheduled = offered = the sum over the categories",
        "met": planned == scheduled == counts["offered"] == ended
        and bool(verdict["validity"]["conservation"]),
    }


def _disk(folder: Path, minutes: float) -> Row:
    half_s = minutes * 60 / 2
    halves = [0, 0]
    for line in (folder / "samples" / "bins.jsonl").read_bytes().splitlines(keepends=True):
        halves[json.loads(line)["s"] >= half_s] += len(line)
    whole = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    kb_a_minute = [size / 1000 / half_s * 60 for size in halves]
    return {
        "name": f"bytes on disk of {minutes:g} minutes at {RATE:,}/s",
        "ours": rounded(kb_a_minute[1]),
        "first_half": rounded(kb_a_minute[0]),
        "whole_record_mb": rounded(whole / 1e6),
        "bytes_per_arrival": rounded(whole / (minutes * 60 * RATE)),
        "unit": "kB of samples a minute in the second half of the run",
        "rounds": 1,
        "goal": "second half <= 1.2 x first half",
        "met": halves[1] <= 1.2 * halves[0],
    }
