"""The autoscaler's decisions, from nothing but counts of answered requests."""

from __future__ import annotations

from collections.abc import Callable

from resilience.lab.autoscaler import AutoscalePolicy, Autoscaler, Step

POLICY = AutoscalePolicy(most=3, per_gateway=50, out_after_s=2, in_after_s=4)


def drive(
    rate: Callable[[float], float], seconds: float, gateways: int = 1
) -> tuple[list[tuple[float, Step]], int]:
    """Steps and when they were decided, and how many gateways there are in the end; a look each half second."""
    scaler, answered, steps = Autoscaler(POLICY), 0.0, []
    for half in range(int(seconds * 2)):
        at_s = half / 2
        step = scaler.look(at_s, answered, gateways)
        if step is not None:
            steps.append((at_s, step))
            gateways += 1 if step == "out" else -1
            scaler.stepped()
        answered += rate(at_s) / 2
    return steps, gateways


def test_autoscaler_rests_below_its_rate() -> None:
    """Forty a second on one gateway of fifty: nothing to do."""
    assert drive(lambda _: 40, 30) == ([], 1)


def test_autoscaler_goes_out_when_the_rate_stays_above() -> None:
    """Two seconds above, then one step; a hundred and twenty a second need three gateways, and there are no more."""
    steps, gateways = drive(lambda _: 120, 30)
    assert [step for _, step in steps] == ["out", "out"]
    assert steps[0][0] <= 4
    assert gateways == 3


def test_autoscaler_ignores_a_short_burst() -> None:
    """One second is no trend."""
    assert drive(lambda at_s: 120 if 5 <= at_s < 6 else 30, 20)[0] == []


def test_autoscaler_comes_in_when_fewer_would_do_easily() -> None:
    """Three gateways for twenty a second: two are taken out, one after the other, and the last stays."""
    steps, gateways = drive(lambda _: 20, 30, gateways=3)
    assert [step for _, step in steps] == ["in", "in"]
    assert gateways == 1


def test_autoscaler_does_not_flap_between_two_sizes() -> None:
    """Seventy a second: two gateways, and neither three nor one."""
    steps, gateways = drive(lambda _: 70, 60)
    assert ([step for _, step in steps], gateways) == (["out"], 2)


def test_autoscaler_begins_anew_when_a_count_falls() -> None:
    """A gateway that ended took its count with it: that is no negative load."""
    scaler = Autoscaler(POLICY)
    for at_s, answered in ((0, 0), (1, 40), (2, 80), (3, 10), (4, 50)):
        assert scaler.look(at_s, answered, 1) is None
