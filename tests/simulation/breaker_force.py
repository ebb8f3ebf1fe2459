"""Brute force: on short histories every order of everything is tried, by a breaker that knows nothing of sets, tokens or sweeping.

It counts a row of failures, or the last calls, or those of the last instants or of a period; half-open has one probe or any number.

Instants lie on a coarse grid. What is explained there is explained. The contrary holds for most histories, not for all: several conditions that
each leave a little less than a whole step (still in the window, still in the wait) may have an explanation off the grid alone. In all histories
of the sizes below, verifier and brute force agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from breaker_kinds import UNLIMITED

from resilience.breaker.automaton import Automaton
from resilience.breaker.evidence import tracks
from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.sweep import sweep
from resilience.breaker.tokens import tokens

Short = tuple[str, tuple[int, int], tuple[int, int]]
"""One call: its fate (ok, failure, rejected), when it was decided, when it ended; first and last instant of each."""

GRID_NS = 100_000_000  # ten instants a second; intervals begin and end on it
WAIT = 3


SHORT: tuple[dict[str, Any], ...] = (
    {"failures": 1},
    {"failures": 2},
    {"window": 2, "ratio": 1.0, "minimum_calls": 2},
    {"window_ms": 200, "ratio": 0.5, "minimum_calls": 2},
    {"window_ms": 200, "ratio": 0.5, "minimum_calls": 2, "tumbling": True},
    {"failures": 2, **UNLIMITED},
    {"window_ms": 200, "ratio": 0.6, "minimum_calls": 1, "tumbling": True, **UNLIMITED},
)
"""Breakers small enough that a few calls show all that they do."""
DEEP = ((3, 5, 2, 0), (3, 4, 1, 1), (4, 4, 1, 0))
"""Sizes of histories (see `all_histories`) that take minutes."""


def compared(
    size: tuple[int, int, int, int], trip: dict[str, Any]
) -> tuple[int, int, list[tuple[Short, ...]]]:
    """Every history of a size by brute force and by the sweep: how many, how many explained, and where the two differ."""
    tried = explained = 0
    different: list[tuple[Short, ...]] = []
    for calls in all_histories(*size):
        by_force = explained_by_force(calls, trip)
        tried, explained = tried + 1, explained + by_force
        if by_force != swept(calls, trip):
            different.append(calls)
    return tried, explained, different


def explained_by_force(calls: Sequence[Short], trip: dict[str, Any]) -> bool:
    """Whether some choice of instants, and some order of what shares an instant, is a run of the breaker."""
    options = []
    for number, (fate, decided, ended) in enumerate(calls):
        decisions = [(t, "decide", number) for t in range(decided[0], decided[1] + 1)]
        if fate == "rejected":
            options.append([(d,) for d in decisions])
        else:
            ends = [(t, "end", number) for t in range(ended[0], ended[1] + 1)]
            options.append([(d, e) for d in decisions for e in ends if d[0] <= e[0]])
    for choice in itertools.product(*options):
        events = sorted((e for pair in choice for e in pair), key=lambda e: e[0])
        groups = [list(group) for _, group in itertools.groupby(events, key=lambda e: e[0])]
        # It was made when the process began, or at any time until it was first asked: that is when its first period began.
        for made in range(events[0][0] + 1):
            if _some_order(groups, calls, trip, ("closed", (), made, -1, frozenset(), frozenset())):
                return True
            if "tumbling" not in trip:
                break
    return False


def all_histories(length: int, latest: int, longest: int, wide: int) -> Iterator[tuple[Short, ...]]:
    """Every history of so many calls, in order of their beginnings: the first at 0, the last at `latest` at most.

    A call lasts up to `longest` steps, and each of its instants is known to within `wide` steps.
    """
    for begins in itertools.combinations_with_replacement(range(latest + 1), length - 1):
        each = [_fates(begin, longest, wide) for begin in (0, *begins)]
        yield from itertools.product(*each)


def _fates(begin: int, longest: int, wide: int) -> list[Short]:
    found: list[Short] = []
    for unsure in range(wide + 1):
        decided = (begin, begin + unsure)
        found.append(("rejected", decided, decided))
        found += [
            (fate, decided, (begin + lasts, begin + lasts + unsure))
            for lasts in range(longest + 1)
            for fate in ("ok", "failure")
        ]
    return found


def _some_order(groups, calls, trip, state) -> bool:
    if not groups:
        return True
    for order in itertools.permutations(groups[0]):
        after = state
        for event in order:
            after = _step(event, calls, trip, after)
            if after is None:
                break
        if after is not None and _some_order(groups[1:], calls, trip, after):
            return True
    return False


def _step(event, calls, trip, state):  # noqa: C901, PLR0911 - a reference is plain, not short
    """`running` are calls of this epoch, `inside` all that were let in and have not ended; None: impossible.

    `since` is when it opened, or when its period began (its first one, where they are counted from closing); `probe` is the call that fills half-open, -1 while nothing does.
    """
    name, count, since, probe, running, inside = state
    now, what, number = event
    fate = calls[number][0]
    unlimited = trip.get("permitted", 1) is None
    if (
        name == "closed"
        and trip.get("tumbling_from") == "activity"
        and now - since >= trip["window_ms"] // 100
    ):
        count, since, running = (), now, frozenset()
    if what == "decide":
        if fate == "rejected":
            possible = now <= since + WAIT if name == "open" else name == "half_open" and probe >= 0
            return state if possible else None
        inside |= {number}
        if name == "closed":
            return name, count, since, probe, running | {number}, inside
        if name == "open" and now >= since + WAIT:
            return "half_open", (), since, -1 if unlimited else number, frozenset({number}), inside
        if name == "half_open" and probe < 0:
            probe = -1 if unlimited else number
            return name, count, since, probe, running | {number}, inside
        return None
    if number not in inside:
        return None  # an end before its own decision
    inside -= {number}
    if number not in running and trip.get("stale") != "counted":
        return name, count, since, probe, running, inside  # begun in an earlier epoch: ignored
    running -= {number}
    if name == "half_open":
        now_closed = ("closed", (), now, -1, frozenset(), inside)
        return now_closed if fate == "ok" else ("open", (), now, -1, frozenset(), inside)
    if name == "open":
        return name, count, since, probe, running, inside  # late: there is nothing to count
    count = (*count, (now, fate == "failure"))
    if _trips(count, now, since, trip):
        return "open", (), now, -1, frozenset(), inside
    return name, count, since, probe, running, inside


def _trips(outcomes, now: int, since: int, trip: dict[str, Any]) -> bool:
    """Whether the outcomes since it closed, the last of them just now, open the breaker; periods are counted from `since`."""
    failed = [bad for _, bad in outcomes]
    if "window" in trip:
        failed = failed[-trip["window"] :]
    elif "tumbling" in trip:
        period = trip["window_ms"] // 100
        failed = [bad for at, bad in outcomes if (at - since) // period == (now - since) // period]
    elif "window_ms" in trip:
        failed = [bad for at, bad in outcomes if at > now - trip["window_ms"] // 100]
    else:
        return len(failed) >= trip["failures"] and all(failed[-trip["failures"] :])
    if len(failed) < trip["minimum_calls"]:
        return False
    return sum(failed) >= trip["ratio"] * len(failed)


def swept(calls: Sequence[Short], trip: dict[str, Any]) -> bool:
    """The same question to the product."""
    history: list[Observation] = [Boot("i", Interval(0, 0), "b")]
    for number, (fate, decided, ended) in enumerate(calls):
        at = Interval(decided[0] * GRID_NS, decided[1] * GRID_NS)
        end = at if fate == "rejected" else Interval(ended[0] * GRID_NS, ended[1] * GRID_NS)
        history.append(Call("b", "i", str(number), at, end, fate, decision=at, finish=end))
        if fate != "rejected":
            history.append(Arrival("b", "i", str(number), at))
    spec = BreakerSpec.from_mapping({**trip, "wait_ms": WAIT * 100, "eps_ms": 0, "delta_ms": 0})
    (track,) = tracks(history, spec)
    found = tokens(track, spec)
    return sweep(Automaton(spec), found).stuck is None
