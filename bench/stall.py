"""The stall oracle: a frozen server under 500/s, and what each load generator makes of it.

The truth is known in closed form. Of callers who come at a constant rate while a server that answers at once is frozen for T, the one
who comes a seconds after the freeze began waits T - a: their waits are uniform on (0, T), and there are rate x T of them. What the
thawed server then needs to work off its backlog is its own time: it writes down when it gave each answer, and what the k-th of them
came after the thaw is subtracted from the k-th wait. The figure is the Kolmogorov-Smirnov distance between the waits that a generator
reports of callers in the freeze and that uniform distribution; beside it the callers it saw of those who were due, and the 90th
percentile of its whole run, which is known as well: with a freeze of T in L seconds, 0.9 L - (L - T).

Ours runs an open model on connections that were opened beforehand. Locust and k6 run what their users write: users who ask, wait
for the answer, and pause so that 50 of them make 500/s. In the freeze each of them asks once and then waits, so that nearly all of
the callers that the freeze would have hit are never sent. (k6 has an open model of its own, with as many waiting users as it is
allowed; the loop is what is compared here.) All three are put to the same test.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

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
GOAL = 0.02
UNIT = "KS distance to the closed form"
_LOG_LATE_S = 1.5
"""Until the target has written down what it has answered."""


class Wait(NamedTuple):
    """One request, as a generator tells it: when it was asked for (s since 1970; ours: was due), and how long its answer took (s)."""

    began_s: float
    took_s: float


@dataclass(slots=True)
class Freeze:
    """When the target was frozen, s since 1970."""

    began_s: float = 0.0
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What one run says. `drain_s`: after the thaw until the last answer of the backlog, by the target's own account."""

    distance: float
    undrained: float
    """The distance where the drain is not subtracted."""
    callers: int
    drain_s: float
    p90_s: float


