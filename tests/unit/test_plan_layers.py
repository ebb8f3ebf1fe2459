"""Overlays and settings: each mistake is named at the text that it stands in."""

from __future__ import annotations

import pytest

from resilience.plan import PlanInvalid, load_text

PLAN = """\
version: 1
name: demo
lab: {}
phases: [{name: baseline, duration: 10s}]
load:
  quotes: &quotes
    http: {url: "/quotes"}
    rate: {default: 10/s}
  orders: *quotes
expect:
  steady: {load: quotes, phase: baseline, p95: "< 150ms"}
"""


def lines(*, overlays: tuple[str, ...] = (), settings: tuple[str, ...] = (), text: str = PLAN) -> list[str]:
    """What is said of the plan with these laid over it."""
    over = [(f"over{index}.yaml", overlay) for index, overlay in enumerate(overlays)]
    with pytest.raises(PlanInvalid) as caught:
        load_text(text, source="plan.yaml", environment={}, overlays=over, settings=settings)
    return caught.value.lines()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("name=[x", "--set name: "),
        ("name=!!python/object:x", "--set name: could not determine a constructor"),
        ("name=!!bool x", "--set name: not YAML"),
        ("name=&a [*a]", "--set name: not YAML: an alias stands inside"),
        ("name=\x00", "--set name: not YAML"),
        ("name=2001-99-99", "--set name: not YAML"),
        ("nothing", "--set: 'nothing': write --set path.to.key=value"),
        ("phases.7.duration=1s", "--set phases.7.duration: phases has entries 0 to 0, not '7'"),
        ("phases.².duration=1s", "--set phases.².duration: phases has entries 0 to 0"),
        ("name.x=1", "--set name.x: name is a single value"),
        ("load.quotes.rate.default=5", "--set load.quotes.rate.default: load.quotes.rate.default: 5 is not a rate"),
        ("load.quotes.rte=5", "--set load.quotes.rte: load.quotes.rte: unknown key 'rte'; did you mean 'rate'?"),
        ("expect.steady=x", "--set expect.steady: expect.steady: needs keys with values, such as `key: value`, not 'x'"),
        ("load.new.rate=5/s", "--set load.new.rate: load.new: says nothing of what one call is"),
        ('load.quotes.http.url="${X:?say it}"', "--set load.quotes.http.url: load.quotes.http.url: the variable X"),
    ],
)  # fmt: skip
def test_mistake_of_a_setting_is_the_settings(setting: str, said: str) -> None:
    """Broken YAML, a path that leads nowhere and a wrong value: `--set key`, no line of the plan, no traceback."""
    found = lines(settings=(setting,))
    assert len(found) == 1
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        (
            "load:\n  quotes:\n    rate: {default: 20}\n",
            "over0.yaml:3:21: load.quotes.rate.default: 20 is not a rate",
        ),
        ("load:\n  quotes:\n    rte: 3/s\n", "over0.yaml:3:5: load.quotes.rte: unknown key 'rte'"),
        ("\nphases:\n  - {name: baseline, duration: 3}\n", "over0.yaml:3:32: phases.0.duration: a duration"),
        ("expect: {steady: {p95: 3}}\n", "over0.yaml:1:24: expect.steady.p95: 3 is not a comparison"),
        ("expect: {steady: {phase: base}}\n", "over0.yaml:1:26: expect.steady.phase: no phase 'base'"),
        ("a: [\n", "over0.yaml:2:1: "),
        (
            "phases: {baseline: {duration: 9s}}\n",
            "over0.yaml:1:9: phases: needs a list, such as [a, b] or lines",
        ),
        ("phases: [{name: b, duration: 9s}]\n", "plan.yaml:11:33: expect.steady.phase: no phase 'baseline'"),
    ],
)
def test_mistake_of_an_overlay_has_the_overlays_place(overlay: str, said: str) -> None:
    """Its own file, line and column; what it breaks elsewhere is named where that stands."""
    assert lines(overlays=(overlay,))[0].startswith(said)


def test_overlay_that_means_one_entry_of_a_list_is_told_how() -> None:
    """In the words of YAML: nobody who writes a plan has ever seen a tuple."""
    (said,) = lines(overlays=("phases: {baseline: {duration: 9s}}\n",))
    assert said.endswith("an overlay replaces a list as a whole, --set phases.0.KEY=VALUE changes one entry")
    assert "--set" not in lines(overlays=("phases: x\n",))[0]


def test_last_layer_owns_what_it_replaced() -> None:
    """An overlay over an overlay, a setting over both, and a whole mapping over single keys."""
    first, second = "load: {quotes: {rate: {default: 1}}}\n", "load: {quotes: {rate: 2}}\n"
    assert lines(overlays=(first, second))[0].startswith("over1.yaml:1:23: load.quotes.rate")
    assert lines(overlays=(first, "purpose: x\n"))[0].startswith("over0.yaml:1:")
    assert lines(overlays=(first,), settings=("load.quotes.rate.default=3",))[0].startswith(
        "--set load.quotes.rate"
    )


def test_layers_change_one_place_of_an_alias() -> None:
    """What is laid over `quotes` does not reach `orders`, though both are one mapping in the plan."""
    loaded = load_text(PLAN, source="p", environment={}, settings=["load.quotes.rate.default=20/s"])
    assert loaded.plan.load["quotes"].rate["default"] == 20
    assert loaded.plan.load["orders"].rate["default"] == 10


def test_problems_of_all_layers_come_together() -> None:
    """The plan's first, then the overlay's."""
    found = lines(text=PLAN.replace("10s", "10"), overlays=("expect: {steady: {p95: 3}}\n",))
    assert [line.split(":")[0] for line in found] == ["plan.yaml", "over0.yaml"]


@pytest.mark.parametrize("text", ["a: !!omap x\n", "a: !!bool x\n", "a: 2001-99-99\n"])
def test_plan_that_no_tree_can_be_made_of_is_refused(text: str) -> None:
    """Tags and dates that do not fit their values."""
    assert lines(text=text)[0].startswith("plan.yaml:1:1: not YAML")


def test_aliases_that_grow_beyond_measure_are_refused() -> None:
    """A text of a few lines that would be millions of values."""
    rows = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert "aliases" in lines(text=rows)[0]


def test_anchor_that_is_set_again_is_yaml_and_nothing_to_talk_about(recwarn: pytest.WarningsRecorder) -> None:
    """From there on it stands for the new thing; no warning of a library reaches who wrote the plan."""
    text = PLAN + 'purpose: &quotes "again"\n'
    assert load_text(text, source="p", environment={}).plan.purpose == "again"
    assert not recwarn.list
