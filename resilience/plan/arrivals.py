"""When the calls of a load are due: a plan's rates, herds, users and replays as the shapes that the workers follow. Pure arithmetic.

Rates become straight pieces over the whole run, without a gap; everything else is a shape of its own. What contradicts the phases
is a problem with the path of its key.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from resilience.load.model import Closed, Herd, RateSegment, Replay, Shape
from resilience.plan.problems import Path, Problem, nearest
from resilience.plan.schema import LoadStream, Plan
from resilience.plan.schema.load import Line, PhaseRate, Ramp, Spike, Steps
from resilience.plan.timeline import PhaseSpan, Segment, Singular
from resilience.plan.units import Moment, format_duration

Corners = Iterable[tuple[int, float]]


def offset_ns(moment: Moment, phases: Sequence[PhaseSpan], path: Path) -> int | Problem:
    """The offset of a moment from the start of the run, or what is wrong with it."""
    if moment.anchor is None:
        offset = moment.offset_ns
    elif moment.anchor == "end":
        offset = phases[-1].end_ns + moment.offset_ns
    else:
        anchors = [span.start_ns for span in phases if span.name == moment.anchor]
        if not anchors:
            known = ["end", *(span.name for span in phases)]
            return Problem(path, f"no phase {moment.anchor!r}{nearest(moment.anchor, known)}")
        offset = anchors[0] + moment.offset_ns
    if not 0 <= offset < phases[-1].end_ns:
        return outside(moment, phases, path)
    return offset


def outside(moment: Moment, phases: Sequence[PhaseSpan], path: Path) -> Problem:
    """A moment that the run does not have."""
    lasts = format_duration(phases[-1].end_ns)
    return Problem(path, f"{moment.text!r} lies outside the run, which lasts {lasts}")


def arrivals(
    plan: Plan, load: str, phases: Sequence[PhaseSpan], problems: list[Problem]
) -> tuple[tuple[Segment, ...], Singular | None]:
    """The pieces of a load's rate, or the shape that is no rate; problems are added to the list."""
    stream = plan.load[load]
    path: Path = ("load", load)
    if stream.rate is not None:
        return _segments(stream, path, phases, problems), None
    shape: Singular | Problem
    if stream.herd is not None:
        shape = _herd(stream, path, phases)
    elif stream.replay is not None:
        shape = _replay(stream, path, phases)
    else:
        shape = _users(stream, path, phases)
    if isinstance(shape, Problem):
        problems.append(shape)
        return (), None
    return (), shape


def shape_of(segments: Iterable[Segment], shape: Singular | None) -> Shape:
    """What the workers are told."""
    if shape is not None:
        return shape
    return tuple(RateSegment(s.start_ns, s.end_ns, s.start_per_s, s.end_per_s) for s in segments)


def describe(shape: Singular) -> str:
    """A shape that is no rate, in a line for people."""
    match shape:
        case Herd(users=users, waves=1):
            return f"herd of {users} at once"
        case Herd(users=users, waves=waves, gap_ns=gap_ns):
            return f"{waves} waves of {users}, {format_duration(gap_ns)} apart"
        case Replay(offsets_ns=offsets):
            return f"replay of {len(offsets)} arrivals until {format_duration(offsets[-1])}"
        case Closed(users=users, think_ns=think_ns, end_ns=end_ns):
            thinking = f"thinking {format_duration(think_ns)}" if think_ns else "without a pause"
            return f"{users} users, {thinking}, until {format_duration(end_ns)}"


def _segments(
    stream: LoadStream, load: Path, phases: Sequence[PhaseSpan], problems: list[Problem]
) -> tuple[Segment, ...]:
    """Piecewise linear rate of one stream over the whole run, without a gap."""
    rates = stream.rate or {}
    path: Path = (*load, "rate")
    for name in rates:
        if name != "default" and all(name != span.name for span in phases):
            known = ["default", *(span.name for span in phases)]
            problems.append(Problem((*path, name), f"no phase {name!r}{nearest(name, known)}", at_key=True))
    default = rates.get("default", 0.0)
    if not isinstance(default, float):
        problems.append(
            Problem((*path, "default"), "the default is a plain rate; what changes belongs to a phase")
        )
        return ()
    base = [r if isinstance(r := rates.get(span.name, default), float) else default for span in phases]
    segments: list[Segment] = []
    for index, span in enumerate(phases):
        rate = rates.get(span.name, default)
        length_ns = span.end_ns - span.start_ns
        if wrong := _too_long(rate, length_ns):
            problems.append(Problem((*path, span.name), wrong))
            continue
        around = (
            base[index - 1] if index else default,
            base[index + 1] if index + 1 < len(phases) else default,
        )
        corners = _corners(rate, default, around, length_ns)
        segments += [
            Segment(span.start_ns + t0, span.start_ns + t1, r0, r1)
            for (t0, r0), (t1, r1) in itertools.pairwise(corners)
            if t1 > t0
        ]
    if all(segment.start_per_s == segment.end_per_s == 0 for segment in segments):
        problems.append(Problem(path, 'this stream never sends anything; write for example "default: 50/s"'))
    return tuple(segments)


