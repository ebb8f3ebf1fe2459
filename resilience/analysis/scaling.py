"""How an autoscaler answered a load: when it decided, when new instances were healthy, what it lost on the way back. Pure.

Trigger time is the first decision to scale out after the first second whose offered rate was above the threshold; healthy time
is when a new instance was *seen* ready, after that decision. Both come from what was observed of the instances (`scale` events), not
from the plan. A request is lost when it got no proper answer between the decision to take an instance out and its being gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class InstanceLife:
    """One instance that an autoscaler started. Seconds since the epoch; None for what was not seen."""

    name: str
    decided_s: float
    ready_s: float | None = None
    leaving_s: float | None = None
    gone_s: float | None = None

    @property
    def healthy_after_s(self) -> float | None:
        """From the decision until it was seen ready."""
        return None if self.ready_s is None else self.ready_s - self.decided_s


@dataclass(frozen=True, slots=True)
class Scaling:
    """What became of a load's growth. `trigger_s` is None when it never scaled out, or never had to."""

    over_s: float | None
    trigger_s: float | None
    instances: tuple[InstanceLife, ...]

    @property
    def slowest_healthy_s(self) -> float | None:
        """The longest time to healthy; None when an instance never was, or there is none."""
        times = [life.healthy_after_s for life in self.instances]
        return None if not times or None in times else max(t for t in times if t is not None)

    @property
    def still_there(self) -> tuple[str, ...]:
        """Instances that were started and not taken out again."""
        return tuple(life.name for life in self.instances if life.gone_s is None)


def scaling_of(
    offered: Sequence[tuple[int, int]], lives: Sequence[InstanceLife], *, threshold_per_s: float
) -> Scaling:
    """Scaling under one load. `offered` are (second, arrivals of that second), in order."""
    over_s = next((float(second) for second, count in offered if count > threshold_per_s), None)
    decisions = sorted(life.decided_s for life in lives)
    if over_s is None:
        return Scaling(None, None, tuple(lives))
    # The second over the threshold has to be over before anybody can have measured it; a decision within it is prompt.
    trigger = next((at - over_s for at in decisions if at >= over_s), None)
    if trigger is None and decisions:
        trigger = 0.0
    return Scaling(over_s, trigger, tuple(lives))


def lives_of(events: Iterable[Mapping[str, Any]], epoch_ns: int) -> tuple[InstanceLife, ...]:
    """Lives from `scale` events of a record, in the order of the decisions."""
    found: dict[str, dict[str, float]] = {}
    for event in events:
        lo, hi = event["at"]
        # What is to be prompt is taken at its latest, so that no verdict rests on the width of an observation.
        at_s = ((lo if event["step"] in ("decided", "leaving") else hi) - epoch_ns) / NS_PER_S
        found.setdefault(str(event["instance"]), {}).setdefault(str(event["step"]), at_s)
    return tuple(
        InstanceLife(name, steps["decided"], steps.get("ready"), steps.get("leaving"), steps.get("gone"))
        for name, steps in sorted(found.items(), key=lambda item: item[1].get("decided", 0.0))
        if "decided" in steps
    )


def lost_in(
    failed: Sequence[tuple[int, int]], lives: Sequence[InstanceLife], *, margin_s: float = 1.0
) -> int:
    """Failures in the seconds in which an instance was leaving; `failed` are (second, failures), each second counted once."""
    spans = [
        (life.leaving_s - margin_s, (life.gone_s if life.gone_s is not None else life.leaving_s) + margin_s)
        for life in lives
        if life.leaving_s is not None
    ]
    return sum(
        count for second, count in failed if any(start < second + 1 and second < end for start, end in spans)
    )
