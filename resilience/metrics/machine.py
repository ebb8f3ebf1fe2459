"""Was enough of the machine left for the system under test? A gate beside those of the load generator. Pure.

A second is *crowded* when the machine had next to no idle time and others than this run took a good part of it. A judged phase
of which much was crowded says nothing about the system: what looks like its slowness may be its neighbour's work.

A machine that the run itself fills is not crowded: that is a spike. Neither is one that others use while cores are idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resilience.load.model import PhaseWindow

IDLE_SHARE = 0.05
FOREIGN_SHARE = 0.20
CROWDED_SHARE = 0.25
LEAST_SECONDS = 2
_SECOND_NS = 1_000_000_000


def crowded_phases(
    samples: Iterable[Mapping[str, Any]], phases: Sequence[PhaseWindow], epoch_ns: int
) -> tuple[str, ...]:
    """A reason in words for each judged phase that was crowded; empty where nothing was measured."""
    judged = [phase for phase in phases if phase.judge]
    found: dict[str, list[Mapping[str, Any]]] = {phase.name: [] for phase in judged}
    for sample in samples:
        middle_ns = sum(sample["at"]) // 2 - epoch_ns
        for phase in judged:
            if phase.start_ns <= middle_ns < phase.end_ns:
                found[phase.name].append(sample)
    reasons = []
    for name, seconds in found.items():
        crowded = [each for each in seconds if _is_crowded(each)]
        if len(crowded) >= LEAST_SECONDS and len(crowded) >= CROWDED_SHARE * len(seconds):
            taken = sum(each["foreign_s"] / _length_s(each) for each in crowded) / len(crowded)
            reasons.append(
                f"in {name} other programs took {taken:.1f} of this machine's {crowded[0]['cores']} cores, and none was idle, for "
                f"{len(crowded)} of {len(seconds)} s: the system under test was starved by neighbours"
            )
    return tuple(reasons)


def _is_crowded(sample: Mapping[str, Any]) -> bool:
    capacity_s = sample["cores"] * _length_s(sample)
    return bool(
        sample["idle_s"] <= IDLE_SHARE * capacity_s and sample["foreign_s"] >= FOREIGN_SHARE * capacity_s
    )


def _length_s(sample: Mapping[str, Any]) -> float:
    start_ns, end_ns = sample["at"]
    return max(float(end_ns - start_ns) / _SECOND_NS, 1e-9)
