"""What a request costs the generator: our engine, wrk, k6 and Locust, in requests for each CPU second.

All drive the same nginx on loopback, one after the other in each round, on the same core, while the target has another core
where there is one. Ours is the engine as a run uses it, in its own worker process: every operation stamped, counted, folded and
sent to its parent. The others are closed-loop, so ours is driven as a closed model with as many users: with 64 of them every
generator finds several answers at each wake; with one, every request pays for its own wake, which in a virtual machine costs
more than all the rest. Where a plan follows a breaker, a row is kept of each call besides: that has a line of its own. The last
line is the open model, which is what plans use, at a fixed rate: nearly every request has a wake of its own there, so its peer
is wrk with one connection.
"""

from collections.abc import Callable
from functools import partial

from bench import peers
from bench.drive import S, drive, stream_of
from bench.neighbours import Neighbours
from bench.rows import Row, compared, skipped
from bench.target import target
from resilience.load.model import Closed, RateSegment, Shape

USERS = 64
SECONDS = 3
OPEN_RATE = 10_000.0
UNIT = "requests per CPU second"

_SPAN = SECONDS * S
_CROWD = Closed(USERS, 0, 0, _SPAN)
_CASES: dict[str, tuple[Shape, int, bool]] = {
    "crowd": (_CROWD, USERS, False),
    "calls": (_CROWD, USERS, True),
    "one": (Closed(1, 0, 0, _SPAN), 1, False),
    "open": ((RateSegment(0, _SPAN, OPEN_RATE, OPEN_RATE),), USERS, False),
}
_PEERS: dict[str, tuple[str, Callable[..., peers.Cost], dict[str, int]]] = {
    "wrk": ("wrk", peers.wrk, {"connections": USERS}),
    "wrk one": ("wrk", peers.wrk, {"connections": 1}),
    "k6": ("k6", peers.k6, {"users": USERS}),
    "locust": ("locust", peers.locust, {"users": USERS}),
}
_TURNS = ("calls", "wrk", "crowd", "k6", "locust", "one", "wrk one", "open")
"""The order within a round."""
_LINES = (
    # our case, what it is, the peer, what it is, and how the ratio should be
    ("crowd", f"{USERS} users without pause", "wrk", f"wrk, {USERS} connections", 0.7),
    ("crowd", f"{USERS} users without pause", "k6", f"k6, {USERS} users", 5.0),
    ("crowd", f"{USERS} users without pause", "locust", f"Locust FastHttpUser, {USERS} users", 8.0),
    ("calls", f"{USERS} users without pause, a row for each call", "wrk", f"wrk, {USERS} connections", None),
    ("one", "one user without pause", "wrk one", "wrk, 1 connection", None),
    ("open", f"open model at {OPEN_RATE:.0f}/s", "wrk one", "wrk, 1 connection", None),
)


def main(rounds: int = 5) -> list[Row]:
    """The rows of this benchmark: medians of `rounds` rounds, in which those that are compared have their turns side by side."""
    figures: dict[str, list[float]] = {name: [] for name in _TURNS}
    neighbours = Neighbours()
    with target() as served:
        takes = _takes(served.url)
        for _ in range(rounds):
            for name in _TURNS:
                if name in takes:
                    figures[name].append(neighbours.quietly(takes[name], [served.pid]))
    rows = []
    for case, what, peer, peer_name, goal in _LINES:
        name = f"http on {served.name}, {what}"
        if figures[peer]:
            rows.append(compared(name, figures[case], figures[peer], peer_name, UNIT, at_least=goal))
        else:
            rows.append(skipped(f"{name}, against {peer}", f"{peer.split()[0]} is not installed", rounds))
    rows.append(skipped("http, neighbours", neighbours.told(), rounds))
    return rows


def _takes(url: str) -> dict[str, Callable[[], float]]:
    """How each figure is taken; peers that are not here are left out."""
    takes: dict[str, Callable[[], float]] = {case: partial(_ours, url, case) for case in _CASES}
    for name, (program, cost, arguments) in _PEERS.items():
        path = peers.find(program)
        if path is not None:
            takes[name] = partial(_theirs, cost, path, url, arguments)
    return takes


def _theirs(cost: Callable[..., peers.Cost], path: str, url: str, arguments: dict[str, int]) -> float:
    return cost(path, url, seconds=SECONDS, **arguments).per_cpu_s


def _ours(url: str, case: str) -> float:
    shape, connections, calls = _CASES[case]
    driven = drive(stream_of(url, shape, connections=connections, record_calls=calls), seconds=SECONDS)
    return driven.total.counts["good"] / driven.cpu_s
