"""Parts of the pytest plugin that need no process: the timeline, the tables of a load, what is offered for import."""

from __future__ import annotations

import ast
import importlib
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resilience.analysis.checks.load import FIGURES, Window
from resilience.breaker.observation import Call, Fault, Interval, Observation, Transition
from resilience.load.model import HttpRequest, RateSegment, Stream
from resilience.metrics.histogram import Histogram
from resilience.pytest_plugin.achaos import AsyncChaos
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.errors import ChaosSetupError, InvalidRun
from resilience.pytest_plugin.faulting import FaultHandle
from resilience.pytest_plugin.judging import JudgedLoad, Run
from resilience.pytest_plugin.layers import admin_url_of
from resilience.pytest_plugin.loading import LoadHandle
from resilience.pytest_plugin.specs import Spec
from resilience.pytest_plugin.timeline import Violation, draw_timeline
from resilience.pytest_plugin.toxics import down, latency, toxic
from resilience.pytest_plugin.watching import Watched

S = 1_000_000_000
ROOT = Path(__file__).parents[2]


def at(seconds: float) -> Interval:
    """An instant."""
    return Interval(round(seconds * S), round(seconds * S))


def call(start_s: float, outcome: str, instance: str = "a") -> Call:
    """A call of a tenth of a second."""
    return Call("b", instance, str(start_s), at(start_s), at(start_s + 0.1), outcome)


def change(at_s: float, before: str, after: str, instance: str = "a") -> Transition:
    """A transition."""
    return Transition("b", instance, before, after, at(at_s))


def test_timeline_puts_faults_states_and_calls_on_one_axis() -> None:
    """Ten columns of a second each: every mark stands where its instant is, and a brief half-open is not lost."""
    history: list[Observation] = [
        call(0.0, "ok"),
        call(2.1, "failure"),
        call(2.4, "failure"),
        change(2.5, "closed", "open"),
        call(4.0, "rejected"),
        change(7.0, "open", "half_open"),
        change(7.1, "half_open", "closed"),
        call(9.9, "ok"),
    ]
    text = draw_timeline(
        {"b": history}, [Fault("slow", at(2.0), at(6.0))], [Violation("R4", Interval(4 * S, 5 * S))], width=10
    )
    rows = {line[:10].strip(): line[12:22] for line in text.splitlines() if line[:10].strip()}
    assert rows["slow"] == "..=====..."
    assert rows["b"] == "--#####?--"
    assert rows["ok"] == "1        1"
    assert rows["failed"] == "  2       "
    assert rows["rejected"] == "    1     "
    assert rows["violation"] == "....!!...."
    assert "    2.500 s  b: closed to open" in text
    assert text.splitlines()[-1].strip().startswith("7.100 s")


def test_timeline_gives_each_instance_a_lane_and_is_empty_without_observations() -> None:
    """Two instances drawn as one would look like one broken breaker."""
    history: list[Observation] = [change(1, "closed", "open", "a"), change(2, "closed", "open", "b")]
    text = draw_timeline({"price": history}, [])
    assert "price@a  " in text
    assert "price@b  " in text
    assert draw_timeline({}, []) == ""


def test_proxy_layers_are_known_by_url_client_and_container() -> None:
    """Anything that tells host and mapped port will do; anything else is refused with what would."""

    class Container:
        def get_container_host_ip(self) -> str:
            return "192.0.2.1"

        def get_exposed_port(self, port: int) -> str:
            return {8474: "32768"}[port]

    assert admin_url_of("127.0.0.1:8474") == "http://127.0.0.1:8474"
    assert admin_url_of("https://toxi/") == "https://toxi"
    assert admin_url_of(Container()) == "http://192.0.2.1:32768"
    with pytest.raises(ChaosSetupError, match="get_container_host_ip"):
        admin_url_of(object())


def test_toxics_say_what_they_do() -> None:
    """As people read them in a timeline or a failure."""
    assert str(latency(2000, jitter=5)) == "latency(latency=2000, jitter=5)"
    assert str(down()) == "down"
    assert toxic("http_fault", status=503, toxicity=0.5).toxicity == 0.5


