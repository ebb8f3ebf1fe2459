"""The shapes of load that people ask for, by name. Pure.

Each function returns a Shape: rates in arrivals per second, times in seconds (rounded to nanoseconds once, here). Rate shapes
can be put one after the other with `then`; they join without a seam.
"""

from collections.abc import Iterable

from resilience.load.model import Closed, Herd, PhaseWindow, RateSegment, Replay

Rates = tuple[RateSegment, ...]


def ns(seconds: float) -> int:
    """Seconds as nanoseconds."""
    return round(seconds * 1e9)


def constant(rate: float, duration_s: float) -> Rates:
    """The same rate throughout."""
    return (RateSegment(0, ns(duration_s), rate, rate),)


def ramp(start_rate: float, end_rate: float, duration_s: float) -> Rates:
    """From one rate to another in a straight line."""
    return (RateSegment(0, ns(duration_s), start_rate, end_rate),)


def step(*levels: tuple[float, float]) -> Rates:
    """One level after the other: (rate, duration in seconds) each."""
    return then(*(constant(rate, duration_s) for rate, duration_s in levels))


def spike(
    baseline: float,
    peak: float,
    *,
    before_s: float,
    rise_s: float,
    hold_s: float,
    fall_s: float,
    after_s: float,
) -> Rates:
    """A baseline, a rise to a peak, holding it, falling back, and the baseline again. Parts of 0 s are left out."""
    parts = (
        (baseline, baseline, before_s),
        (baseline, peak, rise_s),
        (peak, peak, hold_s),
        (peak, baseline, fall_s),
        (baseline, baseline, after_s),
    )
    return then(*(ramp(start, end, duration_s) for start, end, duration_s in parts if duration_s > 0))


def spike_phases(
    *, before_s: float, rise_s: float, hold_s: float, fall_s: float, after_s: float
) -> tuple[PhaseWindow, ...]:
    """The phases of `spike`: baseline, spike (rise, hold and fall), recovery. Phases of 0 s are left out."""
    phases = []
    at = 0
    for name, duration_s in (
        ("baseline", before_s),
        ("spike", rise_s + hold_s + fall_s),
        ("recovery", after_s),
    ):
        end = at + ns(duration_s)
        if end > at:
            phases.append(PhaseWindow(name, at, end))
        at = end
    return tuple(phases)


def herd(users: int, *, at_s: float = 0.0) -> Herd:
    """A thundering herd: everybody at the same instant."""
    return Herd(users, ns(at_s))


def batches(size: int, waves: int, *, gap_s: float, at_s: float = 0.0) -> Herd:
    """`waves` herds of `size`, `gap_s` apart."""
    return Herd(size, ns(at_s), waves, ns(gap_s))


def replay(offsets_s: Iterable[float]) -> Replay:
    """Arrivals as recorded: offsets in seconds from the start."""
    return Replay(tuple(sorted(ns(offset) for offset in offsets_s)))


def closed(users: int, *, think_s: float, duration_s: float) -> Closed:
    """Users who wait for their answer and think before they ask again."""
    return Closed(users, ns(think_s), 0, ns(duration_s))


def then(*shapes: Rates) -> Rates:
    """Rate shapes one after the other, each from where the one before it ended."""
    joined: list[RateSegment] = []
    at = 0
    for shape in shapes:
        joined += [
            RateSegment(at + part.start_ns, at + part.end_ns, part.start_per_s, part.end_per_s)
            for part in shape
        ]
        at = joined[-1].end_ns if joined else 0
    return tuple(joined)
