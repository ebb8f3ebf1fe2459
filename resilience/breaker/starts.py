"""Where an automaton may stand when nobody has watched so far: a small set of configurations that covers them all.

Used at the beginning of a history that does not begin with a boot, after a gap in it, and to find the smallest
window of observations that no breaker explains. What is unknown stays unknown: windows have fog, running calls may be of
any epoch (the sweep's business), and a half-open state whose probes have too many tallies is taken as vague.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from resilience.breaker.configuration import VAGUE, Clock, Key, Reported
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.window import empty, unknown

_ENOUGH: Final = 64
_DEEPEST: Final = 8  # openings in a row that are told apart where there is back-off


def anything(
    spec: BreakerSpec, reported: Sequence[Reported] | None, at_ns: int
) -> Iterator[tuple[Key, Clock]]:
    """Every configuration at `at_ns`; reports that may have been used up by then may be, or may not be."""
    least = most = 0
    if reported is not None:
        least = sum(1 for report in reported if report.at.hi_ns < at_ns)
        most = sum(1 for report in reported if report.at.lo_ns <= at_ns)
    by_hand = any(report.manual for report in reported or ())
    for used in range(least, max(least, most) + 1):
        yield from _with_used(spec, at_ns, used)
        if by_hand:
            for state in ("forced_open", "disabled"):
                yield Key(state, used=used, window=empty(spec)), Clock(at_ns, 0, at_ns)


def _with_used(spec: BreakerSpec, at_ns: int, used: int) -> Iterator[tuple[Key, Clock]]:
    base = Key("closed", used=used)
    # One that is looked at from time to time may have reached its count already.
    reached = spec.failures + (spec.evaluation_ns > 0)
    counts = range(reached) if spec.trip == "consecutive" else (0,)
    begun = at_ns - spec.window_ns if spec.tumbling else at_ns
    windows = unknown(spec, at_ns)
    for count in counts:
        for window in windows:
            yield base._replace(failures=count, window=window), Clock(at_ns, begun, at_ns)
    base = base._replace(window=windows[0] if spec.window_survives else empty(spec))
    inside = tuple(_half_open(spec))
    for nth in range(1, _DEEPEST + 1) if spec.backoff != 1.0 else (1,):
        _, wait = spec.wait_of(nth)
        yield base._replace(state="open", nth=nth), Clock(at_ns, at_ns - wait - spec.eps_ns, at_ns)
        stay = spec.dwell_ns if spec.dwell_ns is not None else at_ns
        for good, bad, flying, admitted in inside:
            yield (
                base._replace(
                    state="half_open", nth=nth, good=good, failures=bad, flying=flying, admitted=admitted
                ),
                Clock(at_ns, at_ns - stay - spec.eps_ns, at_ns),
            )


def _half_open(spec: BreakerSpec) -> Iterator[tuple[int, int, int, int]]:
    """(successes, failures, probes in flight, probes let in) of a half-open state."""
    permits = spec.permitted or 0
    if spec.close_ratio is None and spec.successes_of is None:
        tallies = [(good, 0) for good in range(spec.successes)]
    else:
        last = spec.successes_of or spec.resolving_results
        tallies = [(good, bad) for good in range(last) for bad in range(last - good)]
    # In total mode a probe that ended still counts: any number from those in flight on.
    seats = [
        (flying, admitted)
        for flying in range(permits + 1)
        for admitted in (range(flying, permits + 1) if spec.probes == "total" else (flying,))
    ]
    if len(tallies) * len(seats) > _ENOUGH or spec.slow_ratio is not None or spec.stale_frees_permit:
        yield VAGUE, 0, 0, 0
        return
    for good, bad in tallies:
        for flying, admitted in seats:
            yield good, bad, flying, admitted
