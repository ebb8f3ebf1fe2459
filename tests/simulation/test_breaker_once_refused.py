"""Histories of correct breakers that the verifier once failed, each with the run that explains it.

Random runs of a breaker that does all that a specification can say, each instant blurred, led to them; they were shrunk by
brute force. Times are steps of 100 ms, a wait is three of them, and nothing is tolerated: (8, 10) is all that is known of an instant between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from breaker_kinds import OPOSSUM

from resilience.breaker.history import Arrival, Boot, Call, Gap, Interval, Observation, State, Transition
from resilience.breaker.report import Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

STEP_NS = 100_000_000
Steps = int | tuple[int, int]


def at(steps: Steps) -> Interval:
    """The interval of one step, or from one to another."""
    lo, hi = steps if isinstance(steps, tuple) else (steps, steps)
    return Interval(lo * STEP_NS, hi * STEP_NS)


def call(fate: str, decided: Steps, ended: Steps | None = None) -> list[Observation]:
    """A call that was let in; without `ended` it still runs."""
    name = f"{fate} {decided} {ended}"
    end = None if ended is None else at(ended)
    outcome = "unknown" if end is None else fate
    made = Call("b", "i", name, at(decided), end, outcome, decision=at(decided), finish=end)
    return [made, Arrival("b", "i", name, at(decided))]


def unseen(decided: Steps) -> list[Observation]:
    """A call of which nobody knows whether it was let in, nor how it ended."""
    return [
        Call("b", "i", f"unseen {decided}", at(decided), None, "unknown", decision=at(decided), note="lost")
    ]


def rejected(*decided: Steps) -> list[Observation]:
    """Calls that were turned away."""
    return [Call("b", "i", f"R{d}", at(d), at(d), "rejected", decision=at(d), finish=at(d)) for d in decided]


def reports(*changes: tuple[str, Steps]) -> list[Observation]:
    """Transitions that it reported, from closed on."""
    states = ["closed", *(state for state, _ in changes)]
    return [
        Transition("b", "i", before, state, at(when), "1", seq=number)
        for number, (before, (state, when)) in enumerate(zip(states, changes, strict=False))
    ]


def polled(state: str, when: Steps) -> list[Observation]:
    """A state that was read."""
    return [State("b", "i", state, at(when), "1")]


F0 = call("failure", 0, 0)
PERIOD: dict[str, Any] = {"window_ms": 200, "tumbling": True, "ratio": 1.0, "minimum_calls": 1}

CASES = [
    pytest.param(
        # The first success at 8: one of two of the last 300 ms failed. It opens, and 11 is not later than 8 and 3.
        {"window_ms": 300, "ratio": 0.5, "minimum_calls": 2},
        [
            *call("failure", 4, 6),
            *call("ok", 6, (8, 10)),
            *call("ok", 8, 10),
            *rejected(11),
        ],
        id="a certain outcome moved the present past an uncertain one",
    ),
    pytest.param(
        # A failure came before the record began. A look at 2 opens it.
        {"failures": 1, "evaluation_ms": 300, "permitted": None},
        [*call("ok", 1), *rejected(3)],
        id="it had counted enough before anybody watched",
    ),
    pytest.param(
        # The failure of 11 was let in and ended at 13.
        {"window": 3, "ratio": 0.5, "minimum_calls": 2, "permitted": 2, "stale": "counted"},
        [
            Boot("i", at(0), "1"),
            *call("ok", (1, 2), 2),
            Gap("calls", at((4, 5)), None, "b", "i"),
            *call("failure", (11, 14), (12, 17)),
            *rejected(16),
            *reports(("open", 13)),
        ],
        id="an outcome whose call may have been let in while records were lost",
    ),
    pytest.param(
        # Closes at 8. At 21, of the last 400 ms, there are one start (18) and one failure (21): more than half.
        {**OPOSSUM, "window_ms": 400, "ratio": 0.5, "minimum_calls": 1},
        [
            Boot("i", at(0), "1"),
            *F0,
            *call("ok", 6, 8),
            *call("failure", 14, 21),
            *call("ok", 18, 19),
            *rejected(23),
        ],
        id="a failure whose start has left the window",
    ),
    pytest.param(
        # The failure at 2, when two had been started.
        {**OPOSSUM, "window_ms": 400, "ratio": 0.3, "minimum_calls": 2},
        [Boot("i", at(0), "1"), *call("failure", 0, (0, 2)), *call("ok", 1), *rejected(4)],
        id="a start that came before the failure",
    ),
    pytest.param(
        # Rejected at 10, after the failure of 10 opened it: not at 8, where it would have been one more in the window.
        {
            "window_ms": 500,
            "ratio": 0.5,
            "minimum_calls": 1,
            "window_survives": True,
            "stale": "counted",
            "trips_on": "failure",
            "rejections_count": True,
        },
        [
            Boot("i", at(0), "1"),
            *F0,
            *call("ok", 7, 8),
            *call("failure", 9, 10),
            *rejected((8, 10), 13),
        ],
        id="a rejection counts from when it came",
    ),
    pytest.param(
        # It looks at 2, when the period of the failure is over.
        {**PERIOD, "evaluation_ms": 100},
        [Boot("i", at(0), "1"), *call("failure", 1, 1), *call("ok", 3)],
        id="the period was over before it looked",
    ),
    pytest.param(
        # The cancelled probe gives its slot back without a result; the next one fills it.
        {"failures": 1, "cancelled_as": "any"},
        [Boot("i", at(0), "1"), *F0, *call("cancelled", 4, 4), *call("ok", 5), *rejected(7)],
        id="a probe of unknown class may have counted for nothing",
    ),
    pytest.param(
        # A timer ends the wait at 3; the call of unknown fate fails at 6.
        {"failures": 1, "stale": "counted", "permitted": None, "entry": "timer"},
        [
            Boot("i", at(0), "1"),
            *F0,
            Call("b", "i", "x", at(0), at((4, 6)), "unknown", decision=at(0), finish=at((4, 6))),
            Arrival("b", "i", "x", at(0)),
            *rejected(8),
        ],
        id="what would change nothing in the present state may have come in the next",
    ),
    pytest.param(
        # The failure opens it at 7; the call that nobody saw is the probe, at 10, and holds its slot.
        {"failures": 1},
        [Boot("i", at(0), "1"), *unseen((0, 10)), *call("failure", 1, (1, 10)), *rejected(14)],
        id="a call of unknown fate may be the probe",
    ),
    pytest.param(
        # The success of 6 closes it at 8; the failure that began in half-open opens it at 11.
        {"failures": 2, "permitted": None, "stale": "counted", "late_failure_opens": True},
        [
            Boot("i", at(0), "1"),
            *F0,
            *call("failure", (0, 0), (0, 0)),
            *call("failure", 4, 11),
            *call("ok", 6, 8),
            *rejected(12),
        ],
        id="whose outcome it is matters where a late failure opens it",
    ),
    pytest.param(
        # The same, as early as nothing but its order is in doubt.
        {"failures": 2, "permitted": None, "stale": "counted", "late_failure_opens": True},
        [
            Boot("i", at(0), "1"),
            *F0,
            *call("failure", (0, 0), (0, 0)),
            *call("failure", 4, 10),
            *call("ok", 6, 8),
            *rejected(11),
        ],
        id="whose outcome it is matters where a late failure opens it, soon",
    ),
    pytest.param(
        # One of two failed, which is not more than half; the cancelled one had been started.
        {**OPOSSUM, "window_ms": 400, "ratio": 0.5, "minimum_calls": 1, "cancelled_as": "neutral"},
        [
            Boot("i", at(0), "1"),
            *call("cancelled", 0, 1),
            *call("failure", 2, 3),
            *call("ok", 4),
        ],
        id="a cancelled call had been started",
    ),
    pytest.param(
        # The ok of 0 ends at 8, in the period that begins so; the call of 10 begins the next, and the failure of 10 is of the one before.
        {"failures": 1, "window_ms": 200, "tumbling": True, "tumbling_from": "activity"},
        [
            Boot("i", at(0), "1"),
            *F0,
            *call("ok", 0, (2, 20)),
            *call("ok", 3, 4),
            *call("failure", 9, 10),
            *call("ok", 10),
            *call("ok", 11),
        ],
        id="what is ignored may begin a period, too",
    ),
    pytest.param(
        # Made at 5: one failure in its first period, one in its second. The arrival need not have been its own.
        {"failures": 2, "window_ms": 1000, "tumbling": True},
        [
            Boot("i", at(0), "1"),
            Arrival("b", None, "elsewhere", at(2)),
            *call("failure", 14, 14),
            *call("failure", 16, 16),
            *call("ok", 17),
        ],
        id="what need not have happened does not say when it was made",
    ),
    pytest.param(
        # Half-open from 6 on, and not reported: its probe has not ended.
        {"failures": 1, "half_open_event": "probe_end"},
        [Boot("i", at(0), "1"), *F0, *call("ok", 6), *reports(("open", 0))],
        id="half-open is reported when a probe ends, and none has",
    ),
    pytest.param(
        # Opens at 0, half-open at 7, opens at 10; records were lost at 4.
        {"failures": 1},
        [
            Boot("i", at(0), "1"),
            *call("failure", 0, (0, 3)),
            *rejected(2, 11),
            Gap("calls", at(4), None, "b", "i"),
            *call("failure", 7, (7, 10)),
            *reports(("open", 0), ("half_open", 7), ("open", 10)),
        ],
        id="a report at the instant from which on records are there again",
    ),
    pytest.param(
        # The ok of 12 belongs to the epoch before: half-open since 16 does not heed it.
        {"failures": 1, "entry": "timer"},
        [
            Boot("i", at(0), "1"),
            Gap("calls", at(5), None, "b", "i"),
            *call("ok", 12, 19),
            *call("failure", 13, 13),
            *reports(("open", 13), ("half_open", 16)),
        ],
        id="a call of an earlier epoch that began where the record begins anew",
    ),
    pytest.param(
        # Closes at 6, which empties the window: the failure of 7 has no start in it, and one call is the least.
        {
            "window_ms": 500,
            "ratio": 0.3,
            "minimum_calls": 1,
            "counted_at": "start",
            "permitted": None,
            "stale": "counted",
        },
        [
            Boot("i", at(0), "1"),
            *F0,
            *call("ok", 4, 6),
            *call("failure", 6, 7),
            *call("ok", 8, 9),
            *polled("closed", (7, 8)),
        ],
        id="closing forgets the starts that were counted",
    ),
    pytest.param(
        # The failure at 8 begins a period, which is an epoch: it belongs to the one before, and changes nothing.
        {"failures": 1, "window_ms": 200, "tumbling": True, "tumbling_from": "activity"},
        [Boot("i", at(0), "1"), *call("failure", 4, 8), *call("ok", 10)],
        id="an outcome of a period that is over",
    ),
    pytest.param(
        # What may never come need not be waited for: there are more periods until for ever than can be counted.
        {"window_ms": 300, "ratio": 0.6, "minimum_calls": 2, "tumbling": True},
        [Boot("i", at(0), "1"), *call("ok", 0, 1), *unseen(2), *call("ok", 4, 5)],
        id="a call of which nothing is known, where a window has periods",
    ),
]


@pytest.mark.parametrize(("mapping", "history"), CASES)
def test_breaker_once_refused_is_explained(mapping: dict[str, Any], history: Sequence[Observation]) -> None:
    """No rule fails."""
    spec = BreakerSpec.from_mapping({**mapping, "wait_ms": 300, "eps_ms": 0, "delta_ms": 0})
    (found,) = verify(history, spec).instances
    assert [r.rule for r in found.rules.values() if r.verdict is Verdict.FAIL] == []
