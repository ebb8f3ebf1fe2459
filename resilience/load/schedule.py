"""When each operation is due: the inverse of the integral of the rate, in integers.

Theory of operation. A shape is a rate lambda(t), piecewise linear. Lambda(t) is its integral: how many arrivals are due
before t. Arrival i (from 0) is due at the last instant t with Lambda(t) <= i, which makes

    count(t) = number of arrivals before t = ceil(Lambda(t))

exact, lets stages join without a seam (a fraction of an arrival is carried from one segment into the next), and makes an
interval of rate zero empty. Within a segment that begins at rate r0 and changes by d over T nanoseconds, x nanoseconds in,

    Lambda(x) = r0 x + d x^2 / (2 T)        so        x = (sqrt((r0 T)^2 + 2 d T (i - Lambda0)) - r0 T) / d

All of it is computed in integers: rates are rounded to a millionth of an arrival per second, and Lambda is counted in units
of 1 / ARRIVAL of an arrival. There is no drift, however long the run, and no platform computes another schedule.

Poisson arrivals replace i by the running sum of unit exponentials drawn from a seeded generator: the same rate, and a gap
distribution as from many independent callers. A herd is due all at once; a replay is a list of offsets. Any schedule splits
into stripes: worker s of n has the arrivals i with i mod n = s, and every worker computes every draw, so the stripes of one
seed always reunite to the same schedule.

What it deliberately does not do: look at a clock, or sleep. Offsets are nanoseconds from the epoch that all workers share.
"""

import math
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice

from resilience.load.model import Closed, Herd, PhaseWindow, RateSegment, Replay, Shape, Stream

ARRIVAL = 2 * 10**15
"""Units of Lambda in one arrival: twice (for the 1/2 of the integral) 1e6 (micro-rates) times 1e9 (nanoseconds)."""
_MICRO = 10**6


def offsets(shape: Shape, arrival: str, seed: int, *, stripe: int = 0, stripes: int = 1) -> Iterator[int]:
    """The due times of a stripe of a schedule, in order: nanoseconds from the epoch.

    The k-th value is that of arrival number stripe + k * stripes. A closed model has no schedule, and yields nothing.
    """
    if isinstance(shape, Closed):
        return iter(())
    if isinstance(shape, Herd):
        return islice(_herd(shape), stripe, None, stripes)
    if isinstance(shape, Replay):
        return islice(iter(shape.offsets_ns), stripe, None, stripes)
    if arrival == "poisson":
        return _invert(shape, islice(_running_sum(seed), stripe, None, stripes))
    return _invert(shape, _even(stripe, stripes))


def count(shape: Shape, arrival: str, seed: int, until_ns: int) -> int:
    """How many arrivals of the whole schedule are due before `until_ns`.

    Constant time for everything but Poisson arrivals, whose draws have to be made.
    """
    if isinstance(shape, Closed):
        return 0
    if isinstance(shape, Herd):
        due = sum(1 for wave in range(shape.waves) if shape.start_ns + wave * shape.gap_ns < until_ns)
        return due * shape.users
    if isinstance(shape, Replay):
        return bisect_left(shape.offsets_ns, until_ns)
    limit = expected(shape, until_ns)
    if arrival == "poisson":
        due = 0
        for place in _running_sum(seed):
            if place >= limit:
                break
            due += 1
        return due
    return -(-limit // ARRIVAL)


def counts_by_phase(stream: Stream, phases: Sequence[PhaseWindow]) -> dict[str, int]:
    """How many arrivals of a stream are due in each phase; empty for a closed model, which has no schedule."""
    if isinstance(stream.shape, Closed):
        return {}
    shape, arrival, seed = stream.shape, stream.arrival, stream.seed
    return {
        phase.name: count(shape, arrival, seed, phase.end_ns) - count(shape, arrival, seed, phase.start_ns)
        for phase in phases
    }


def in_stripe(total: int, stripe: int, stripes: int) -> int:
    """How many of the arrivals 0 .. total-1 belong to a stripe."""
    return max(0, -(-(total - stripe) // stripes))


def expected(segments: tuple[RateSegment, ...], until_ns: int) -> int:
    """Lambda(until_ns) in units of 1 / ARRIVAL of an arrival."""
    total = 0
    for segment in segments:
        span = segment.end_ns - segment.start_ns
        x = min(max(until_ns - segment.start_ns, 0), span)
        if x == 0:
            continue
        low, high = _micro_rates(segment)
        # Rounded up, so that an arrival that is due inside the last nanosecond counts: `_invert` rounds its x down.
        total += -(-(2 * low * span * x + (high - low) * x * x) // span)
    return total


def end_ns(shape: Shape) -> int:
    """The first instant after which a shape offers nothing more."""
    if isinstance(shape, Closed):
        return shape.end_ns
    if isinstance(shape, Herd):
        return shape.start_ns + (shape.waves - 1) * shape.gap_ns + 1
    if isinstance(shape, Replay):
        return shape.offsets_ns[-1] + 1 if shape.offsets_ns else 0
    return shape[-1].end_ns if shape else 0


def _micro_rates(segment: RateSegment) -> tuple[int, int]:
    return round(segment.start_per_s * _MICRO), round(segment.end_per_s * _MICRO)


def _even(stripe: int, stripes: int) -> Iterator[int]:
    """Places of evenly spaced arrivals on the axis of Lambda."""
    place = stripe * ARRIVAL
    step = stripes * ARRIVAL
    while True:
        yield place
        place += step


def _running_sum(seed: int) -> Iterator[int]:
    """Places of Poisson arrivals on the axis of Lambda: unit exponentials, summed."""
    draw = random.Random(seed).expovariate
    place = 0
    while True:
        place += int(draw(1.0) * ARRIVAL)
        yield place


def _invert(segments: tuple[RateSegment, ...], places: Iterator[int]) -> Iterator[int]:
    """The instants at which Lambda passes each of `places`, which rise; ends with the last segment."""
    place = next(places)
    before = 0
    for segment in segments:
        span = segment.end_ns - segment.start_ns
        low, high = _micro_rates(segment)
        after = before + (low + high) * span
        start = segment.start_ns
        change = high - low
        if change == 0:
            double = 2 * low
            while place < after:
                yield start + (place - before) // double
                place = next(places)
        else:
            while place < after:
                yield start + _solve(low * span, change, (place - before) * span)
                place = next(places)
        before = after


def _solve(slope: int, change: int, need: int) -> int:
    """The largest integer x >= 0 with change * x^2 + 2 * slope * x <= need, on the rising branch."""
    if change > 0:
        return (math.isqrt(slope * slope + change * need) - slope) // change
    under = slope * slope + change * need
    root = math.isqrt(under - 1) + 1 if under > 0 else 0
    return (slope - root) // -change


def _herd(shape: Herd) -> Iterator[int]:
    for wave in range(shape.waves):
        due = shape.start_ns + wave * shape.gap_ns
        for _ in range(shape.users):
            yield due
