"""Laws of the schedule over every shape that a plan can name: validated, compiled, and handed to workers as a run does."""

from __future__ import annotations

import heapq
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from resilience.load import schedule
from resilience.load.model import Closed, Stream
from resilience.plan import Plan, compile_plan
from resilience.plan.inlining import Beside, inline_load
from resilience.run.streams import load_phases, load_streams

RATE = st.integers(0, 200).map(lambda n: f"{n}/s")
SOME = st.integers(1, 200).map(lambda n: f"{n}/s")
MS = st.integers(0, 300).map(lambda n: f"{n}ms")
POSITIVE_MS = st.integers(1, 300).map(lambda n: f"{n}ms")
"""The phases below last a second: three of these and a little fit into one."""

RATES_OF_A_PHASE = st.one_of(
    RATE,
    st.fixed_dictionaries({"ramp": SOME}, optional={"rise": MS, "fall": MS}),
    st.fixed_dictionaries({"from": RATE, "to": SOME}),
    st.fixed_dictionaries({"step": st.lists(RATE, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"step": st.lists(RATE, min_size=1, max_size=3), "each": POSITIVE_MS}),
    st.fixed_dictionaries({"spike": SOME, "hold": POSITIVE_MS}, optional={"after": MS, "rise": MS}),
    st.fixed_dictionaries({"spike": SOME, "rise": POSITIVE_MS, "fall": MS}, optional={"after": MS}),
)
RATED = st.fixed_dictionaries(
    {
        "rate": st.fixed_dictionaries(
            {"default": SOME}, optional={"calm": RATES_OF_A_PHASE, "rush": RATES_OF_A_PHASE}
        )
    },
    optional={"arrival": st.sampled_from(["uniform", "poisson"])},
)
MOMENT = st.sampled_from(["0s", "calm+200ms", "rush", "rush+1ms", "end-1100ms"])
HERDS = st.one_of(
    st.fixed_dictionaries({"users": st.integers(1, 50)}, optional={"start": MOMENT}),
    st.fixed_dictionaries(
        {"users": st.integers(1, 50), "waves": st.integers(2, 4), "every": POSITIVE_MS},
        optional={"start": MOMENT},
    ),
).map(lambda herd: {"herd": herd})
REPLAYS = st.one_of(
    st.lists(st.integers(0, 900).map(lambda n: f"{n}ms"), min_size=1, max_size=30).map(
        lambda found: {"replay": {"offsets": found, "start": "rush"}}
    ),
    st.just({"replay": "trace.csv"}),
)
USERS = st.fixed_dictionaries(
    {"users": st.integers(1, 30)},
    optional={"think": MS, "start": st.just("rush"), "end": st.just("end-10ms")},
)
OPEN = st.one_of(RATED, HERDS, REPLAYS)
END_NS = 2_100_000_000
SEEDS = st.integers(0, 2**63)


def stream_of(shape: dict[str, object], seed: int) -> Stream:
    """The stream that workers get for a load of this shape, in a plan of two phases of a second and a short last one."""
    values = {
        "version": 1,
        "name": "laws",
        "lab": {},
        "phases": [
            {"name": "calm", "duration": "1s"},
            {"name": "rush", "duration": "1s"},
            {"name": "last", "duration": "100ms"},
        ],
        "load": {"x": {"http": {"url": "/"}, **shape}},
        "expect": {"e": {"load": "x", "errors": "< 1%"}},
    }
    inline_load(values, Beside(text=lambda _: "seconds\n0.25\n1\n100ms\n1.9\n"), [])
    plan = Plan.model_validate(values)
    timeline = compile_plan(plan)
    (stream,) = load_streams(plan, timeline, "http://127.0.0.1:1", seed)
    assert Stream.from_json(json.loads(json.dumps(stream.to_json()))) == stream
    scheduled = schedule.counts_by_phase(stream, load_phases(timeline))
    assert sum(scheduled.values()) == len(due(stream))
    return stream


def due(stream: Stream, stripe: int = 0, stripes: int = 1) -> list[int]:
    """The offsets of a stripe."""
    return list(schedule.offsets(stream.shape, stream.arrival, stream.seed, stripe=stripe, stripes=stripes))


@settings(deadline=None)
@given(OPEN, SEEDS, st.integers(0, END_NS))
def test_plan_shape_count_agrees_with_iterator(shape: dict[str, object], seed: int, at: int) -> None:
    """However a shape is written, as many arrivals are counted before an instant as are due before it."""
    stream = stream_of(shape, seed)
    offsets = due(stream)
    for t in {0, at, 10**9, END_NS, *offsets[:2], *[x + 1 for x in offsets[-2:]]}:
        assert schedule.count(stream.shape, stream.arrival, stream.seed, t) == sum(x < t for x in offsets)


@settings(deadline=None)
@given(OPEN, SEEDS, st.integers(1, 5))
def test_plan_shape_stripes_reunite(shape: dict[str, object], seed: int, stripes: int) -> None:
    """Workers share a plan's load without losing or doubling an arrival."""
    stream = stream_of(shape, seed)
    whole = due(stream)
    parts = [due(stream, stripe, stripes) for stripe in range(stripes)]
    assert list(heapq.merge(*parts)) == whole
    assert all(part == whole[stripe::stripes] for stripe, part in enumerate(parts))


@settings(deadline=None)
@given(OPEN, SEEDS)
def test_plan_shape_is_reproduced_by_its_seed(shape: dict[str, object], seed: int) -> None:
    """The same plan and seed come to the same schedule, in order and inside the run; another seed moves only Poisson arrivals."""
    offsets = due(stream_of(shape, seed))
    assert offsets == due(stream_of(shape, seed)) == sorted(offsets)
    assert all(0 <= offset < END_NS for offset in offsets)
    if shape.get("arrival") != "poisson":
        assert offsets == due(stream_of(shape, seed ^ 1))


@settings(deadline=None)
@given(USERS, SEEDS)
def test_plan_users_have_no_schedule(shape: dict[str, object], seed: int) -> None:
    """A closed model follows its answers: nothing is due by itself, and its users stay inside the run."""
    stream = stream_of(shape, seed)
    assert isinstance(stream.shape, Closed)
    assert due(stream) == []
    assert stream.shape.users == shape["users"]
    assert 0 <= stream.shape.start_ns < stream.shape.end_ns <= END_NS