def main(rounds: int = 5) -> list[Row]:
    """The rows of this benchmark."""
    programs = {"Locust": (peers.find("locust"), _locust), "k6": (peers.find("k6"), _k6)}
    runs: dict[str, Callable[[Served], tuple[Freeze, Sequence[Wait]]]] = {"ours": _ours}
    runs |= {
        name: partial(take, program) for name, (program, take) in programs.items() if program is not None
    }
    seen: dict[str, list[Seen]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, take in runs.items():
            with target(
                logging=True
            ) as served:  # each its own: a connection that a peer left behind would be counted
                freeze, waits = take(served)
                seen[name].append(judged(freeze, waits, _answers(served)))
    truth = {"true_callers": round(RATE * FREEZE_S), "true_p90_s": 0.9 * LENGTH_S - (LENGTH_S - FREEZE_S)}
    name = f"freeze of {FREEZE_S} s under {RATE:.0f}/s"
    ours = [run.distance for run in seen["ours"]]
    rows = [
        measured(
            f"{name}: the open model",
            ours,
            UNIT,
            at_most=GOAL,
            drain_ms=round(1000 * median([run.drain_s for run in seen["ours"]]), 1),
            distance_with_the_drain=round(median([run.undrained for run in seen["ours"]]), 4),
            **_beside("", seen["ours"]),
            **truth,
        )
    ]
    for peer in programs:
        if peer not in seen:
            rows.append(skipped(f"{name}, against {peer}", f"{peer} is not installed", rounds))
            continue
        theirs = [run.distance for run in seen[peer]]
        what = f"{peer}, {USERS} users in a closed loop"
        beside = {**_beside("", seen["ours"]), **_beside("peer_", seen[peer]), **truth}
        rows.append(compared(f"{name}: what {peer} sees", ours, theirs, what, UNIT, **beside))
    return rows


def judged(freeze: Freeze, waits: Sequence[Wait], answers: Sequence[float]) -> Seen:
    """Hold what a generator reports against the closed form; `answers` are the instants at which the target answered."""
    length_s = freeze.ended_s - freeze.began_s
    stalled = [wait for wait in waits if freeze.began_s <= wait.began_s < freeze.ended_s]
    in_order = sorted(stalled, key=sum)  # of their ends
    drains = [at - freeze.ended_s for at in sorted(answers) if at >= freeze.ended_s][: len(stalled)]
    drains += [0.0] * (len(stalled) - len(drains))  # a target that keeps no account
    waited = [wait.took_s - drain for wait, drain in zip(in_order, drains, strict=True)]
    everything = sorted(wait.took_s for wait in waits)
    return Seen(
        distance=distance(waited, length_s),
        undrained=distance([wait.took_s for wait in stalled], length_s),
        callers=len(stalled),
        drain_s=max(drains, default=0.0),
        p90_s=everything[int(len(everything) * 0.9)],
    )


def distance(waits: Sequence[float], length_s: float) -> float:
    """The Kolmogorov-Smirnov distance of waits (s) to the uniform distribution on (0, length_s); 1 where there are none."""
    n = len(waits)
    should = [min(max(wait / length_s, 0.0), 1.0) for wait in sorted(waits)]
    return max((max((k + 1) / n - of, of - k / n) for k, of in enumerate(should)), default=1.0)


def _beside(whose: str, runs: Sequence[Seen]) -> Row:
    return {
        f"{whose}callers": median([run.callers for run in runs]),
        f"{whose}p90_s": round(median([run.p90_s for run in runs]), 4),
    }


def _answers(served: Served) -> list[float]:
    if served.log is None:
        return []
    time.sleep(_LOG_LATE_S)
    return [float(line) for line in served.log.read_text().split()]


def _ours(served: Served) -> tuple[Freeze, Sequence[Wait]]:
    stream = stream_of(
        served.url,
        (RateSegment(0, LENGTH_S * S, RATE, RATE),),
        connections=int(RATE * FREEZE_S) + 200,
        timeout_ns=60 * S,
        record_calls=True,
    )
    freeze = Freeze()

    async def stop_and_go(epoch_ns: int) -> None:
        await asyncio.sleep(epoch_ns / S + BEFORE_S - time.monotonic())
        freeze.began_s = _signalled(served.pid, signal.SIGSTOP)
        await asyncio.sleep(FREEZE_S)
        freeze.ended_s = _signalled(served.pid, signal.SIGCONT)

    driven = drive(stream, seconds=LENGTH_S, meanwhile=stop_and_go)
    since_1970_s = time.time() - time.monotonic()
    return freeze, [
        Wait(intended / S + since_1970_s, (done - intended) / S)
        for _, intended, _, _, _, done, *_ in driven.calls()
    ]


def _signalled(pid: int, which: signal.Signals) -> float:
    """Send a signal; when that was, in s since 1970."""
    before_s = time.time()
    os.kill(pid, which)
    return (before_s + time.time()) / 2


def _locust(program: str, served: Served) -> tuple[Freeze, Sequence[Wait]]:
    with _frozen_once(served) as freeze:
        said = peers.run_locust(
            program,
            served.url,
            "stall_users.py",
            users=USERS,
            seconds=LENGTH_S,
            BENCH_PAUSE=str(USERS / RATE),
        )
    return freeze, [Wait(*pair) for pair in said["took"]]


def _k6(program: str, served: Served) -> tuple[Freeze, Sequence[Wait]]:
    variables = {"URL": served.url, "USERS": USERS, "SECONDS": LENGTH_S, "PAUSE": USERS / RATE}
    with tempfile.TemporaryDirectory() as home:
        rows = Path(home) / "rows.csv"
        with _frozen_once(served) as freeze:
            peers.run_k6(program, "stall.js", variables, "--out", f"csv={rows}")
        with rows.open(newline="") as lines:
            return freeze, [
                Wait(
                    float(row["extra_tags"].removeprefix("began=")) / 1000, float(row["metric_value"]) / 1000
                )
                for row in csv.DictReader(lines)
                if row["metric_name"] == "took"
            ]


@contextlib.contextmanager
def _frozen_once(served: Served) -> Iterator[Freeze]:
    """Freeze the target for a while, a second after all users are there."""
    over = threading.Event()
    troubles: list[str] = []
    found = Freeze()

    def freeze() -> None:
        process = psutil.Process(served.pid)
        until = time.monotonic() + 30
        while len(process.net_connections("tcp")) <= USERS:  # the listener is one more
            if over.wait(0.02) or time.monotonic() > until:
                troubles.append("the users did not come")
                return
        if not over.wait(BEFORE_S):
            found.began_s = _signalled(served.pid, signal.SIGSTOP)
            over.wait(FREEZE_S)
            found.ended_s = _signalled(served.pid, signal.SIGCONT)

    beside = threading.Thread(target=freeze)
    beside.start()
    try:
        yield found
    finally:
        over.set()
        beside.join()
    if troubles:
        raise peers.PeerError(troubles[0])
