"""Loading plans: what is wrong is said with file:line:column, and nothing secret is written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.plan import PlanInvalid, load_plan, load_text

PLAN = """\
version: 1
name: demo
lab: {}
phases:
  - {name: baseline, duration: 10s}
  - {name: spike, duration: 20s}
load:
  quotes:
    http:
      url: "/api/quote/{sku}"
      data: [{sku: "1"}]
    rate: {default: 10/s, spike: {ramp: 40/s, rise: 2s, fall: 2s}}
faults:
  - {id: slow, proxy: pricing, toxic: {type: latency, attributes: {latency: 2000}}, start: spike+2s, duration: 5s}
breakers:
  pricing: {load: quotes, observe: {wire: pricing}}
expect:
  steady: {load: quotes, phase: baseline, p95: "< 150ms"}
  opens: {breaker: pricing, fault: slow, within: 5s}
"""


def problems(text: str) -> str:
    """All problems of a plan, one a line."""
    with pytest.raises(PlanInvalid) as caught:
        load_text(text, source="plan.yaml", environment={})
    return "\n".join(caught.value.lines())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("proxy: pricing, toxic", "prxy: pricing, toxic", "plan.yaml:14:16: faults.0.prxy: unknown key 'prxy'; did you mean 'proxy'?"),
        ("duration: 5s", "duration: 5", "plan.yaml:14:112: faults.0.duration: a duration needs a unit"),
        ("spike+2s", "spik+2s", "plan.yaml:14:92: faults.0.start: no phase 'spik'; did you mean 'spike'?"),
        ("proxy: pricing, toxic", "proxy: prcing, toxic", "plan.yaml:14:23: faults.0.proxy: no proxy 'prcing'; did you mean 'pricing'?"),
        ("type: latency", "type: latncy", "plan.yaml:14:46: faults.0.toxic.type: no toxic 'latncy'; did you mean 'latency'?"),
        ("latency: 2000", "latncy: 2000", "plan.yaml:14:68: faults.0.toxic.attributes.latncy: no attribute 'latncy' of latency; did you mean 'latency'?"),
        ("version: 1", "version: 2", "plan.yaml:1:10: version: input should be 1, not 2"),
        ("duration: 5s", "duration: 50s", "plan.yaml:14:112: faults.0.duration: the fault would last until 62 s, after the end of the run at 30 s"),
        ('p95: "< 150ms"', "p95: 150ms", "'150ms' is not a comparison"),
        ('p95: "< 150ms"', "p59: 3", "unknown key 'p59'; did you mean 'p99'?"),
        ("load: quotes, observe", "load: quote, observe", "breakers.pricing.load: no load 'quote'; did you mean 'quotes'?"),
        ("rise: 2s", "rise: 30s", "rise and fall together are longer than the phase"),
        ("name: spike", "name: [x", "plan.yaml:6:29: expected ',' or ']', but got '}'"),
        ("  - {name: baseline", "  - {name: spike", "the phase 'spike' exists already"),
        ("toxic: {type: latency, attributes: {latency: 2000}}, ", "", "exactly one of them"),
        ("lab: {}", "", "name the system"),
        ("fault: slow", "fault: quick", "no fault 'quick'"),
        ("{default: 10/s, spike: {ramp: 40/s, rise: 2s, fall: 2s}}", "0/s", "never sends anything"),
    ],
)  # fmt: skip
def test_loader_says_where_and_what(old: str, new: str, said: str) -> None:
    """Each mistake is named with its place and a way out."""
    assert old in PLAN
    assert said in problems(PLAN.replace(old, new, 1))


def test_loader_reports_all_problems_at_once_in_order() -> None:
    """Several mistakes are as many lines, in the order of the file: of its shape, and then of its names."""
    shape = PLAN
    for old, new in (("ramp: 40/s", "ramp: 40"), ("within: 5s", "wthin: 5s"), ("version: 1", "version: 2")):
        assert old in shape
        shape = shape.replace(old, new)
    places = [":".join(line.split(":")[:3]) for line in problems(shape).splitlines()]
    assert places == ["plan.yaml:1:10", "plan.yaml:12:41", "plan.yaml:19:3", "plan.yaml:19:42"]
    names = PLAN
    for old, new in (
        ("proxy: pricing", "proxy: x"),
        ("wire: pricing", "wire: x"),
        ("fault: slow", "fault: x"),
    ):
        assert old in names
        names = names.replace(old, new)
    places = [":".join(line.split(":")[:3]) for line in problems(names).splitlines()]
    assert places == ["plan.yaml:14:23", "plan.yaml:16:43", "plan.yaml:19:36"]


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [\n", "\x00", "version: 1\nversion: 1\n", "&a [*a]"])
def test_loader_refuses_what_is_no_plan(text: str) -> None:
    """Empty files, lists, broken YAML and duplicate keys end in a message, never in a traceback."""
    assert "plan.yaml" in problems(text)


def test_loader_fills_variables_and_asks_for_missing_ones() -> None:
    """`${VAR:?message}` stops with the message and the place; a given value is used."""
    text = PLAN.replace("10/s, spike", '"${RATE:?say how many}", spike')
    assert (
        "plan.yaml:12:21: load.quotes.rate.default: the variable RATE is not set: say how many"
        in problems(text)
    )
    loaded = load_text(text, source="p", environment={"RATE": "7/s"})
    assert loaded.plan.load["quotes"].rate["default"] == 7.0
    assert (
        load_text(PLAN.replace("10/s, spike", '"${RATE:-9/s}", spike'), source="p", environment={})
        .plan.load["quotes"]
        .rate["default"]
        == 9.0
    )


def test_recorded_plan_holds_no_secret_and_compiles_to_the_same_timeline() -> None:
    """What a variable gave to a request stays out of the record; a literal credential is masked."""
    text = PLAN.replace(
        "      data:",
        '      headers: {Authorization: "Bearer ${TOKEN:?x}", Cookie: "id=literal"}\n      data:',
    )
    loaded = load_text(text, source="p", environment={"TOKEN": "hush-hush"})
    assert loaded.plan.load["quotes"].http.headers["Authorization"] == "Bearer hush-hush"
    assert "hush-hush" not in loaded.recorded
    assert "literal" not in loaded.recorded
    again = load_text(loaded.recorded, source="recorded", environment=None)
    assert again.timeline == loaded.timeline


def test_settings_and_overlays_change_single_values() -> None:
    """`--set` reaches into mappings and lists; an overlay merges; both are checked like the plan itself."""
    loaded = load_text(
        PLAN,
        source="p",
        environment={},
        overlays=[("o.yaml", "load: {quotes: {rate: {default: 20/s}}}\n")],
        settings=["faults.0.duration=3s"],
    )
    assert loaded.plan.load["quotes"].rate["default"] == 20.0
    assert loaded.timeline.faults[0].end_ns == 15 * 10**9
    for bad in ("nothing", "faults.9.duration=1s", "name.x=1"):
        with pytest.raises(PlanInvalid, match="--set"):
            load_text(PLAN, source="p", environment={}, settings=[bad])


def test_data_file_is_read_beside_the_plan(tmp_path: Path) -> None:
    """Rows come from the CSV beside the plan; a missing file is a problem of that key."""
    (tmp_path / "p.yaml").write_text(PLAN.replace('[{sku: "1"}]', "skus.csv"))
    place = r"p.yaml:11:13: load.quotes.http.data: .*skus.csv "
    with pytest.raises(PlanInvalid, match=place + "cannot be read"):
        load_plan(tmp_path / "p.yaml", environment={})
    (tmp_path / "skus.csv").write_text("sku\n")
    with pytest.raises(PlanInvalid, match=place + "has no rows"):
        load_plan(tmp_path / "p.yaml", environment={})
    (tmp_path / "skus.csv").write_text("sku\n" + "1\n" * 100_001)
    with pytest.raises(PlanInvalid, match=place + "is larger"):
        load_plan(tmp_path / "p.yaml", environment={})
    (tmp_path / "skus.csv").write_text("sku\n1\n2\n")
    loaded = load_plan(tmp_path / "p.yaml", environment={})
    assert loaded.plan.load["quotes"].http.data == ({"sku": "1"}, {"sku": "2"})


def test_plan_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    """Missing, too large and undecodable files end in one message."""
    with pytest.raises(PlanInvalid, match="cannot be read"):
        load_plan(tmp_path / "none.yaml", environment={})
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    with pytest.raises(PlanInvalid, match="UTF-8"):
        load_plan(tmp_path / "latin.yaml", environment={})


def test_builtin_plans_load() -> None:
    """Every plan that comes with the tool is valid and says what it protects."""
    folder = Path(__file__).parents[2] / "resilience" / "scenarios"
    plans = sorted(folder.glob("*.yaml"))
    assert plans
    for path in plans:
        loaded = load_plan(path, environment={})
        assert loaded.plan.purpose
        assert loaded.plan.name == path.stem
