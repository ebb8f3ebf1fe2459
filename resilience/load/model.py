"""What a load is, as frozen values: shapes, requests, streams, phases, and what one worker is assigned.

Invariants. Everything here is a value that survives `from_json(to_json())` unchanged, since a worker (on this machine or on
another) gets nothing else. Times are integers of nanoseconds, offsets from the epoch of the run unless said otherwise.
Rates are arrivals per second. A value that could not be driven is refused when it is built, with the reason.

What it deliberately does not do: read files, know plans or YAML (the plan's compiler makes these), or open anything.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from resilience.load.plain import from_plain, to_plain
from resilience.load.requests import REQUESTS, HttpRequest, Request, driver_name

Arrival = Literal["uniform", "poisson"]
NEVER_ENDS_NS = 2**62

__all__ = [
    "Arrival",
    "Assignment",
    "Closed",
    "Herd",
    "HttpRequest",
    "PhaseWindow",
    "RateSegment",
    "Replay",
    "Request",
    "Shape",
    "Stream",
]


@dataclass(frozen=True, slots=True)
class RateSegment:
    """A piece of a rate function: from `start_per_s` at `start_ns`, in a straight line, to `end_per_s` at `end_ns`."""

    start_ns: int
    end_ns: int
    start_per_s: float
    end_per_s: float

    def __post_init__(self) -> None:
        """Refuse what has no integral."""
        if self.end_ns <= self.start_ns or self.start_ns < 0:
            raise ValueError(
                f"a segment runs from 0 or later to a later end, not {self.start_ns}..{self.end_ns} ns"
            )
        if not (0 <= self.start_per_s < 1e9 and 0 <= self.end_per_s < 1e9):
            raise ValueError(f"a rate is 0/s or more, not {self.start_per_s}/s to {self.end_per_s}/s")


@dataclass(frozen=True, slots=True)
class Herd:
    """`users` arrivals at one instant; `waves` of them, `gap_ns` apart."""

    users: int
    start_ns: int
    waves: int = 1
    gap_ns: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty herd, and waves without a gap."""
        if self.users < 1 or self.waves < 1 or self.start_ns < 0:
            raise ValueError("a herd has at least one user, one wave and a start of 0 or later")
        if self.waves > 1 and self.gap_ns <= 0:
            raise ValueError("waves need a gap between them")


@dataclass(frozen=True, slots=True)
class Replay:
    """Arrivals at given offsets, in order: a recorded trace."""

    offsets_ns: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a trace that goes back in time."""
        if any(b < a for a, b in zip(self.offsets_ns, self.offsets_ns[1:], strict=False)):
            raise ValueError("the offsets of a replay must not decrease")
        if self.offsets_ns and self.offsets_ns[0] < 0:
            raise ValueError("the offsets of a replay start at 0 or later")


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed model: `users` who each wait for an answer, think, and ask again, from `start_ns` to `end_ns`.

    Slow answers slow the load down; an open model is the honest default, this is for callers that really are few.
    """

    users: int
    think_ns: int
    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        """Refuse a model without users or duration."""
        if self.users < 1 or self.think_ns < 0 or not 0 <= self.start_ns < self.end_ns:
            raise ValueError(
                "a closed model has users, a think time of 0 or more, and an end after its start"
            )


Shape = tuple[RateSegment, ...] | Herd | Replay | Closed


@dataclass(frozen=True, slots=True)
class PhaseWindow:
    """A named piece of the run: [start_ns, end_ns). `judge` is false for warm-up."""

    name: str
    start_ns: int
    end_ns: int
    judge: bool = True


