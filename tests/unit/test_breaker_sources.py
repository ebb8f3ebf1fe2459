"""Specifications read from a Resilience4j application.yml: inheritance, relaxed names, durations, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resilience.breaker.sources.resilience4j import SourceError, read_resilience4j
from resilience.breaker.spec import BreakerSpec
from resilience.plan.files import load_plan
from resilience.plan.loader import load_text
from resilience.plan.problems import PlanInvalid

APPLICATION = """\
server:
  port: 8080
resilience4j:
  circuitbreaker:
    configs:
      default:
        slidingWindowSize: 20
        minimum-number-of-calls: 10
        failureRateThreshold: 40
        registerHealthIndicator: true
      strict:
        base-config: default
        failure-rate-threshold: 25
        waitDurationInOpenState: PT1M30S
    instances:
      pricing:
        wait-duration-in-open-state: 10s
        permittedNumberOfCallsInHalfOpenState: 3
      stock:
        baseConfig: strict
        automatic_transition_from_open_to_half_open_enabled: true
        slow-call-duration-threshold: 250
        slow-call-rate-threshold: 80
      times:
        slidingWindowType: TIME_BASED
        slidingWindowSize: 60
        enableExponentialBackoff: true
        exponentialBackoffMultiplier: 2
        exponentialMaxWaitDurationInOpenState: 1m
        maxWaitDurationInHalfOpenState: 5s
      random:
        waitDurationInOpenState: 1000
        enableRandomizedWait: true
        randomizedWaitFactor: 0.25
      empty: {}
"""


def test_resilience4j_instance_inherits_default_where_it_names_no_base() -> None:
    """Own properties over those of `default`; what neither writes is the library's default."""
    spec = read_resilience4j(APPLICATION, "resilience4j.circuitbreaker.instances.pricing")
    assert spec == {
        "dialect": "resilience4j",
        "trip": "count",
        "window": 20,
        "minimum_calls": 10,
        "ratio": 0.4,
        "close_ratio": 0.4,
        "wait_ms": 10_000,
        "permitted": 3,
    }
    assert read_resilience4j(APPLICATION, "empty")["wait_ms"] == 60_000


def test_resilience4j_base_configs_chain_and_nearer_wins() -> None:
    """`stock` to `strict` to `default`; kebab, camel and snake are one name; a number is milliseconds."""
    spec = read_resilience4j(APPLICATION, "stock")
    assert (spec["ratio"], spec["window"], spec["wait_ms"]) == (0.25, 20, 90_000)
    assert (spec["entry"], spec["slow_ms"], spec["slow_ratio"]) == ("timer", 250, 0.8)


def test_resilience4j_windows_of_time_back_off_and_random_waits() -> None:
    """The rarer properties come out as the specification's own fields, and the specification takes them."""
    times = read_resilience4j(APPLICATION, "times")
    assert (times["trip"], times["window_ms"], times["minimum_calls"]) == ("time", 60_000, 10)
    assert (times["backoff"], times["wait_cap_ms"], times["dwell_ms"]) == (2.0, 60_000, 5_000)
    random = read_resilience4j(APPLICATION, "random")
    assert (random["wait_ms"], random["wait_max_ms"]) == (750.0, 1250.0)
    for name in ("pricing", "stock", "times", "random", "empty"):
        assert BreakerSpec.from_mapping(read_resilience4j(APPLICATION, name)).dialect == "resilience4j"


def test_resilience4j_dotted_keys_brackets_and_profiles() -> None:
    """Keys may be dotted; a name with a dot stands in brackets; documents of a profile count where it is named."""
    text = (
        "resilience4j.circuitbreaker.instances:\n"
        '  "[price.list]":\n    waitDurationInOpenState: 1s\n'
        "---\n"
        "spring.config.activate.on-profile: test\n"
        "resilience4j.circuitbreaker.backends[price.list].wait-duration-in-open-state: 50ms\n"
    )
    assert read_resilience4j(text, "price.list")["wait_ms"] == 1000
    assert read_resilience4j(text, "price.list", profiles=["test"])["wait_ms"] == 50


