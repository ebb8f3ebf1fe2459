"""The timeline: what a plan becomes when it is compiled. Pure values, every time an offset from the epoch in ns.

Operations are ordered; at the same instant healing comes before injecting, so that a plan that hands over from one
fault to the next never holds both longer than it says. The last operation heals everything.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from resilience.load.model import Closed, Herd, Replay, shape_from_json, shape_to_json

OperationKind = Literal["load.start", "phase.end", "fault.heal", "phase.start", "fault.inject", "heal.all"]
_ORDER: dict[str, int] = {
    "load.start": 0,
    "phase.end": 1,
    "fault.heal": 2,
    "phase.start": 3,
    "fault.inject": 4,
    "heal.all": 5,
}


Singular = Herd | Replay | Closed
"""What is no rate: everybody at once, a recorded trace, users who wait for their answers."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that the interpreter does at an offset."""

    at_ns: int
    kind: OperationKind
    subject: str

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key: time first, healing before injecting."""
        return (self.at_ns, _ORDER[self.kind], self.subject)


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """A phase with its offsets."""

    name: str
    start_ns: int
    end_ns: int
    judge: bool


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of linearly changing arrival rate."""

    start_ns: int
    end_ns: int
    start_per_s: float
    end_per_s: float


@dataclass(frozen=True, slots=True)
class FaultSpan:
    """A fault with its planned offsets: what it is, in words, what it is on, and the proxy whose tap sees the calls that it is about."""

    fault_id: str
    proxy: str | None
    start_ns: int
    end_ns: int
    target: str = ""
    what: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that will happen, in order. A load has its pieces under `segments`, or its shape under `shapes`."""

    name: str
    duration_ns: int
    phases: tuple[PhaseSpan, ...]
    segments: dict[str, tuple[Segment, ...]]
    faults: tuple[FaultSpan, ...]
    operations: tuple[Operation, ...]
    shapes: dict[str, Singular] = field(default_factory=dict)

    def phase(self, name: str) -> PhaseSpan:
        """The phase of that name (KeyError where there is none: compile has checked all names)."""
        for span in self.phases:
            if span.name == name:
                return span
        raise KeyError(name)

    def fault(self, fault_id: str) -> FaultSpan:
        """The fault of that id (KeyError where there is none)."""
        for span in self.faults:
            if span.fault_id == fault_id:
                return span
        raise KeyError(fault_id)

    def load_back_ns(self, load: str, after_ns: int, baseline_per_s: float) -> int:
        """First offset at or after `after_ns` from which the planned rate stays at or below the baseline's."""
        back = after_ns
        for segment in self.segments[load]:
            if (
                segment.end_ns > after_ns
                and max(segment.start_per_s, segment.end_per_s) > baseline_per_s * 1.001
            ):
                back = max(back, segment.end_ns)
        shape = self.shapes.get(load)
        if isinstance(shape, Herd):
            # A crowd is no baseline: what came last has to be served first.
            back = max(back, shape.start_ns + (shape.waves - 1) * shape.gap_ns)
        return back

    def to_json(self) -> dict[str, Any]:
        """JSON-able form, as stored in the run record."""
        plain = asdict(self)
        return {**plain, "shapes": {name: shape_to_json(shape) for name, shape in self.shapes.items()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Timeline:
        """Read what `to_json` wrote."""
        return cls(
            name=data["name"],
            duration_ns=data["duration_ns"],
            phases=tuple(PhaseSpan(**p) for p in data["phases"]),
            segments={k: tuple(Segment(**s) for s in v) for k, v in data["segments"].items()},
            faults=tuple(FaultSpan(**f) for f in data["faults"]),
            operations=tuple(Operation(**o) for o in data["operations"]),
            shapes={k: cast("Singular", shape_from_json(v)) for k, v in data.get("shapes", {}).items()},
        )