@dataclass(frozen=True, slots=True)
class Stream:
    """One load of a plan: what is offered when, how it is sent, and how its outcome is told.

    `deadline_ns` bounds what counts as good, from the intended start. `timeout_ns` bounds each attempt, from its start.
    `connections` are opened before the run and kept; more are opened on demand up to `in_flight_cap`, beyond which an
    arrival is dropped. `correlate` names the request header that carries the request's id.
    """

    name: str
    shape: Shape
    arrival: Arrival
    request: Request
    deadline_ns: int
    timeout_ns: int
    record_calls: bool = False
    in_flight_cap: int = 10_000
    connections: int = 16
    correlate: str = "X-Request-Id"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse rates that overlap, and bounds that are not positive."""
        if isinstance(self.shape, tuple):
            for a, b in zip(self.shape, self.shape[1:], strict=False):
                if b.start_ns < a.end_ns:
                    raise ValueError(f"load {self.name}: rate segments overlap at {b.start_ns} ns")
        if self.deadline_ns <= 0 or self.timeout_ns <= 0 or self.in_flight_cap < 1 or self.connections < 0:
            raise ValueError(f"load {self.name}: deadline, time-out and in-flight cap must be positive")

    def to_json(self) -> dict[str, Any]:
        """The stream as JSON-able values."""
        return {
            **{name: getattr(self, name) for name in _STREAM_SCALARS},
            "shape": shape_to_json(self.shape),
            "driver": driver_name(self.request),
            "request": to_plain(self.request),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The stream whose `to_json` is `value`."""
        return cls(
            **{name: value[name] for name in _STREAM_SCALARS},
            shape=shape_from_json(value["shape"]),
            request=from_plain(REQUESTS[value["driver"]], value["request"]),
        )


_STREAM_SCALARS = (
    "name",
    "arrival",
    "deadline_ns",
    "timeout_ns",
    "record_calls",
    "in_flight_cap",
    "connections",
    "correlate",
    "seed",
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one worker does: its stripe (`stripe` of `stripes`) of every stream.

    The id of a request is f"{run_id}-{stream}-{i}", where i numbers the arrivals of the whole stream.
    """

    streams: tuple[Stream, ...]
    phases: tuple[PhaseWindow, ...]
    stripe: int
    stripes: int
    run_id: str

    def to_json(self) -> dict[str, Any]:
        """The assignment as JSON-able values: the line that a worker reads."""
        return {
            "streams": [stream.to_json() for stream in self.streams],
            "phases": [asdict(phase) for phase in self.phases],
            "stripe": self.stripe,
            "stripes": self.stripes,
            "run_id": self.run_id,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The assignment whose `to_json` is `value`."""
        return cls(
            streams=tuple(Stream.from_json(stream) for stream in value["streams"]),
            phases=tuple(PhaseWindow(**phase) for phase in value["phases"]),
            stripe=value["stripe"],
            stripes=value["stripes"],
            run_id=value["run_id"],
        )


def shape_to_json(shape: Shape) -> dict[str, Any]:
    """A shape as JSON-able values, under the key of its kind."""
    if isinstance(shape, tuple):
        return {"rate": [asdict(segment) for segment in shape]}
    return {type(shape).__name__.lower(): asdict(shape)}


def shape_from_json(value: Mapping[str, Any]) -> Shape:
    """The shape whose `shape_to_json` is `value`."""
    ((kind, fields),) = value.items()
    if kind == "rate":
        return tuple(RateSegment(**segment) for segment in fields)
    if kind == "replay":
        return Replay(tuple(fields["offsets_ns"]))
    if kind == "herd":
        return Herd(**fields)
    if kind == "closed":
        return Closed(**fields)
    raise ValueError(f"unknown load shape {kind!r}")


def id_parts(run_id: str, stream: str, correlate: str) -> tuple[str, str, str]:
    """What stands before the number in a request's id, how the number is written, and what stands after it.

    The header `traceparent` (W3C Trace Context) prescribes its form: version, 16 bytes of trace id, 8 of span id, flags. The
    trace id begins with a digest of run and stream and ends with the number.
    """
    if correlate.lower() == "traceparent":
        digest = hashlib.sha256(f"{run_id}-{stream}".encode()).hexdigest()
        return f"00-{digest[:16]}", "016x", f"-{digest[16:32]}-01"
    return f"{run_id}-{stream}-", "d", ""


def request_id(run_id: str, stream: str, i: int, correlate: str = "X-Request-Id") -> str:
    """The id that arrival i of a stream carries in its correlation header."""
    before, form, after = id_parts(run_id, stream, correlate)
    return f"{before}{i:{form}}{after}"


def share(total: int, stripe: int, stripes: int) -> int:
    """This stripe's part of a total (connections, in-flight cap, users) that workers divide among them."""
    return total // stripes + (1 if stripe < total % stripes else 0)


def run_end_ns(phases: Iterable[PhaseWindow]) -> int:
    """The end of the last phase; 0 when there is none."""
    return max((phase.end_ns for phase in phases), default=0)