def test_plugin_module_offers_what_tests_import_and_imports_nothing_before() -> None:
    """Loaded by every pytest run of every project: it must not draw in our packages, and offers each name."""
    plugin = importlib.import_module("chaos_spike_pytest")
    package = importlib.import_module("resilience.pytest_plugin")
    assert set(package.__all__) == plugin._OFFERED
    assert plugin.latency is package.latency
    with pytest.raises(AttributeError):
        _ = plugin.nothing_of_that_name
    code = "import sys, chaos_spike_pytest; print({m.split('.')[0] for m in sys.modules} & {'resilience', 'faults', 'aiohttp'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_documented_snippets_are_python_and_import_what_there_is() -> None:
    """Each block of docs/pytest.md compiles, and takes from the plugin only what the plugin offers."""
    plugin = importlib.import_module("chaos_spike_pytest")
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/pytest.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) >= 4
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "chaos_spike_pytest":
                assert {alias.name for alias in node.names} <= plugin._OFFERED
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner = {"chaos": Chaos, "achaos": AsyncChaos, "watched": Watched, "Spec": Spec}.get(
                    node.value.id
                )
                made_in_init = {"load", "violations", "spec", "name"}
                assert owner is None or hasattr(owner, node.attr) or node.attr in made_in_init, node.attr


def second(number: int, good: int, slow_ms: float, failed: int = 0) -> dict[str, Any]:
    """A worker's report of one second: so many good answers, each as slow as said."""
    histogram = Histogram()
    for _ in range(good):
        histogram.record(round(slow_ms * 1e6))
    counts = {
        "offered": good + failed,
        "ok": good,
        "good": good,
        "timeout": failed,
        "attempts": good + failed,
    }
    return {
        "kind": "bins",
        "load": "x",
        "phase": "load",
        "s": number,
        "first": good + failed,
        "n": counts,
        "r": histogram.to_json(),
    }


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (0, None),
        (1, None),  # one of twenty: the 95th percentile is the slowest answer
        (2, "p95 is without an answer, at most 500 ms allowed: 40 offered, "),
        (20, "p95 is without an answer, at most 500 ms allowed: 40 offered, "),
    ],
)
def test_p95_of_a_window_counts_what_was_not_answered_as_a_plan_does(
    failed: int, expected: str | None
) -> None:
    """Two seconds of twenty operations each, so many of them without an answer, and quick answers to the rest."""
    stream = Stream("x", (RateSegment(0, 60 * S, 20, 20),), "uniform", HttpRequest("http://x"), S, S)
    load = LoadHandle("x", stream, "run", 1, None, epoch_ns=100 * S, stop_ns=102 * S)  # type: ignore[arg-type]
    load.messages += [second(n, 20 - failed, 10.0, failed=failed) for n in (0, 1)]
    window = JudgedLoad(load).window(0, 2)
    p95 = FIGURES["p95"]
    seen = load.table().bin("x")
    assert window.p95_ns == p95.value(Window(seen, 2.0, ()))
    if expected is None:
        window.assert_p95(at_most_ms=500)
        with pytest.raises(AssertionError, match=r"p95 is 10\.\d ms, at most 5 ms allowed"):
            window.assert_p95(at_most_ms=5)
        return
    with pytest.raises(AssertionError, match=expected):
        window.assert_p95(at_most_ms=500)
    assert p95.show(window.p95_ns) == "without an answer"


@pytest.mark.parametrize(
    ("after_ms", "expected"),
    [([12.0] * 5, 1.0), ([80.0, 80.0, 12.0, 12.0, 12.0], 3.0), ([80.0] * 5, math.inf)],
)
def test_time_to_recover_counts_from_healing_to_health_that_lasts(
    after_ms: list[float], expected: float
) -> None:
    """Four seconds before, three of failures, then seconds as slow as said: the upper end of what bins can know."""
    stream = Stream("x", (RateSegment(0, 60 * S, 20, 20),), "uniform", HttpRequest("http://x"), S, S)
    load = LoadHandle("x", stream, "run", 1, None, epoch_ns=100 * S, stop_ns=112 * S)  # type: ignore[arg-type]
    load.messages += [second(n, 20, 10.0) for n in range(4)] + [
        second(n, 0, 0.0, failed=20) for n in (4, 5, 6)
    ]
    load.messages += [second(7 + n, 20, ms) for n, ms in enumerate(after_ms)]
    fault = FaultHandle("f", None, (), 60.0, None, on_ns=(104 * S, 104 * S), off_ns=(107 * S, 107 * S))  # type: ignore[arg-type]
    assert Run({}, [load], lambda _: None).time_to_recover(fault) == pytest.approx(expected, abs=0.01)
    early = FaultHandle("f", None, (), 60.0, None, on_ns=(100 * S, 100 * S), off_ns=(101 * S, 101 * S))  # type: ignore[arg-type]
    with pytest.raises(InvalidRun, match="nothing was answered before"):
        Run({}, [load], lambda _: None).time_to_recover(early)
