"""The lab under continuous spikes and faults for many minutes: what lives as long as a run must not grow.

One real `chaos-spike run` of a plan made here: every 20 s a spike, and within it one fault, each kind in its turn. Meanwhile
runner, guardian and proxies are measured from outside every two seconds:

- Memory is `Private_Dirty` + `Swap` of /proc/PID/smaps_rollup: the pages that only this process has and that cannot be dropped. Resident
  size also holds pages of files and of shared libraries, which come and go with the page cache and say nothing of a leak.
- Two warm-ups are left out (`warm_up_s`): pools, caches and arenas fill in the first spikes. What follows is cut into blocks of 30 s,
  each represented by its *lowest* value: a spike's buffers are freed after it, a leak is not. Blocks lie further apart than one cycle of
  spike and fault, so that their values are nearly independent, as the interval of the Theil-Sen slope (Sen 1968) wants it.
- The proxy keeps its last 65,536 events for whoever asks. That log is filled to the brim in the warm-up, by connections to a proxy that
  is made and removed for the purpose: what grows after that is a leak, and not a log on its way to its bound.
- "Flat" is: the upper end of that 95 % interval is below 1 MB an hour. A slope whose interval is too wide to say so does not pass.
- Descriptors are flat where the lower end of their slope's interval is not above zero, and the lowest count of the last quarter is not above the highest of the
  first.

"Nothing lost" is read in the run's record: every operation that was due has exactly one outcome, no fault is missing a step, no
source of evidence has lost a record, no journal is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from resilience.analysis.memory import Slope, slope_of
from resilience.metrics.outcomes import CATEGORIES

CYCLE_S = 20
EVERY_S = 2.0
BLOCK_S = 30.0
LIMIT_MB_PER_H = 1.0
MB = 1e6
COMMAND = (sys.executable, "-m", "resilience.cli.main")
WATCHED = {"guardian": "faults.guardian", "proxy": "faults.proxy", "tap": "faults.proxy.tap"}
FAULTS = (
    {"proxy": "pricing", "toxic": {"type": "latency", "attributes": {"latency": 800, "jitter": 100}}},
    {"proxy": "pricing", "enabled": False},
    {"proxy": "db", "toxic": {"type": "latency", "attributes": {"latency": 40}}},
    {"proxy": "pricing", "toxic": {"type": "http", "stream": "upstream", "attributes": {"status": 503}}},
    {"proxy": "cache", "enabled": False},
    {"proxy": "pricing", "toxic": {"type": "reset_peer", "attributes": {"timeout": 20}}},
    {"proxy": "pricing", "toxic": {"type": "slicer", "attributes": {"average_size": 40, "delay": 500}}},
    {"proxy": "pricing", "toxic": {"type": "timeout", "attributes": {"timeout": 0}}},
)


@dataclass(slots=True)
class Series:
    """What was seen of one process: (seconds, private bytes, descriptors)."""

    name: str
    seen: list[tuple[float, int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Growth:
    """The verdict on one process. Slopes are of an hour; `low`, `middle`, `high` as in `Slope`."""

    blocks: int
    private_mb: float
    mb_per_h: tuple[float, float, float]
    descriptors: tuple[int, int]
    descriptors_per_h: tuple[float, float, float]
    flat: bool


def plan_of(minutes: float) -> dict[str, Any]:
    """A plan of that length: warm-up, then a spike with a fault every `CYCLE_S` seconds."""
    cycles = max(2, int(minutes * 60) // CYCLE_S)
    names = [f"cycle{number}" for number in range(cycles)]
    spike = {"spike": "60/s", "after": "4s", "rise": "1s", "hold": "6s", "fall": "1s"}
    skus = [{"sku": str(1001 + number)} for number in range(8)]
    return {
        "version": 1,
        "name": "soak",
        "purpose": "Nothing that lives as long as a run grows with it.",
        "lab": {},
        "phases": [
            {"name": "warmup", "duration": "2s", "judge": False},
            *({"name": name, "duration": f"{CYCLE_S}s"} for name in names),
        ],
        "load": {
            "quotes": {
                "http": {
                    "url": "/api/quote/{sku}",
                    "data": skus,
                    "degraded": {"header": {"X-Degraded": "true"}},
                },
                "rate": {"default": "10/s", **dict.fromkeys(names, spike)},
            },
            "orders": {
                "http": {
                    "method": "POST",
                    "url": "/api/orders",
                    "json": {"sku": "{sku}", "quantity": 1},
                    "data": skus,
                },
                "rate": "4/s",
            },
        },
        "faults": [
            {
                "id": f"fault-{number}",
                **FAULTS[number % len(FAULTS)],
                "start": f"{name}+5s",
                "duration": "6s",
            }
            for number, name in enumerate(names)
        ],
        "breakers": {
            "pricing": {"load": "quotes", "observe": {"events": True, "poll": "500ms", "wire": "pricing"}}
        },
        "expect": {"up": {"load": "quotes", "phase": names[-1], "unanswered": "< 50%"}},
    }


def soak(minutes: float, warm_up_s: float) -> dict[str, Any]:
    """Run it and report; `problems` is empty where all is flat and nothing was lost."""
    with tempfile.TemporaryDirectory(prefix="chaos-spike-soak-") as name:
        folder = Path(name)
        (folder / "plan.yaml").write_text(json.dumps(plan_of(minutes)), encoding="utf-8")
        began = time.monotonic()
        with ThreadPoolExecutor(1) as pool, _run(folder) as process:
            filling = pool.submit(_fill_event_log, folder, process)
            found = _watch(process, began)
            unfilled = filling.exception()
            code = process.wait()
        if not list(folder.glob("out/*/samples/bins.jsonl")):
            raise RuntimeError(f"the run did not begin: {(folder / 'log').read_text(encoding='utf-8')}")
        record = next((folder / "out").iterdir())
        growths = {name: growth(series, warm_up_s) for name, series in found.items() if name in _JUDGED}
        lost = losses(record, int(minutes * 60) // CYCLE_S)
        lost += [f"journal {path.name} is left" for path in folder.glob("state/sessions/*.jsonl")]
        problems = [f"{name} is not flat" for name, each in growths.items() if each is None or not each.flat]
        problems += [f"{name} was not seen" for name in _JUDGED if name not in growths] + lost
        if unfilled is not None:
            problems.append(f"the proxy's event log was not filled: {unfilled!r}")
        if code not in (0, 3):
            problems.append(f"the run ended with {code}")
        return {
            "minutes": minutes,
            "warm_up_s": warm_up_s,
            "block_s": BLOCK_S,
            "measured": "Private_Dirty + Swap of /proc/PID/smaps_rollup, lowest of each block",
            "exit_code": code,
            "growth": {name: None if each is None else asdict(each) for name, each in growths.items()},
            "series": {
                name: [[round(at, 1), size, files] for at, size, files in each.seen]
                for name, each in found.items()
            },
            "problems": problems,
        }


_JUDGED = ("runner", "guardian", "proxy", "tap")
"""Toxics and taps of the embedded lab are a process each."""


@contextlib.contextmanager
def _run(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [*COMMAND, "run", str(folder / "plan.yaml"), "--out", str(folder / "out"), "--seed", "1"]
    environment = {
        **os.environ,
        "CHAOS_SPIKE_STATE_DIR": str(folder / "state"),
        "CHAOS_SPIKE_HISTORY": str(folder / "history.sqlite"),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _fill_event_log(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Make the lab's proxy forget its first event: after that its log does not get longer."""
    while (system := _system(folder)) is None:
        if process.poll() is not None:
            return
        time.sleep(0.2)
    admin_url = system["proxies"]["pricing"]["admin_url"]
    with socket.create_server(("127.0.0.1", 0), backlog=64) as upstream:
        where = f"127.0.0.1:{upstream.getsockname()[1]}"
        made = _call(
            admin_url, "POST", "/proxies", {"name": "fill", "listen": "127.0.0.1:0", "upstream": where}
        )
        for number in range(_TOXICS):
            _call(admin_url, "POST", "/proxies/fill/toxics", {"type": "noop", "name": f"noop-{number}"})
        host, _, port = made["listen"].rpartition(":")
        while not _call(admin_url, "GET", "/events?since=1")["dropped"]:
            for _ in range(50):
                with socket.create_connection((host, int(port)), timeout=10) as caller:
                    served = upstream.accept()[0]
                    with served:
                        # Events of connections that carried something hold larger numbers, which take room of their own.
                        for giver, taker in ((caller, served), (served, caller)):
                            giver.sendall(bytes(1000))
                            while len(taker.recv(1000, socket.MSG_PEEK)) < 1000:
                                time.sleep(0.001)
        _call(admin_url, "DELETE", "/proxies/fill")


