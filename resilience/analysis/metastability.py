"""Does an overload outlive its cause? Suspicion from the time after a fault, confirmation by hysteresis. Pure.

A system is metastable when the same load has two stable states, a good one and a bad one, and something inside (retries, a
cold cache, reconnects) keeps it in the bad one after the cause is gone (Bronson et al., HotOS 2021; Huang et al., OSDI 2022).

Suspect: over all of the watch (at least `least_watch_s`), with the fault verified as gone and the load at its baseline, H was never
held, goodput does not rise (Theil-Sen, Mann-Kendall), and the backlog does not fall. If one of them moves it is a slow recovery, and the
trend says how long it would still take.

Confirmed: the load was lowered step by step until the system was healthy, and at the full load it was healthy again: two stable
states. Never healthy, or unhealthy again at the full load: something is damaged, which is another disease.

What it deliberately does not do: tell a state from less data than the definitions ask for; that is UNKNOWN, with its reason.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from resilience.analysis.health import Baseline, SecondPoint, health_at
from resilience.analysis.statistics import mann_kendall_p, theil_sen_slope

LEAST_WATCH_S = 30.0
UNHEALTHY_SHARE = 0.9
"""A watch with fewer unhealthy seconds than this that never held health either is flapping: neither state."""
ILL_SHARE = 0.5
"""From this share of unhealthy seconds on, a trend towards health is a slow recovery and not noise."""
STORM = 1.5
"""Attempts per first attempt from which retries are called a storm."""
_TREND_P = 0.05
_TREND_CHANGE = 0.1


class State(StrEnum):
    """What became of the system after the fault."""

    HEALTHY = "healthy"
    SLOW = "slow"
    SUSPECT = "suspect"
    METASTABLE = "metastable"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Window:
    """[start_s, end_s) in seconds since the epoch, at `share` of the baseline's load."""

    start_s: float
    end_s: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Metastability:
    """The state, the reason in a sentence, and the figures behind it. `left_s`: what a slow recovery would still take."""

    state: State
    reason: str
    unhealthy_share: float = 0.0
    left_s: float | None = None
    healed_at_share: float | None = None


def least_watch_s(
    *, timeout_s: float = 0.0, attempts: float = 1.0, breaker_wait_s: float = 0.0, p99_s: float = 0.0
) -> float:
    """How long a system must be seen unhealthy before it is suspected."""
    return max(LEAST_WATCH_S, 5 * timeout_s * attempts, 3 * breaker_wait_s, 10 * p99_s)


def classify(
    points: Sequence[SecondPoint],
    baseline: Baseline,
    *,
    watch: Window,
    least_s: float,
    hold_s: float,
    probes: Sequence[Window] = (),
    again: Window | None = None,
) -> Metastability:
    """The state of one stream. `watch` begins when the fault is off for certain and the load is back at its baseline."""
    watched = _within(points, watch)
    if _holds(watched, baseline, hold_s):
        return Metastability(State.HEALTHY, "it came back by itself", _unhealthy_share(watched, baseline))
    if len(watched) < least_s:
        return Metastability(
            State.UNKNOWN,
            f"{len(watched)} s were watched after the fault; it takes {least_s:g} s to tell",
        )
    share = _unhealthy_share(watched, baseline)
    left_s = _left_s(watched, baseline) if share >= ILL_SHARE else None
    if left_s is not None:
        return Metastability(
            State.SLOW, f"it recovers, slowly: about {left_s:.0f} s more at this pace", share, left_s
        )
    if share < UNHEALTHY_SHARE:
        return Metastability(
            State.UNKNOWN, f"neither healthy for {hold_s:g} s nor unhealthy throughout ({share:.0%})", share
        )
    return _confirm(points, baseline, hold_s, probes, again, share)


def sustaining_loop(
    *, amplification: float | None, breakers: Sequence[str] = (), hit_rate: float | None = None
) -> str | None:
    """What keeps it there, by the strongest sign: "retries", "breaker stuck", "cold cache"; None when nothing stands out."""
    if amplification is not None and amplification >= STORM:
        return f"retries ({amplification:.2g} attempts a call)"
    if any(state != "closed" for state in breakers):
        return "a breaker that stays open"
    if hit_rate is not None and hit_rate < 0.5:
        return f"a cold cache (hit rate {hit_rate:.0%})"
    return None


def _confirm(
    points: Sequence[SecondPoint],
    baseline: Baseline,
    hold_s: float,
    probes: Sequence[Window],
    again: Window | None,
    share: float,
) -> Metastability:
    if not probes or again is None:
        return Metastability(
            State.SUSPECT, "unhealthy without its cause, and nobody lowered the load to see", share
        )
    healed = next((p.share for p in probes if _holds(_within(points, p), baseline, hold_s)), None)
    back = _within(points, again)
    if len(back) < hold_s:
        return Metastability(
            State.UNKNOWN, f"{len(back)} s at the full load again; it takes {hold_s:g} s", share
        )
    same_again = _holds(back, baseline, hold_s) and _unhealthy_share(back, baseline) <= 0.5
    if same_again:
        at = f"at {healed:.0%} of the load" if healed is not None else "while the load was low"
        return Metastability(
            State.METASTABLE,
            f"two stable states at the same load: bad after the fault, good after it was healthy {at}",
            share,
            healed_at_share=healed,
        )
    if healed is None:
        return Metastability(State.DAMAGED, "not healthy at any lower load either", share)
    return Metastability(
        State.DAMAGED,
        f"healthy at {healed:.0%} of the load, and unhealthy again at the full one: capacity is gone",
        share,
        healed_at_share=healed,
    )


def _within(points: Sequence[SecondPoint], window: Window) -> list[SecondPoint]:
    """Points of the whole seconds inside a window."""
    return [p for p in points if window.start_s <= p.second and p.second + 1 <= window.end_s]


def _holds(points: Sequence[SecondPoint], baseline: Baseline, hold_s: float) -> bool:
    """Whether H holds for `hold_s` on end somewhere in there."""
    runs = itertools.groupby(points, key=lambda p: health_at(p, baseline).healthy)
    return any(healthy and len(list(run)) >= hold_s for healthy, run in runs)


def _unhealthy_share(points: Sequence[SecondPoint], baseline: Baseline) -> float:
    return sum(not health_at(p, baseline).healthy for p in points) / len(points) if points else 0.0


def _left_s(points: Sequence[SecondPoint], baseline: Baseline) -> float | None:
    """Seconds until the trend reaches health, by goodput or by backlog; None where neither moves the right way."""
    estimates = []
    gammas = [p.gamma for p in points]
    rise = theil_sen_slope(list(enumerate(gammas)))
    if rise * len(points) > _TREND_CHANGE * baseline.gamma and mann_kendall_p(gammas) < _TREND_P:
        estimates.append(max(0.0, baseline.gamma - gammas[-1]) / rise)
    flights = [p.in_flight for p in points if p.in_flight is not None]
    if len(flights) == len(points):
        fall = -theil_sen_slope(list(enumerate(flights)))
        above = flights[-1] - (baseline.in_flight or 0.0)
        if fall * len(points) > _TREND_CHANGE * max(flights) and mann_kendall_p(flights) < _TREND_P:
            estimates.append(max(0.0, above) / fall)
    return max(estimates) if estimates else None
