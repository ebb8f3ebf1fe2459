"""docs/external.md and docs/observers.md: what they tell people to write is a plan, and they leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilience.breaker.spec import BreakerSpec
from resilience.load.stimulus import _Breaker, _parts
from resilience.plan import LoadedPlan, load_text
from resilience.plan.schema.breakers import REMOTE_KEYS, Mapped

ROOT = Path(__file__).parents[2]
EXTERNAL = (ROOT / "docs" / "external.md").read_text(encoding="utf-8")
OBSERVERS = (ROOT / "docs" / "observers.md").read_text(encoding="utf-8")
PLAN = (ROOT / "resilience" / "scenarios" / "conformance-external.yaml").read_text(encoding="utf-8")
REST = """
version: 1
name: docs
phases: [{name: all, duration: 1s}]
load: {quotes: {http: {url: /}, rate: 1/s}}
expect: {conforms: {breaker: pricing}}
"""
APPLICATION = """
resilience4j.circuitbreaker.instances.pricing: {slidingWindowSize: 10, minimumNumberOfCalls: 5, waitDurationInOpenState: 1s}
"""


def blocks(page: str, kind: str) -> list[str]:
    """Fenced blocks of a page."""
    return re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL)


def conformance(*settings: str, overlay: str = "") -> LoadedPlan:
    """The built-in plan with what a page lays over it."""
    overlays = [("overlay", overlay)] if overlay else []
    return load_text(PLAN, source="plan", environment={}, settings=settings, overlays=overlays)


def test_external_page_overlay_is_a_plan() -> None:
    """The overlay is taken as it stands, and changes what it says."""
    (overlay,) = blocks(EXTERNAL, "yaml")
    loaded = conformance(overlay=overlay)
    spec = loaded.plan.breakers["dependency"].spec
    assert isinstance(spec, dict)
    assert spec["dialect"] == "resilience4j"
    assert loaded.plan.stimulus["calls"].rejected.header == {"X-Breaker": "rejected"}


def test_external_page_command_is_understood() -> None:
    """Every --set of the command works on the built-in plan."""
    (command,) = blocks(EXTERNAL, "console")
    settings = re.findall(r"--set (\S+)", command)
    assert len(settings) == 4
    spec = conformance(*settings).plan.breakers["dependency"].spec
    assert isinstance(spec, dict)
    assert spec["timeout_ms"] == 300


@pytest.mark.parametrize(
    "setting",
    [
        "external.instances=[{name: a}, {name: b}]",
        "stimulus.calls.rejected=any",
        "stimulus.calls.correlate=traceparent",
    ],
)
def test_external_page_settings_are_understood(setting: str) -> None:
    """Settings that the text names, written as it writes them."""
    assert setting.partition("=")[0] in EXTERNAL
    conformance(setting)


def test_external_page_says_the_defaults() -> None:
    """The address and the route that a service is told are those of the plan."""
    plan = conformance().plan
    assert plan.external is not None
    for default in (
        plan.external.base_url,
        plan.external.proxies["dependency"].listen,
        plan.stimulus["calls"].http.url,
    ):
        assert f"`{default}`" in EXTERNAL


def test_observers_page_plan_is_a_plan() -> None:
    """With the rest of a plan around it, and the file that it reads a specification from."""
    (part,) = blocks(OBSERVERS, "yaml")
    loaded = load_text(REST + part, source="plan", environment={}, read_text=lambda _: APPLICATION)
    assert loaded.plan.breakers["pricing"].observe.remote() == {"actuator": "http://{instance}:8081/actuator"}


def test_observers_page_names_every_way_of_watching() -> None:
    """Each key, and each field of a mapping, stands on the page."""
    for key in REMOTE_KEYS:
        assert re.search(rf"^\| `{key}: ", OBSERVERS, flags=re.MULTILINE), key
    for name, info in Mapped.model_fields.items():
        assert (info.alias or name) in OBSERVERS, name


def test_external_page_has_a_line_for_each_part_of_the_script() -> None:
    """As many parts as are played; the pair of slow calls, and that of stale ones, share a line."""
    parts = _parts(_Breaker(BreakerSpec.from_mapping({"timeout_ms": 9000})))
    assert not [name for name, _, impossible in parts if impossible]
    table = EXTERNAL[EXTERNAL.index("| part |") :].partition("\n\n")[0]
    assert len(parts) - 2 == table.count("\n") - 1
