"""Did the last nights get worse? A permutation test with a stated rate of false alarms.

The last three nights are held against a reference of 8 to 30 accepted nights before them (5 to 7 can warn, not fail). Each
night's value is turned into a distance from the median of all nights, in robust sigmas, on a logarithmic scale (shares on a
plain one) and cut off at `CUT`, so that one wild night weighs no more than a bad one, and "did not recover while we watched"
is simply the worst. The statistic of a figure is the sum over the three nights. Its p-value is exact without any model of the
noise: nights are exchangeable if nothing changed, so every choice of three nights out of all was as likely as the one seen.

Many figures are looked at every night, and they move together. They are permuted together, and each is held against the
*largest* statistic of all of them (the single-step maxT procedure of Westfall and Young, 1993): the stated rate is that of the
whole night, whatever the figures share. Holm's correction has the same guarantee, but multiplies the smallest p-value that
three nights can reach (1 in 1,771 with 20 reference nights) by the number of figures, and could then never fail a night; so
would plain ranks, whose largest value many choices share.

A significant figure must also have moved: its median by at least 5 % (for shares, by one point in a hundred), because a
difference that nobody would act on is no regression. What is rated:

    warn   rate of false alarms 0.5 % a night (1 % below 12 reference nights)
    fail   0.06 % a night, from 20 reference nights on

Pure: values in, values out. It deliberately fits no model, expects no normal noise, and knows no dates. Nights that depend on
each other (a shared machine with moods that last) raise the rates; docs/history.md has measured figures.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from resilience.analysis.statistics import robust_sigma
from resilience.history.figures import Figure

RECENT = 3
LEAST_REFERENCE = 5
LEAST_FOR_FAILING = 20
FEW = 12
MOST_REFERENCE = 30
WARN_RATE = 0.005
WARN_RATE_FEW = 0.01
FAIL_RATE = 0.0006
LEAST_SHIFT = 0.05
"""Least relative change of the median; shares have `LEAST_SHIFT_SHARE`, a difference."""
LEAST_SHIFT_SHARE = 0.01
CUT = 5.0
"""Distances beyond this many sigmas count as this many."""

State = Literal["ok", "warn", "fail", "too few"]


@dataclass(frozen=True, slots=True)
class Trend:
    """One figure's finding: medians of reference and recent nights, p over the whole night, and what follows.

    `p` is None where nothing was tested. `visible` is the smallest change that this reference could show at "warn", as a
    factor of the median (an increase where more is worse), or None.
    """

    name: str
    unit: str
    state: State
    reference: float | None
    recent: float | None
    p: float | None
    visible: float | None


@dataclass(frozen=True, slots=True)
class Night:
    """All findings of the last nights; `note` says what could not be done and why."""

    state: State
    trends: tuple[Trend, ...]
    reference_nights: int
    note: str = ""


def judge_trend(nights: Sequence[Mapping[str, Figure]]) -> Night:
    """Judge the last three of `nights` (oldest first, accepted and comparable ones only) against those before them."""
    recent, before = list(nights[-RECENT:]), list(nights[:-RECENT][-MOST_REFERENCE:])
    if len(recent) < RECENT or len(before) < LEAST_REFERENCE:
        have = len(nights)
        need = RECENT + LEAST_REFERENCE
        return Night(
            "too few", (), len(before), f"{have} comparable runs; {need} are needed for a first word"
        )
    everything = [*before, *recent]
    names = [name for name in nights[-1] if all(name in night for night in everything)]
    if not names:
        return Night("too few", (), len(before), "no figure was measured in all of these nights")
    left_out = len(nights[-1]) - len(names)
    p_values = dict(zip(names, _permuted(everything, names), strict=True))
    trends = tuple(_trend(name, before, recent, p_values[name]) for name in names)
    states = [trend.state for trend in trends]
    worst: State = "fail" if "fail" in states else "warn" if "warn" in states else "ok"
    return Night(worst, trends, len(before), _note(len(before), left_out))


def _note(reference: int, left_out: int) -> str:
    notes = []
    if reference < LEAST_FOR_FAILING:
        notes.append(
            f"{reference} nights of reference: enough to warn, {LEAST_FOR_FAILING} are needed to fail"
        )
    if left_out:
        notes.append(f"{left_out} figures were not measured in all of these nights")
    return "; ".join(notes)


def _trend(
    name: str, before: Sequence[Mapping[str, Figure]], recent: Sequence[Mapping[str, Figure]], p: float
) -> Trend:
    figure = recent[-1][name]
    old = [night[name].value for night in before]
    reference, now = statistics.median(old), statistics.median(night[name].value for night in recent)
    state: State = "ok"
    if _moved(figure, reference, now):
        if len(before) >= LEAST_FOR_FAILING and p <= FAIL_RATE:
            state = "fail"
        elif p <= warn_rate(len(before)):
            state = "warn"
    return Trend(name, figure.unit, state, reference, now, p, _visible(figure, old, reference))


def warn_rate(reference: int) -> float:
    """Stated rate of false warnings a night, by the number of reference nights."""
    return WARN_RATE_FEW if reference < FEW else WARN_RATE


def false_alarms(reference: int) -> str:
    """Say the stated rates, by the number of reference nights; too few of them cannot fail a night at all."""
    fails = f"{100 * FAIL_RATE:.2f} %" if reference >= LEAST_FOR_FAILING else "0"
    return f"false alarms: warn {warn_rate(reference):.1%} of nights, fail {fails}, if nights do not depend on each other"


def _moved(figure: Figure, reference: float, now: float) -> bool:
    """Whether the median got worse by enough to matter."""
    if math.isinf(now) or math.isinf(reference):
        return now != reference and (now > reference) == (figure.worse == "up")
    worse = now - reference if figure.worse == "up" else reference - now
    if figure.unit == "share":
        return worse >= LEAST_SHIFT_SHARE
    return worse > 0 and worse >= LEAST_SHIFT * abs(reference)


def _permuted(nights: Sequence[Mapping[str, Figure]], names: Sequence[str]) -> list[float]:
    """Adjusted p-value of each figure: the share of choices whose largest statistic reaches the one that was seen."""
    distances = np.column_stack([_distances([night[name] for night in nights]) for name in names])
    choices = np.array(list(itertools.combinations(range(len(nights)), RECENT)))
    largest = distances[choices].sum(axis=1).max(axis=1)
    seen = distances[-RECENT:].sum(axis=0)
    return [float(np.mean(largest >= value - 1e-9)) for value in seen]


def _distances(figures: Sequence[Figure]) -> NDArray[np.float64]:
    """How far each night is from the middle of all, in sigmas; positive is worse."""
    values = np.array([figure.value for figure in figures])
    share = figures[0].unit == "share"
    finite = values[np.isfinite(values)]
    logarithmic = not share and finite.size > 0 and bool((finite > 0).all())
    scaled = np.log(values) if logarithmic else values
    middle = float(np.median(scaled))
    if not math.isfinite(middle):  # most nights were beyond what was watched
        return np.where(np.isfinite(values), -CUT, 0.0)
    # What nobody would act on is no spread to measure by: a figure that sits still would make a sigma of nothing.
    least = (
        LEAST_SHIFT_SHARE if share else LEAST_SHIFT if logarithmic else LEAST_SHIFT * max(abs(middle), 1e-9)
    )
    sigma = max(robust_sigma([float(value) for value in scaled[np.isfinite(scaled)]]), least)
    worse = 1.0 if figures[0].worse == "up" else -1.0
    return np.clip(worse * (scaled - middle) / sigma, -CUT, CUT)


def _visible(figure: Figure, old: Sequence[float], reference: float) -> float | None:
    """The factor from which on all three nights would lie beyond the worst reference night, the strongest evidence there is."""
    if not reference or any(math.isinf(value) for value in old):
        return None
    if figure.worse == "up":
        return max(max(old) / reference, 1 + LEAST_SHIFT)
    return min(min(old) / reference, 1 - LEAST_SHIFT)
