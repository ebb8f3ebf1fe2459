"""A million users from two hundred workers, simulated: what the merged verdict can claim, and what it cannot.

    python tests/simulation/cluster_scale.py [--users 1000000] [--workers 200]

Nothing is driven. A million users arrive within ten seconds (a ramp from nothing to 200,000/s), striped over two hundred workers by the
real schedule. Each worker has a clock that is wrong by something, may be late, may be lost; each operation takes a log-normal time
around 8 ms, and fails if it really meets the fault, which stands from the sixth to the eighth second of the *runner's* clock. What
the workers would stamp goes through the real accounting (`Tally`), the real merge (`LoadTable`) and the real gates
(`judge_validity`), and is compared with what happened.

What is not simulated: the network, and what so many users do to a system.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from resilience.load import schedule
from resilience.load.model import HttpRequest, PhaseWindow, RateSegment, Stream
from resilience.load.tally import Tally
from resilience.metrics.fold import LoadTable
from resilience.metrics.outcomes import CODE
from resilience.metrics.validity import Validity, judge_validity

S = 10**9
MS = 10**6
EPOCH = 1_000 * S
LENGTH_S = 10
FAULT_S = (6.0, 8.0)
PHASES = (PhaseWindow("spike", 0, LENGTH_S * S),)
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class World:
    """What is wrong with the workers. Clocks are wrong by up to `clock_ms` either way, after correction."""

    name: str
    clock_ms: float = 0.0
    late: int = 0
    """So many workers start everything `late_ms` late."""
    late_ms: float = 100.0
    lost: int = 0
    """So many workers die half-way; `silently`: and nobody tells."""
    silently: bool = False


@dataclass(frozen=True, slots=True)
class Claims:
    """What the merged record says, beside what is true of the same run."""

    world: World
    validity: Validity
    offered: int
    scheduled: int
    p50_ms: tuple[float, float]
    """Claimed, true; so are the others."""
    p99_ms: tuple[float, float]
    p999_ms: tuple[float, float]
    wrong_second: float
    """Share of operations whose second is not the one in which they really were due."""
    misplaced: int
    """Operations that failed of the fault, and by their stamps not while it stood."""
    unordered: float
    """Share of successive arrivals (of different workers) whose order the clocks cannot tell."""
    rows: dict[str, Any] = field(default_factory=dict, repr=False)


WORLDS = (
    World("as it should be", clock_ms=1.5),
    *(World(f"clocks known to {error} ms either way", clock_ms=error) for error in (5.0, 50.0, 300.0)),
    *(World(f"{n} workers 100 ms late", clock_ms=1.5, late=n) for n in (1, 2, 3, 10)),
    *(World(f"{n} workers lost", clock_ms=1.5, lost=n) for n in (1, 3)),
    World("1 worker lost, and nobody told", clock_ms=1.5, lost=1, silently=True),
)


def stream_of(users: int) -> Stream:
    """Users who arrive within ten seconds, ever more of them, evenly spaced."""
    ramp = RateSegment(0, LENGTH_S * S, 0.0, 2.0 * users / LENGTH_S)
    return Stream("users", (ramp,), "uniform", HttpRequest(url="http://10.0.0.1/"), S, 10 * S)


def simulate(world: World, *, users: int, workers: int, due: Ints, seed: int = 1) -> Claims:
    """One run; `due` are the offsets of all arrivals, in ns."""
    draw = np.random.default_rng(seed)
    ahead = (draw.uniform(-1, 1, workers) * world.clock_ms * MS).astype(np.int64)
    owner = np.arange(due.size) % workers
    lag = draw.gamma(2.0, 60_000.0, due.size).astype(np.int64)
    lag[owner < world.late] += int(world.late_ms * MS)
    # A worker whose clock is ahead begins so much earlier than it should.
    really = due - ahead[owner]
    alive = (owner < workers - world.lost) | (due < LENGTH_S * S // 2)
    service = draw.lognormal(np.log(8e6), 0.5, due.size).astype(np.int64)
    begun = really + lag
    met = (begun >= FAULT_S[0] * S) & (begun < FAULT_S[1] * S)
    messages = list(_messages(world, workers, due, owner, lag, service, met, alive, ahead))
    table = LoadTable.from_messages(messages, PHASES)
    validity = judge_validity(
        table, {"users": schedule.counts_by_phase(stream_of(users), PHASES)}, messages, PHASES
    )
    claimed = table.phase("users", "spike")
    ok = alive & ~met
    true_ms = np.sort((lag + service)[ok] - np.where(owner < world.late, int(world.late_ms * MS), 0)[ok]) / MS
    lo, hi = (int(at * S) for at in FAULT_S)
    order = np.abs(np.diff(due)) <= 2 * world.clock_ms * MS
    return Claims(
        world,
        validity,
        offered=claimed.counts["offered"],
        scheduled=due.size,
        p50_ms=(claimed.p50_ms or 0.0, _quantile(true_ms, 0.5)),
        p99_ms=(claimed.p99_ms or 0.0, _quantile(true_ms, 0.99)),
        p999_ms=(claimed.p999_ms or 0.0, _quantile(true_ms, 0.999)),
        wrong_second=float(np.mean((due // S != really // S)[alive])),
        misplaced=int(np.count_nonzero(alive & met & ((due < lo - MS) | (due >= hi)))),
        unordered=float(np.mean(order)) if world.clock_ms else 0.0,
    )


def _messages(
    world: World,
    workers: int,
    due: Ints,
    owner: Ints,
    lag: Ints,
    service: Ints,
    met: npt.NDArray[np.bool_],
    alive: npt.NDArray[np.bool_],
    ahead: Ints,
) -> Iterator[dict[str, Any]]:
    """What the runner receives: every worker's stamps, corrected, are what its own clock said since its own epoch."""
    for worker in range(workers):
        own = (owner == worker) & alive
        intended = EPOCH + due[own]
        start = intended + lag[own]
        tally = Tally("users", PHASES, S, EPOCH)
        tally.offer(array("q", intended.tolist()))
        code = np.where(met[own], CODE["5xx"], CODE["ok"])
        table = np.empty((intended.size, 7), dtype=np.int64)
        table.T[:] = intended, start, start, np.zeros(intended.size), start, start + service[own], code
        tally.fold([table.tobytes()])
        yield from tally.drain(worker)
        error = int(world.clock_ms * MS)
        name = f"tcp://10.0.{worker // 250}.{worker % 250}:4000"
        yield {
            "kind": "clock", "worker": worker, "name": name, "shift_ns": int(ahead[worker]), "error": [-error, error], "jumps": 0,
        }  # fmt: skip
        dies = worker >= workers - world.lost
        for second in range(LENGTH_S // 2 if dies else LENGTH_S):
            yield {
                "kind": "worker", "worker": worker, "t": EPOCH + (second + 1) * S, "cpu": 0.4, "fds": 100, "fd_limit": 65_536,
                "in_flight": {"users": 8}, "stall_ns": 0, "in_flight_mean": {},
            }  # fmt: skip
        if not dies or world.silently:
            wanted = int(np.count_nonzero(owner == worker))
            yield {
                "kind": "end", "worker": worker, "load": "users", "t": EPOCH + LENGTH_S * S, "epoch_ns": EPOCH, "stall_ns": 0,
                "scheduled": wanted, "herd_spread_ns": None, "herd_writes": [],
            }  # fmt: skip
        else:
            yield {"kind": "lost", "worker": worker, "name": name, "exit": None}


def _quantile(ordered: npt.NDArray[np.float64], q: float) -> float:
    return float(ordered[max(0, int(np.ceil(q * ordered.size)) - 1)])


def arrivals(users: int, offsets: Callable[..., Iterator[int]] = schedule.offsets) -> Ints:
    """The offsets of all arrivals, from the real schedule."""
    stream = stream_of(users)
    return np.fromiter(offsets(stream.shape, stream.arrival, stream.seed), dtype=np.int64)


def table_of(found: Sequence[Claims]) -> str:
    """The figures as a table for people."""
    heads = (
        "world",
        "the gates say",
        "offered of scheduled",
        "p50: claimed (true)",
        "p99",
        "p99.9",
        "in the wrong second",
    )
    heads += ("failed, outside the fault's time", "order of neighbours unknown")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for each in found:
        gates = "valid" if each.validity.valid else f"invalid: {each.validity.reasons[0]}"
        pairs = [f"{c:.2f} ({t:.2f}) ms" for c, t in (each.p50_ms, each.p99_ms, each.p999_ms)]
        share = f"{each.offered / each.scheduled:.2%}"
        cells = [
            each.world.name,
            gates,
            share,
            *pairs,
            f"{each.wrong_second:.2%}",
            str(each.misplaced),
            f"{each.unordered:.0%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the figures of docs/scale.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=200)
    chosen = parser.parse_args()
    due = arrivals(chosen.users)
    print(
        table_of([simulate(world, users=chosen.users, workers=chosen.workers, due=due) for world in WORLDS])
    )


if __name__ == "__main__":
    main()
