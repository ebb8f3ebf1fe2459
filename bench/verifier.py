"""How fast the breaker verifier judges: observations a second with all rules, on recordings of three lengths.

The recording is played on virtual time by the model breaker of the simulation tests: 150 calls a second, each seen by its caller and by a
tap, a poll each 250 ms, the breaker's events, one failure in a hundred, and a dependency that is ill for five seconds of every
twenty. Longer recordings are this one, again and again, each time later; like a file, they are read anew for each pass, and never
held in memory; reading alone is timed, too, and taken off. Time is the process's own CPU time. Equal figures at every length mean that it is linear;
`peak_mib` is what the process held at most, of which `before_mib` is the interpreter, the code and the recording.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.rows import Row, median

ROOT = Path(__file__).parents[1]
SIZES = (10_000, 100_000, 1_000_000)
LEAST_PER_S = 20_000


def main(rounds: int) -> list[Row]:
    """One row a length. Each measurement is a process of its own: memory is counted from nothing."""
    return [_row(size, 1 if size > 100_000 else rounds) for size in SIZES]


def _row(size: int, rounds: int) -> Row:
    found = [_measured(size) for _ in range(rounds)]
    speed = median([entry["per_s"] for entry in found])
    return {
        "name": f"verifier: {size:,} observations",
        "ours": round(speed),
        "worst": round(min(entry["per_s"] for entry in found)),
        "unit": "observations per CPU second, all rules",
        "rounds": rounds,
        "goal": f">= {LEAST_PER_S}",
        "met": speed >= LEAST_PER_S,
        "peak_mib": max(entry["peak_mib"] for entry in found),
        "before_mib": found[0]["before_mib"],
    }


def _measured(size: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.verifier", str(size)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _measure(size: int) -> dict[str, float]:
    from resilience.breaker.spec import BreakerSpec  # noqa: PLC0415
    from resilience.breaker.verify import verify  # noqa: PLC0415

    history, mapping = _recorded(size)
    began = time.process_time()
    count = sum(1 for _ in history)
    reading = time.process_time() - began
    before = _most_kib()
    begun = time.process_time()
    report = verify(history, BreakerSpec.from_mapping(mapping))
    took = time.process_time() - begun - 2 * reading  # it is read twice
    assert report.verdict() == "pass", report.reason()
    peak = _most_kib()
    return {
        "per_s": count / took,
        "peak_mib": round(peak / 1024),
        "before_mib": round(before / 1024),
    }


def _most_kib() -> int:
    """The most memory that this program held. What getrusage tells begins with what its parent held as it was started."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource  # noqa: PLC0415 - not on every system

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1])


def _recorded(size: int) -> tuple[Iterable[Any], dict[str, Any]]:
    """About `size` observations of a correct breaker, and its specification."""
    sys.path.insert(0, str(ROOT / "tests" / "simulation"))
    from breaker_random import spec_of  # noqa: PLC0415 - of the simulation tests, not of the product
    from breaker_repeated import Repeated  # noqa: PLC0415
    from breaker_world import MS, Answer, Model, S, World  # noqa: PLC0415

    rng = random.Random(1)
    calls: list[int] = []
    at = 0
    while at < 32 * S:
        at += round(rng.expovariate(150) * S)
        calls.append(at)

    def dependency(number: int, now: int) -> Answer:
        own = random.Random(number)
        if now % (20 * S) > 15 * S:
            return Answer(200 * MS, "failure")
        return Answer(own.randint(3, 30) * MS, "failure" if own.random() < 0.01 else "ok")

    model = Model(failures=5)
    world = World(model, dependency, calls, timeout_ns=300 * MS, hop_ns=(0, 2 * MS), poll_ns=250 * MS)
    once = world.run()
    return Repeated(once, times=max(1, round(size / len(once))), period_ns=34 * S), spec_of(model, 300)


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