@pytest.mark.parametrize(
    ("written", "milliseconds"),
    [
        ("10s", 10_000),
        ("PT10S", 10_000),
        ("500", 500),
        ("500ms", 500),
        ("2m", 120_000),
        ("PT0.5S", 500),
        ("1h", 3_600_000),
        ("P1DT1S", 86_401_000),
        ("250us", 0.25),
    ],
)
def test_resilience4j_durations(written: str, milliseconds: float) -> None:
    """Every form that Spring reads."""
    text = f"resilience4j.circuitbreaker.instances.a.wait-duration-in-open-state: {written}\n"
    assert read_resilience4j(text, "a")["wait_ms"] == milliseconds


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "failureRateTreshold: 50",
            r"app\.yml:4: failureRateTreshold: unknown property.*failureRateThreshold",
        ),
        ("waitDurationInOpenState: ${WAIT}", r"app\.yml:4: .*not in this file"),
        ("waitDurationInOpenState: soon", r"app\.yml:4: .*no duration"),
        ("slidingWindowSize: 0", r"app\.yml:4: .*at least 1"),
        ("failureRateThreshold: 101", r"app\.yml:4: .*percentage"),
        ("slidingWindowType: RANDOM", r"app\.yml:4: .*neither COUNT_BASED"),
        ("automaticTransitionFromOpenToHalfOpenEnabled: maybe", r"app\.yml:4: .*neither true nor false"),
        ("baseConfig: shared", r"app\.yml:4: baseConfig: no config 'shared'"),
        ("initialState: OPEN", r"app\.yml:4: .*start closed"),
        ("a: {enableExponentialBackoff: true}", r"app\.yml:4: .*unknown property"),
    ],
)
def test_resilience4j_refuses_with_file_and_line(line: str, complaint: str) -> None:
    """What is not understood is refused where it stands; nothing is guessed."""
    text = f"resilience4j.circuitbreaker:\n  instances:\n    pricing:\n      {line}\n"
    with pytest.raises(SourceError, match=complaint):
        read_resilience4j(text, "pricing", source="app.yml")


def test_resilience4j_refuses_unknown_instances_loops_and_broken_text() -> None:
    """The nearest instance is named; a base that comes back to itself, and text that is no YAML, end in one message."""
    with pytest.raises(SourceError, match=r"no instance 'pricng'.*did you mean 'pricing'"):
        read_resilience4j(APPLICATION, "pricng")
    loop = (
        "resilience4j.circuitbreaker:\n"
        "  configs: {a: {baseConfig: b}, b: {baseConfig: a}}\n"
        "  instances: {x: {baseConfig: a}}\n"
    )
    with pytest.raises(SourceError, match="comes back"):
        read_resilience4j(loop, "x")
    with pytest.raises(SourceError, match=r"broken\.yml:\d+: not YAML"):
        read_resilience4j("a: [1\nb: 2", "x", source="broken.yml")
    both = "resilience4j.circuitbreaker.instances.x: {enableExponentialBackoff: true, enableRandomizedWait: true}"
    with pytest.raises(SourceError, match="refuses"):
        read_resilience4j(both, "x")


PLAN = """\
version: 1
name: from-file
lab: {}
phases: [{name: baseline, duration: 10s}]
load: {quotes: {http: {url: "/x"}, rate: {default: 5/s}}}
breakers:
  pricing: {load: quotes, spec: {file: app/application.yml, path: resilience4j.circuitbreaker.instances.pricing, timeout_ms: 300}}
expect: {steady: {load: quotes, phase: baseline, p95: "< 150ms"}}
"""


def test_plan_takes_a_specification_from_a_file_beside_it(tmp_path: Path) -> None:
    """What the file says, and what the plan adds, stands in the plan and in its record; the file is not needed again."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/application.yml").write_text(APPLICATION)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    loaded = load_plan(plan, environment={})
    spec = loaded.plan.breakers["pricing"].spec
    assert isinstance(spec, dict)
    assert (spec["wait_ms"], spec["timeout_ms"], spec["dialect"]) == (10_000, 300, "resilience4j")
    again = load_text(loaded.recorded, source="record", environment=None)
    assert again.plan.breakers["pricing"].spec == spec


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("app/application.yml", "app/other.yml", r"plan\.yaml:7.*other\.yml: cannot be read"),
        ("instances.pricing", "instances.pricng", r"plan\.yaml:7.*application\.yml: no instance 'pricng'"),
        (
            ", path: resilience4j.circuitbreaker.instances.pricing",
            "",
            r"plan\.yaml:7.*needs `file` and `path`",
        ),
    ],
)
def test_plan_refuses_a_specification_that_cannot_be_read(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    """A missing file, an unknown instance and a missing path are problems of the plan, at their line in it."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/application.yml").write_text(APPLICATION)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.replace(old, new))
    with pytest.raises(PlanInvalid) as refused:
        load_plan(plan, environment={})
    assert re.search(complaint, "\n".join(refused.value.lines()))