def _corners(rate: PhaseRate, default: float, around: tuple[float, float], length_ns: int) -> Corners:
    """Where the rate of one phase bends: offsets in it, and the rate there. `around` are the rates before and after it."""
    match rate:
        case Line():
            return (0, rate.start), (length_ns, rate.end)
        case Steps():
            return _steps(rate, length_ns)
        case Spike():
            return _spike(rate, default, length_ns)
        case Ramp():
            return _ramp(rate, *around, length_ns)
        case _:
            return (0, rate), (length_ns, rate)


def _too_long(rate: object, length_ns: int) -> str:
    """Why a change of rate does not fit its phase; empty when it does."""
    match rate:
        case Ramp() if rate.rise + rate.fall > length_ns:
            return "rise and fall together are longer than the phase; shorten one of them"
        case Spike() if rate.after + rate.rise + rate.hold + rate.fall > length_ns:
            return "after, rise, hold and fall together are longer than the phase; shorten one of them"
        case Spike() if not rate.rise + rate.hold + rate.fall:
            return "the spike lasts no time: give it a `hold`, or a `rise` and a `fall`"
        case Steps() if rate.each is not None and rate.each * (len(rate.step) - 1) >= length_ns:
            return f"{len(rate.step)} steps of {format_duration(rate.each)} do not fit the phase: not all would be reached"
        case _:
            return ""


def _ramp(rate: Ramp, before: float, after: float, length_ns: int) -> Corners:
    return (
        (0, before if rate.rise else rate.ramp),
        (rate.rise, rate.ramp),
        (length_ns - rate.fall, rate.ramp),
        (length_ns, after if rate.fall else rate.ramp),
    )


def _spike(rate: Spike, base: float, length_ns: int) -> Corners:
    up = rate.after + rate.rise
    down = up + rate.hold
    quiet = down + rate.fall
    return (
        (0, base),
        (rate.after, base),
        (rate.after, base if rate.rise else rate.spike),
        (up, rate.spike),
        (down, rate.spike),
        (quiet, base if rate.fall else rate.spike),
        (quiet, base),
        (length_ns, base),
    )


def _steps(rate: Steps, length_ns: int) -> Iterator[tuple[int, float]]:
    last = len(rate.step) - 1
    for index, level in enumerate(rate.step):
        if rate.each is None:
            ends = (length_ns * index // (last + 1), length_ns * (index + 1) // (last + 1))
        else:
            ends = (rate.each * index, length_ns if index == last else rate.each * (index + 1))
        yield ends[0], level
        yield ends[1], level


def _herd(stream: LoadStream, load: Path, phases: Sequence[PhaseSpan]) -> Herd | Problem:
    herd = stream.herd
    assert herd is not None
    path: Path = (*load, "herd")
    start = offset_ns(herd.start, phases, (*path, "start"))
    if isinstance(start, Problem):
        return start
    gap_ns = herd.every or 0
    if start + (herd.waves - 1) * gap_ns >= phases[-1].end_ns:
        lasts = format_duration(phases[-1].end_ns)
        return Problem((*path, "waves"), f"the last wave would come after the end of the run, at {lasts}")
    return Herd(herd.users, start, herd.waves, gap_ns)


def _replay(stream: LoadStream, load: Path, phases: Sequence[PhaseSpan]) -> Replay | Problem:
    replay = stream.replay
    assert replay is not None
    path: Path = (*load, "replay")
    start = offset_ns(replay.start, phases, (*path, "start"))
    if isinstance(start, Problem):
        return start
    late = [offset for offset in replay.offsets if start + offset >= phases[-1].end_ns]
    if late:
        lasts = format_duration(phases[-1].end_ns)
        message = f"{len(late)} arrivals lie after the end of the run at {lasts}, the first at {format_duration(late[0])}"
        return Problem((*path, "offsets"), message)
    return Replay(tuple(sorted(start + offset for offset in replay.offsets)))


def _users(stream: LoadStream, load: Path, phases: Sequence[PhaseSpan]) -> Closed | Problem:
    assert stream.users is not None
    start = 0 if stream.start is None else offset_ns(stream.start, phases, (*load, "start"))
    if isinstance(start, Problem):
        return start
    end: int | Problem = phases[-1].end_ns
    # `end` itself is the end of the run, which is no moment inside of it.
    if stream.end is not None and (stream.end.anchor, stream.end.offset_ns) != ("end", 0):
        end = offset_ns(stream.end, phases, (*load, "end"))
    if isinstance(end, Problem):
        return end
    if end <= start:
        return Problem((*load, "end"), "the users would leave before they come")
    return Closed(stream.users, stream.think or 0, start, end)


def start_ns(shape: Singular) -> int:
    """When a shape that is no rate begins."""
    return shape.offsets_ns[0] if isinstance(shape, Replay) else shape.start_ns
