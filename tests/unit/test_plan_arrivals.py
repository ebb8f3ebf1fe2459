"""When a plan's calls are due: every shape that it can name, compiled, told in words, and refused where it does not fit."""

from __future__ import annotations

import pytest

from resilience.load.model import Closed, Herd, Replay
from resilience.plan import PlanInvalid, Timeline, load_text
from resilience.plan.arrivals import describe, start_ns

HEAD = """\
version: 1
name: demo
lab: {}
phases: [{name: calm, duration: 10s}, {name: rush, duration: 20s}]
expect: {steady: {load: x, errors: "< 1%"}}
load:
  x:
    http: {url: /}
"""
S = 10**9


def timeline(shape: str) -> Timeline:
    """The timeline of a plan whose load has this shape, in YAML."""
    return load_text(HEAD + "    " + shape, source="plan.yaml", environment={}).timeline


def pieces(shape: str) -> list[tuple[float, float, float, float]]:
    """Start and end in seconds and the rates there, of each piece."""
    segments = timeline(shape).segments["x"]
    return [(s.start_ns / S, s.end_ns / S, s.start_per_s, s.end_per_s) for s in segments]


@pytest.mark.parametrize(
    ("rush", "expected"),
    [
        ("40/s", [(10, 30, 40, 40)]),
        ("{ramp: 40/s}", [(10, 30, 40, 40)]),
        ("{ramp: 40/s, rise: 5s, fall: 5s}", [(10, 15, 10, 40), (15, 25, 40, 40), (25, 30, 40, 10)]),
        ("{from: 0/s, to: 30/s}", [(10, 30, 0, 30)]),
        ("{step: [20/s, 0/s, 30/s, 5/s]}", [(10, 15, 20, 20), (15, 20, 0, 0), (20, 25, 30, 30), (25, 30, 5, 5)]),
        ("{step: [20/s, 30/s], each: 3s}", [(10, 13, 20, 20), (13, 30, 30, 30)]),
        ("{spike: 90/s, after: 2s, rise: 1s, hold: 4s, fall: 2s}",
         [(10, 12, 10, 10), (12, 13, 10, 90), (13, 17, 90, 90), (17, 19, 90, 10), (19, 30, 10, 10)]),
        ("{spike: 90/s, hold: 4s}", [(10, 14, 90, 90), (14, 30, 10, 10)]),
    ],
)  # fmt: skip
def test_rate_of_a_phase_becomes_straight_pieces(rush: str, expected: list[tuple[float, ...]]) -> None:
    """Without a gap, from the calm's rate and back to it where the shape says so."""
    assert pieces(f"rate: {{default: 10/s, rush: {rush}}}") == [(0, 10, 10, 10), *expected]


@pytest.mark.parametrize(
    ("shape", "expected", "words"),
    [
        ("herd: {users: 500, start: rush+1s}", Herd(500, 11 * S), "herd of 500 at once"),
        ("herd: {users: 25, waves: 3, every: 2s}", Herd(25, 0, 3, 2 * S), "3 waves of 25, 2 s apart"),
        ("users: 20\n    think: 1s", Closed(20, S, 0, 30 * S), "20 users, thinking 1 s, until 30 s"),
        ("users: 2\n    start: rush\n    end: end-5s", Closed(2, 0, 10 * S, 25 * S), "2 users, without a pause, until 25 s"),
        ("users: 2\n    end: end", Closed(2, 0, 0, 30 * S), "2 users, without a pause, until 30 s"),
        ("replay: [1s, 250ms]", Replay((S // 4, S)), "replay of 2 arrivals until 1 s"),
        ("replay: {offsets: [0s, 5s], start: rush}", Replay((10 * S, 15 * S)), "replay of 2 arrivals until 15 s"),
    ],
)  # fmt: skip
def test_shape_that_is_no_rate_has_its_place_on_the_timeline(
    shape: str, expected: object, words: str
) -> None:
    """It survives the journey into the record and back, and people are told of it in a line."""
    compiled = timeline(shape)
    assert compiled.shapes == {"x": expected}
    assert compiled.segments == {"x": ()}
    assert Timeline.from_json(compiled.to_json()) == compiled
    assert describe(compiled.shapes["x"]) == words
    assert start_ns(compiled.shapes["x"]) >= 0


def test_herd_is_over_only_with_its_last_wave() -> None:
    """A load is back at its baseline when its last crowd has come."""
    compiled = timeline("herd: {users: 5, start: rush, waves: 3, every: 2s}")
    assert compiled.load_back_ns("x", 5 * S, 0.0) == 14 * S
    assert compiled.load_back_ns("x", 20 * S, 0.0) == 20 * S


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("rate: {default: {ramp: 5/s}}", "rate.default: the default is a plain rate"),
        ("rate: {rsh: 5/s}", "rate.rsh: no phase 'rsh'; did you mean 'rush'?"),
        ("rate: {rush: {ramp: 5/s, rise: 15s, fall: 15s}}", "rate.rush: rise and fall together are longer"),
        ("rate: {rush: {ramp: 5/s, rize: 1s}}", "rate.rush.rize: unknown key 'rize'; did you mean 'rise'?"),
        ("rate: {rush: {step: []}}", "rate.rush.step: is empty"),
        ("rate: {rush: {step: [5/s, 9/s], ech: 1s}}", "rate.rush.ech: unknown key 'ech'; did you mean 'each'?"),
        ("rate: {rush: {step: [5/s, 9/s, 7/s], each: 10s}}", "rate.rush: 3 steps of 10 s do not fit the phase"),
        ("rate: {rush: {from: 5/s}}", "rate.rush: the key 'to' is missing"),
        ("rate: {rush: {spike: 5/s}}", "rate.rush: the spike lasts no time"),
        ("rate: {rush: {spike: 5/s, after: 19s, hold: 2s}}", "rate.rush: after, rise, hold and fall together"),
        ("rate: 0/s", "load.x.rate: this stream never sends anything"),
        ("herd: {users: 5, waves: 2}", "load.x.herd: several waves need the time between them"),
        ("herd: {users: 5, waves: 9, every: 9s}", "herd.waves: the last wave would come after the end of the run, at 30 s"),
        ("herd: {users: 0}", "load.x.herd.users: input should be greater than or equal to 1"),
        ("herd: {users: 5, start: rsh}", "herd.start: no phase 'rsh'; did you mean 'rush'?"),
        ("herd: {users: 5, start: end}", "herd.start: 'end' lies outside the run"),
        ("herd: {users: 5}\n    arrival: poisson", "load.x: `arrival: poisson` is about a rate"),
        ("users: 5\n    start: rush+5s\n    end: rush", "load.x.end: the users would leave before they come"),
        ("replay: [40s, 2s]", "replay.offsets: 1 arrivals lie after the end of the run at 30 s, the first at 40 s"),
        ("replay: [2]", "load.x.replay.offsets.0: a duration needs a unit"),
        ("replay: trace.csv", "load.x.replay: the file trace.csv was not read"),
    ],
)  # fmt: skip
def test_shape_that_does_not_fit_the_run_is_refused(shape: str, said: str) -> None:
    """With line and key, before anything is started."""
    with pytest.raises(PlanInvalid) as caught:
        timeline(shape)
    found = "\n".join(caught.value.lines())
    assert said in found
    assert found.startswith("plan.yaml:")
