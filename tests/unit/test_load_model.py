"""Loads as values: they survive JSON, and refuse what cannot be driven."""

import json
from pathlib import Path

import pytest

from resilience.load import shapes
from resilience.load.drivers import DRIVERS
from resilience.load.model import (
    Assignment,
    Closed,
    Herd,
    HttpRequest,
    PhaseWindow,
    RateSegment,
    Replay,
    Stream,
    run_end_ns,
    share,
)
from resilience.load.plain import from_plain, to_plain
from resilience.load.requests import (
    REQUESTS,
    PostgresRequest,
    RedisRequest,
    Request,
    ScriptRequest,
    SessionRequest,
    WebSocketRequest,
    only_from_here,
)

HTTP = HttpRequest(
    url="http://h/{sku}",
    method="POST",
    headers=(("A", "b"),),
    body=bytes(range(256)),
    data=({"sku": "x"}, {"sku": "y"}),
    expect_status=((200, 200), (404, 404)),
    degraded_header=("X-Degraded", "true"),
    instance_header="X-Instance",
)
REQUEST_SAMPLES = (
    HTTP,
    SessionRequest((HTTP, HTTP), keep_users=3),
    WebSocketRequest(url="ws://h/", messages=("a", "b"), echo=True, hold_ns=5),
    PostgresRequest(dsn="postgresql://h/", arguments=("{i}",), expect_rows=1),
    RedisRequest(url="redis://h/", command=("GET", "{sku}"), data=({"sku": "x"},)),
    ScriptRequest("/a/b.py", "user"),
)
SHAPE_SAMPLES = (
    (RateSegment(0, 5, 1.0, 2.5), RateSegment(5, 9, 2.5, 0.0)),
    Herd(5, 1, 2, 3),
    Replay((1, 2, 2)),
    Closed(3, 1, 0, 9),
)


def stream(request=HTTP, shape=SHAPE_SAMPLES[0], **changes):
    """A stream with every field away from its default."""
    given = {"deadline_ns": 5, "timeout_ns": 6, "record_calls": True, "in_flight_cap": 7, "connections": 8}
    given |= {"correlate": "traceparent", "seed": 9, "arrival": "poisson"}
    return Stream(name="quotes", shape=shape, request=request, **{**given, **changes})


@pytest.mark.parametrize("request_", REQUEST_SAMPLES, ids=lambda request: type(request).__name__)
@pytest.mark.parametrize("shape", SHAPE_SAMPLES, ids=lambda shape: type(shape).__name__)
def test_assignment_survives_json(request_, shape):
    """What a worker reads is what the engine was given."""
    assignment = Assignment((stream(request_, shape),), (PhaseWindow("a", 0, 9, judge=False),), 1, 3, "run")
    assert Assignment.from_json(json.loads(json.dumps(assignment.to_json()))) == assignment


def test_registry_has_a_driver_for_every_request():
    """The two registries have the same names, and a sample of each was tested above."""
    assert set(DRIVERS) == set(REQUESTS)
    assert {type(sample) for sample in REQUEST_SAMPLES} == set(REQUESTS.values())
    root = Path(__file__).parents[2]
    for module, _ in DRIVERS.values():
        assert (root / f"{module.replace('.', '/')}.py").is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (RateSegment(0, 5, 1, 1), RateSegment(4, 9, 1, 1))},
        {"timeout_ns": 0},
        {"in_flight_cap": 0},
    ],
)
def test_stream_refuses_what_cannot_be_driven(wrong):
    """Overlapping segments and bounds of nothing are errors that name the load."""
    with pytest.raises(ValueError, match="load quotes"):
        stream(**wrong)


def test_plain_form_refuses_unknown_fields_and_types():
    """A field that a dataclass does not have, or a value without a plain form, is an error at once."""
    with pytest.raises(TypeError, match="no field colour"):
        from_plain(HttpRequest, {"url": "http://h/", "colour": "red"})
    with pytest.raises(TypeError, match="set"):
        to_plain({"a": {1, 2}})


def test_shares_add_up():
    """What workers divide among them adds up to the whole, and no two differ by more than one."""
    for total in (0, 1, 7, 64):
        parts = [share(total, stripe, 3) for stripe in range(3)]
        assert sum(parts) == total
        assert max(parts) - min(parts) <= 1


def test_shapes_spike_has_its_parts_in_order():
    """Baseline, rise, peak, fall, baseline, without a seam; its phases cover it."""
    durations = {"before_s": 5, "rise_s": 1, "hold_s": 10, "fall_s": 2, "after_s": 5}
    shape = shapes.spike(50, 400, **durations)
    assert [(s.start_per_s, s.end_per_s) for s in shape] == [
        (50, 50),
        (50, 400),
        (400, 400),
        (400, 50),
        (50, 50),
    ]
    assert [s.start_ns // 10**9 for s in shape] == [0, 5, 6, 16, 18]
    phases = shapes.spike_phases(**durations)
    assert [(p.name, p.start_ns // 10**9, p.end_ns // 10**9) for p in phases] == [
        ("baseline", 0, 5),
        ("spike", 5, 18),
        ("recovery", 18, 23),
    ]
    assert run_end_ns(phases) == shape[-1].end_ns


def test_shapes_without_a_rise_jump():
    """Parts of no length are left out."""
    durations = {"before_s": 0, "rise_s": 0, "hold_s": 1, "fall_s": 0, "after_s": 1}
    assert [s.start_per_s for s in shapes.spike(5, 50, **durations)] == [50, 5]
    assert [p.name for p in shapes.spike_phases(**durations)] == ["spike", "recovery"]


def test_shapes_other_forms():
    """Steps, batches, herds, replays and closed models are what their names say."""
    assert shapes.step((10, 1), (20, 2)) == shapes.then(shapes.constant(10, 1), shapes.constant(20, 2))
    assert shapes.batches(25, 3, gap_s=2, at_s=1) == Herd(25, 10**9, 3, 2 * 10**9)
    assert shapes.herd(500) == Herd(500, 0)
    assert shapes.replay([0.5, 0.25]) == Replay((250_000_000, 500_000_000))
    assert shapes.closed(20, think_s=1, duration_s=5) == Closed(20, 10**9, 0, 5 * 10**9)


@pytest.mark.parametrize(
    ("request_", "here"),
    [
        (HttpRequest(url="http://127.0.0.1:8080/{i}"), True),
        (HttpRequest(url="http://localhost/"), True),
        (HttpRequest(url="http://[::1]:80/"), True),
        (HttpRequest(url="http://shop.example/127.0.0.1"), False),
        (HttpRequest(url="http://[shop"), False),
        (SessionRequest((HttpRequest(url="http://shop/a"), HttpRequest(url="http://127.0.0.1/b"))), True),
        (SessionRequest((HttpRequest(url="http://shop/a"),)), False),
        (PostgresRequest("postgresql://shop@127.0.0.1:5432/shop"), True),
        (RedisRequest("redis://cache:6379/0", ("GET", "a")), False),
        (WebSocketRequest(url="ws://127.0.0.1:1/"), True),
        (ScriptRequest("users.py", addresses={"base": "http://127.0.0.1:1"}), True),
        (ScriptRequest("users.py"), False),
    ],
)
def test_request_that_only_this_machine_can_make_is_known(request_: Request, here: bool) -> None:
    """Other machines of a cluster would all fail at it, and the system would be blamed."""
    assert only_from_here(request_) is here
