"""What a merged verdict can claim: a hundred thousand simulated users from two hundred workers, through the real accounting and gates."""

import pytest
from cluster_scale import World, arrivals, simulate

USERS, WORKERS = 100_000, 200


@pytest.fixture(scope="module")
def due():
    """When everybody arrives."""
    return arrivals(USERS)


def claims(world, due):
    """What is claimed of a world."""
    return simulate(world, users=USERS, workers=WORKERS, due=due)


def test_scale_of_good_workers_is_exact(due):
    """Counts are exact, quantiles true to the histogram's error, and few operations are filed beside their second."""
    found = claims(World("good", clock_ms=1.5), due)
    assert found.validity.valid
    assert found.validity.conservation
    assert found.offered == found.scheduled == USERS
    for claimed, true in (found.p50_ms, found.p99_ms, found.p999_ms):
        assert claimed == pytest.approx(true, rel=0.002)
    assert found.wrong_second < 0.001
    assert found.misplaced <= 0.001 * USERS


def test_scale_of_bad_clocks_moves_operations_between_seconds_and_no_quantile(due):
    """300 ms of doubt: counts and response times hold, what happened when does not, and the record says so."""
    found = claims(World("clocks", clock_ms=300.0), due)
    assert found.offered == USERS
    assert found.p99_ms[0] == pytest.approx(found.p99_ms[1], rel=0.002)
    assert 0.05 < found.wrong_second < 0.3
    assert found.misplaced > 0.01 * USERS
    assert found.unordered == 1.0
    assert any("known within 600.0 ms" in note for note in found.validity.notes)


def test_scale_finds_one_straggler_among_two_hundred(due):
    """Half of a per cent of the operations: no p99 of all shows it, the gate of single workers does, before a p99.9 is believed."""
    found = claims(World("late", late=1), due)
    assert found.p99_ms[0] == pytest.approx(found.p99_ms[1], rel=0.25)
    assert found.p999_ms[0] > 2 * found.p999_ms[1]
    assert found.validity.lag_p99_ms["users"]["spike"] < 10
    (reason,) = found.validity.reasons
    assert "worker 0 (tcp://10.0.0.0:4000) started 100% of its operations more than 10.0 ms late" in reason


def test_scale_tells_a_lost_worker_whatever_its_share(due):
    """A quarter of a per cent of the schedule is missing: less than the gate of starts allows. The loss itself is told; unsaid, the sums do not add up."""
    told, silent = (claims(World("lost", lost=1, silently=silently), due) for silently in (False, True))
    for found in (told, silent):
        assert min(found.validity.started_share["users"].values()) > 0.99
        assert not found.validity.valid
    assert told.validity.reasons[0].startswith("worker 199 (tcp://10.0.0.199:4000) was lost")
    assert any("scheduled but" in reason for reason in silent.validity.reasons)