_TOXICS = 20


def _system(folder: Path) -> dict[str, Any] | None:
    """The lab as the run tells it; None until it is up, as the run's record begins before."""
    for path in folder.glob("out/*/environment.json"):
        with contextlib.suppress(ValueError):
            system: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")).get("system")
            return system
    return None


def _call(admin_url: str, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(admin_url + path, data, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def _watch(process: subprocess.Popen[bytes], began: float) -> dict[str, Series]:
    """Measure until the run ends its load: then it judges, which takes the memory that it takes."""
    found: dict[int, Series] = {process.pid: Series("runner")}
    while process.poll() is None:
        _find(process.pid, found)
        at_s = time.monotonic() - began
        for pid, series in found.items():
            with contextlib.suppress(OSError, ValueError):
                series.seen.append(
                    (at_s, _private_bytes(pid), sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()))
                )
        time.sleep(max(0.0, EVERY_S - (time.monotonic() - began - at_s)))
    guarded_until = max(
        (at for each in found.values() if each.name == "guardian" for at, *_ in each.seen), default=0.0
    )
    by_name = {}
    for series in found.values():
        # Without its guardian a run has no session any more: what is left is winding up and judging.
        series.seen = [each for each in series.seen if each[0] <= guarded_until]
        by_name[series.name] = series
    return by_name


def _find(pid: int, found: dict[int, Series]) -> None:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            if child.pid in found:
                continue
            with contextlib.suppress(psutil.Error):
                words = child.cmdline()
                for name, module in WATCHED.items():
                    if module in words:
                        known = sum(each.name.startswith(name) for each in found.values())
                        found[child.pid] = Series(name if not known else f"{name}-{known + 1}")


def _private_bytes(pid: int) -> int:
    sizes = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123 - every two seconds
        for line in file:
            key, _, rest = line.partition(":")
            if key in ("Private_Dirty", "Swap"):
                sizes[key] = int(rest.split()[0]) * 1024
    return sum(sizes.values())


def growth(series: Series, warm_up_s: float) -> Growth | None:
    """The verdict on one process; None where too little was seen of it."""
    blocks: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for at_s, size, files in series.seen:
        if at_s >= warm_up_s:
            blocks[int((at_s - warm_up_s) // BLOCK_S)].append((size, files))
    lowest = [
        (number * BLOCK_S / 3600, min(size for size, _ in each), min(files for _, files in each))
        for number, each in sorted(blocks.items())
        if len(each) >= BLOCK_S / EVERY_S / 2
    ]
    if len(lowest) < 5:
        return None
    memory = slope_of([(at_h, size / MB) for at_h, size, _ in lowest])
    files = slope_of([(at_h, float(count)) for at_h, _, count in lowest])
    quarter = max(1, len(lowest) // 4)
    first = max(count for *_, count in lowest[:quarter])
    last = min(count for *_, count in lowest[-quarter:])
    return Growth(
        blocks=len(lowest),
        private_mb=round(lowest[-1][1] / MB, 2),
        mb_per_h=_rounded(memory),
        descriptors=(first, last),
        descriptors_per_h=_rounded(files),
        flat=memory.high < LIMIT_MB_PER_H and files.low <= 0 and last <= first,
    )


def _rounded(slope: Slope) -> tuple[float, float, float]:
    return round(slope.low, 3), round(slope.middle, 3), round(slope.high, 3)


def losses(record: Path, faults: int) -> list[str]:
    """What a run has lost, in words; empty where everything is accounted for."""
    counts: dict[str, int] = defaultdict(int)
    for line in (record / "samples" / "bins.jsonl").read_text(encoding="utf-8").splitlines():
        for key, count in json.loads(line)["n"].items():
            counts[key] += count
    ended = sum(counts[category] for category in CATEGORIES)
    problems = []
    if not counts["offered"] or ended != counts["offered"]:
        problems.append(f"{counts['offered']} operations were due, {ended} have an outcome")
    steps: dict[str, set[str]] = defaultdict(set)
    for line in (record / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "fault":
            steps[event["id"]].add(event["step"])
        # A poll is a look: one that came to nothing on a busy machine is told as a gap, and has lost no record of anything.
        if event["kind"] == "lost" or (event["kind"] == "gap" and event.get("source") != "poll"):
            problems.append(f"evidence is missing: {line}")
    whole = {"journaled", "armed", "injected", "healed", "verified"}
    problems += [f"{name} has only {sorted(seen)}" for name, seen in steps.items() if not whole <= seen]
    problems += [
        f"{name} was {sorted(seen)}" for name, seen in steps.items() if seen & {"unhealed", "expired"}
    ]
    if len(steps) != faults:
        problems.append(f"{faults} faults were planned, {len(steps)} have left a trace")
    return problems
