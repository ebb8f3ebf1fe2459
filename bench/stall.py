"""The stall oracle: a frozen server under 500/s, and what each load generator makes of it.

The truth is known in closed form. Callers who come at a constant rate over L seconds to a server that answers at once, but is
frozen for T of them, wait not at all with probability (L - T) / L, and else uniformly between 0 and T. The figure is the
Kolmogorov-Smirnov distance between that and the response times that a generator reports, and beside it the 90th percentile.

Ours runs an open model on connections that were opened beforehand. Locust and k6 run what their users write: users who ask, wait
for the answer, and pause so that 50 of them make 500/s. In the freeze each of them asks once and then waits, so that nearly all of
the callers that the freeze would have hit are never sent. (k6 has an open model of its own, with as many waiting users as it is
allowed; the loop is what is compared here.)

The time in which the thawed server works off its backlog is not subtracted here; it makes up most of our distance.
"""

import asyncio
import contextlib
import csv
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import psutil

from bench import peers
from bench.drive import S, drive, stream_of
from bench.rows import Row, compared, measured, median, skipped
from bench.target import Served, target
from resilience.load.model import RateSegment

RATE = 500.0
LENGTH_S = 8
BEFORE_S = 1
FREEZE_S = 6
USERS = 50
AT_ONCE_S = 0.02
"""What is answered within this time counts as answered at once."""
GOAL = 0.02
UNIT = "KS distance to the closed form"

Times = Sequence[float]


def main(rounds: int = 5) -> list[Row]:
    """The rows of this benchmark."""
    programs = {"Locust": (peers.find("locust"), _locust), "k6": (peers.find("k6"), _k6)}
    runs: dict[str, Callable[[Served], Times]] = {"ours": _ours}
    runs |= {
        name: partial(take, program) for name, (program, take) in programs.items() if program is not None
    }
    times: dict[str, list[Times]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, take in runs.items():
            with target() as served:  # each its own: a connection that a peer left behind would be counted
                times[name].append(take(served))
    distances = {name: [distance(some) for some in of] for name, of in times.items()}
    nineties = {name: round(median([_p90(some) for some in of]), 4) for name, of in times.items()}
    truth = {"p90_s": nineties["ours"], "true_p90_s": 0.9 * LENGTH_S - (LENGTH_S - FREEZE_S)}
    name = f"freeze of {FREEZE_S} s under {RATE:.0f}/s"
    rows = [measured(f"{name}: the open model", distances["ours"], UNIT, at_most=GOAL, **truth)]
    for peer in programs:
        if peer not in distances:
            rows.append(skipped(f"{name}, against {peer}", f"{peer} is not installed", rounds))
            continue
        what = f"{peer}, {USERS} users in a closed loop"
        rows.append(
            compared(
                f"{name}: what {peer} sees",
                distances["ours"],
                distances[peer],
                what,
                UNIT,
                peer_p90_s=nineties[peer],
                **truth,
            )
        )
    return rows


def distance(times: Times) -> float:
    """The Kolmogorov-Smirnov distance of response times (s) to the closed form."""
    ordered = sorted(0.0 if t < AT_ONCE_S else t for t in times)
    n = len(ordered)
    worst = 0.0
    for value, same in groupby(enumerate(ordered, 1), key=itemgetter(1)):
        ranks = [rank for rank, _ in same]
        should = (LENGTH_S - FREEZE_S + min(value, FREEZE_S)) / LENGTH_S
        just_below = should if value else 0.0
        worst = max(worst, abs(ranks[-1] / n - should), abs((ranks[0] - 1) / n - just_below))
    return worst


def _p90(times: Times) -> float:
    return sorted(times)[int(len(times) * 0.9)]


def _ours(served: Served) -> Times:
    stream = stream_of(
        served.url,
        (RateSegment(0, LENGTH_S * S, RATE, RATE),),
        connections=int(RATE * FREEZE_S) + 200,
        timeout_ns=60 * S,
        record_calls=True,
    )

    async def freeze(epoch_ns: int) -> None:
        await asyncio.sleep(epoch_ns / S + BEFORE_S - time.monotonic())
        os.kill(served.pid, signal.SIGSTOP)
        await asyncio.sleep(FREEZE_S)
        os.kill(served.pid, signal.SIGCONT)

    driven = drive(stream, seconds=LENGTH_S, meanwhile=freeze)
    return [(done - intended) / S for _, intended, _, _, _, done, *_ in driven.calls()]


def _locust(program: str, served: Served) -> Times:
    with _frozen_once(served):
        said = peers.run_locust(
            program,
            served.url,
            "stall_users.py",
            users=USERS,
            seconds=LENGTH_S,
            BENCH_PAUSE=str(USERS / RATE),
        )
    took: Times = said["took"]
    return took


def _k6(program: str, served: Served) -> Times:
    variables = {"URL": served.url, "USERS": USERS, "SECONDS": LENGTH_S, "PAUSE": USERS / RATE}
    with tempfile.TemporaryDirectory() as home:
        rows = Path(home) / "rows.csv"
        with _frozen_once(served):
            peers.run_k6(program, "stall.js", variables, "--out", f"csv={rows}")
        with rows.open(newline="") as lines:
            return [
                float(row["metric_value"]) / 1000
                for row in csv.DictReader(lines)
                if row["metric_name"] == "took"
            ]


@contextlib.contextmanager
def _frozen_once(served: Served) -> Iterator[None]:
    """Freeze the target for a while, a second after all users are there."""
    over = threading.Event()
    troubles: list[str] = []

    def freeze() -> None:
        process = psutil.Process(served.pid)
        until = time.monotonic() + 30
        while len(process.net_connections("tcp")) <= USERS:  # the listener is one more
            if over.wait(0.02) or time.monotonic() > until:
                troubles.append("the users did not come")
                return
        if not over.wait(BEFORE_S):
            process.suspend()
            over.wait(FREEZE_S)
            process.resume()

    beside = threading.Thread(target=freeze)
    beside.start()
    try:
        yield
    finally:
        over.set()
        beside.join()
    if troubles:
        raise peers.PeerError(troubles[0])
