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


def waiting(ours_s: float, foreign_s: float, waited_s: float, *, seconds: int = 10):
    """So many seconds of the phase, half of each idle."""
    for second in range(seconds):
        at = EPOCH + (4 + second) * S
        told = {"idle_s": 1.0, "ours_s": ours_s, "foreign_s": foreign_s, "waited_s": waited_s}
        yield {"at": [at, at + S], "cores": 2, **told}


def test_run_that_waited_for_its_neighbours_is_told_though_the_machine_had_idle_time() -> None:
    """A herd needs its processor at once: half a second of idle time later is none of its own."""
    (reason,) = crowded_phases(waiting(0.2, 0.8, 0.6), PHASES, EPOCH)
    assert reason.startswith(
        "in spike the run's own threads ran for 2.0 s and waited 4.8 s for other programs"
    )


@pytest.mark.parametrize(
    "waited",
    [
        (1.0, 0.05, 9.0),  # it waited for itself: others ran too little to be the cause
        (0.11, 1.3, 0.25),  # many that wake up now and then, beside a busy neighbour: a millisecond each
        (1.6, 0.3, 8.0),  # a spike beside a small neighbour: what that took is a sixth of what was run
        (0.05, 0.4, 0.1),  # hardly anything ran, and hardly anything waited
        (
            0.34,
            0.9,
            0.4,
        ),  # short turns wait for the end of others': seen on a shared machine, and nothing was late
    ],
)
def test_run_that_waited_little_for_others_is_let_pass(waited: tuple[float, float, float]) -> None:
    """Waiting for oneself is what a spike is; a little waiting for others changes no verdict."""
    assert crowded_phases(waiting(*waited), PHASES, EPOCH) == ()


def test_machine_that_was_not_measured_is_no_reason() -> None:
    """Other systems, and stacks whose processes are out of reach, have no samples."""
    assert crowded_phases([], PHASES, EPOCH) == ()
