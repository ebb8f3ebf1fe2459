"""Was enough of the machine left for the system under test? A gate beside those of the load generator. Pure.

A second is *crowded* when the machine had next to no idle time and others than this run took a good part of it. A judged phase
of which much was crowded says nothing about the system: what looks like its slowness may be its neighbour's work.

A second may be too long to see it: a system that works for a tenth of it, in a herd, can be starved while the machine idles for the rest. So
what counts, too, is how long the run's own threads were ready and did not run. They also wait for each other, and that is the run's own doing:
of their waiting the share is laid to others that these had of what was run, and never more than these ran. When that comes to a
good multiple of the time that the run's threads did run, and to a part of the phase, the system was as slow as its neighbours made it.

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
WAITED_SHARE = 2.0
"""Of the time that the run's own threads ran: with so much waiting for others everything takes three times as long. Less is the price of a machine
that is shared at all: whoever wakes up for a millisecond waits for the end of somebody's turn, and no answer is late by more than that."""
WAITED_RATE = 0.4
"""Seconds of that a second. On a shared machine some twenty processes that wake up now and then wait a quarter of a second between them, and answers
stay within milliseconds; a system that was starved waited half a second and more."""
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
        elif reason := _waiting(name, seconds):
            reasons.append(reason)
    return tuple(reasons)


def _waiting(phase: str, seconds: Sequence[Mapping[str, Any]]) -> str:
    """The reason in words where the run waited too long for others; empty where it did not, or nothing tells."""
    told = [each for each in seconds if "waited_s" in each and "ours_s" in each]
    ran_s = sum(each["ours_s"] for each in told)
    waited_s = sum(map(_waited_for_others_s, told))
    if not told or waited_s < WAITED_SHARE * ran_s or waited_s < WAITED_RATE * sum(map(_length_s, told)):
        return ""
    return (
        f"in {phase} the run's own threads ran for {ran_s:.1f} s and waited {waited_s:.1f} s for other programs: the system under "
        "test was starved by neighbours"
    )


def _waited_for_others_s(sample: Mapping[str, Any]) -> float:
    foreign_s, ran_s = float(sample["foreign_s"]), float(sample["foreign_s"] + sample["ours_s"])
    return min(sample["waited_s"] * foreign_s / ran_s, foreign_s) if ran_s > 0 else 0.0


def _is_crowded(sample: Mapping[str, Any]) -> bool:
    capacity_s = sample["cores"] * _length_s(sample)
    return bool(
        sample["idle_s"] <= IDLE_SHARE * capacity_s and sample["foreign_s"] >= FOREIGN_SHARE * capacity_s
    )


def _length_s(sample: Mapping[str, Any]) -> float:
    start_ns, end_ns = sample["at"]
    return max(float(end_ns - start_ns) / _SECOND_NS, 1e-9)
