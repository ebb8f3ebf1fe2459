"""Little's law, as a check of the figures against each other: N = X W. Pure.

Over a stationary window the mean number of operations in flight N equals the rate X at which they arrive times the mean time W
that each stays. N is sampled by the workers every few milliseconds, X and W come from the operations' stamps: two ways to
the same number, so a difference means that one of them is wrong.

The law can be asked of a window that is at least WINDOW_IN_W times W long, with N of at least LEAST_N. `steady_law` asks it of a
phase, if that was stationary: if neither half of it differs from the other by more than STEADY in N, X or W.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resilience.load.model import PhaseWindow
from resilience.metrics.fold import LoadTable
from resilience.metrics.gathered import middle_ns

WINDOW_IN_W = 20.0
LEAST_N = 5.0
TOLERANCE = 0.05
STEADY = 0.2
_S = 10**9


@dataclass(frozen=True, slots=True)
class LittlesLaw:
    """The three figures, their relative difference, and whether the window was fit to ask."""

    in_flight: float
    per_s: float
    stay_s: float
    difference: float
    applicable: bool
    holds: bool | None
    """None where it does not apply."""


def littles_law(
    table: LoadTable, messages: Iterable[Mapping[str, Any]], load: str, start_s: float, end_s: float
) -> LittlesLaw:
    """Check the law for a load over the whole seconds that begin in [start_s, end_s), seconds since the epoch."""
    found = table.bin(load, start_s=start_s, end_s=end_s)
    duration_s = end_s - start_s
    stays = [found.histograms[name] for name in ("r", "shed_r", "failed_r")]
    attempts = sum(stay.count for stay in stays)
    total_ns = sum((stay.mean() or 0.0) * stay.count for stay in stays)
    lag = found.histograms["lag"]
    total_ns -= (lag.mean() or 0.0) * lag.count  # in flight from the actual start
    per_s = attempts / duration_s
    stay_s = total_ns / attempts / 1e9 if attempts else 0.0
    in_flight = _mean_in_flight(list(messages), load, start_s, end_s)
    difference = abs(in_flight - per_s * stay_s) / in_flight if in_flight else 0.0
    applicable = in_flight >= LEAST_N and duration_s >= WINDOW_IN_W * stay_s
    return LittlesLaw(
        in_flight, per_s, stay_s, difference, applicable, difference <= TOLERANCE if applicable else None
    )


def steady_law(
    table: LoadTable, messages: Iterable[Mapping[str, Any]], load: str, phase: PhaseWindow
) -> LittlesLaw | None:
    """The law over the whole seconds of a phase but its first and last; None where it does not apply or the load was not steady."""
    slot = table.slot_s
    start = -(-(-(-phase.start_ns // _S) + 1) // slot) * slot
    end = (phase.end_ns // _S - 1) // slot * slot
    middle = (start + end) // 2 // slot * slot
    if not start < middle < end:
        return None
    reports = list(messages)
    whole = littles_law(table, reports, load, start, end)
    if not whole.applicable:
        return None
    first, second = (
        littles_law(table, reports, load, start, middle),
        littles_law(table, reports, load, middle, end),
    )
    steady = all(
        abs(a - b) <= STEADY * of
        for a, b, of in (
            (first.in_flight, second.in_flight, whole.in_flight),
            (first.per_s, second.per_s, whole.per_s),
            (first.stay_s, second.stay_s, whole.stay_s),
        )
    )
    return whole if steady else None


def _mean_in_flight(messages: list[Mapping[str, Any]], load: str, start_s: float, end_s: float) -> float:
    """The workers' means over the seconds whose middle lies in the window, added up over the workers."""
    epoch = max((message["epoch_ns"] for message in messages if message.get("kind") == "end"), default=0)
    means: dict[int, list[tuple[int, float]]] = {}
    for message in messages:
        if message.get("kind") == "worker":
            middle_s = (middle_ns(message) - epoch) / 1e9
            if start_s <= middle_s < end_s:
                mean = message.get("in_flight_mean", {}).get(load, 0.0)
                means.setdefault(message["worker"], []).append((message.get("n", 1), mean))
    return sum(sum(n * mean for n, mean in of) / sum(n for n, _ in of) for of in means.values())
