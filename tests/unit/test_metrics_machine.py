"""A system that was starved by neighbours says nothing: the gate on the machine itself."""

from __future__ import annotations

import pytest

from resilience.load.model import PhaseWindow
from resilience.metrics.machine import crowded_phases

S = 1_000_000_000
EPOCH = 7 * S
PHASES = (PhaseWindow("warmup", 0, 4 * S, judge=False), PhaseWindow("spike", 4 * S, 14 * S))


def samples(crowded: int, *, idle_s: float = 0.02, foreign_s: float = 1.2, begin: int = 4, total: int = 10):
    """Seconds from `begin` on, the first `crowded` of them as told and the others quiet, on two cores."""
    for second in range(total):
        at = EPOCH + (begin + second) * S
        idle, foreign = (idle_s, foreign_s) if second < crowded else (1.6, 0.1)
        yield {"at": [at, at + S], "cores": 2, "idle_s": idle, "foreign_s": foreign}


def test_machine_that_neighbours_filled_spoils_the_phase() -> None:
    """Named with the phase, what was taken, and for how long."""
    (reason,) = crowded_phases(samples(5), PHASES, EPOCH)
    assert reason.startswith("in spike other programs took 1.2 of this machine's 2 cores")
    assert "5 of 10 s" in reason


@pytest.mark.parametrize(
    "quiet",
    [
        {"crowded": 1},  # one second is a hiccup
        {"crowded": 2},  # a fifth of the phase
        {"crowded": 10, "foreign_s": 0.1},  # the run itself filled the machine: that is a spike
        {"crowded": 10, "idle_s": 0.9},  # others worked where nobody else wanted to
        {"crowded": 4, "begin": 0, "total": 4},  # in the warm-up, which is not judged
    ],
)
def test_machine_gate_lets_pass(quiet) -> None:
    """What does not starve the system is no reason."""
    assert crowded_phases(samples(**quiet), PHASES, EPOCH) == ()


def test_machine_that_was_not_measured_is_no_reason() -> None:
    """Other systems, and stacks whose processes are out of reach, have no samples."""
    assert crowded_phases([], PHASES, EPOCH) == ()
