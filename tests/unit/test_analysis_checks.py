"""The checkers of breakers, amplification and resources: what holds, what does not, and what is not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_sample import EPOCH, PLAN, S, record

from resilience.run.judge import judge_record

BREAKER_PLAN = PLAN.replace(
    "expect:",
    """breakers:
  db: {load: orders, spec: {dialect: strict, failures: 5, wait_ms: 1000, timeout_ms: 300}}
expect:
  opens: {breaker: db, fault: down, within: 1s}
  keeps: {breaker: db, require: [R1]}
  no_storm: {proxy: db, amplification: "< 1.1"}
  memory: {service: gateway, growth: "< 10MB", restarts: "== 0"}""",
)
INSTANCES = [
    {"service": "gateway", "name": f"gateway-{n}", "admin_url": None, "pid": None, "boot": None}
    for n in (1, 2)
]
ENVIRONMENT = {"stack": "embedded", "system": {"base_url": "http://127.0.0.1:1", "instances": INSTANCES}}


def moved(instance: str, at_s: float, before: str, after: str) -> dict[str, Any]:
    """A transition as an observer emits it."""
    ns = EPOCH + int(at_s * S)
    return {"kind": "breaker.transition", "breaker": "db", "instance": instance, "boot": "b", "from": before,
            "to": after, "at": [ns, ns], "seq": int(at_s * 10), "source": "sse"}  # fmt: skip


def path_of(instance: str, *, opened_s: float = 12.4) -> tuple[dict[str, Any], ...]:
    """One opening and one recovery."""
    return (
        moved(instance, opened_s, "closed", "open"),
        moved(instance, 16.2, "open", "half_open"),
        moved(instance, 16.3, "half_open", "closed"),
    )


def arrived(number: int, request_id: str) -> dict[str, Any]:
    """A request that the tap saw."""
    at = [EPOCH + 13 * S, EPOCH + 13 * S]
    return {"kind": "wire", "proxy": "db", "what": "arrival", "n": number, "id": request_id, "at": at}


def resident(second: int, rss_bytes: int) -> dict[str, Any]:
    """A sample of a gateway's memory."""
    at = [EPOCH + second * S, EPOCH + second * S]
    return {
        "kind": "resource",
        "service": "gateway",
        "pid": 7,
        "rss_bytes": rss_bytes,
        "cpu_s": 0.0,
        "at": at,
    }


def judged(folder: Path, *observed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of the verdict by expectation."""
    reader = record(folder / "run", plan=BREAKER_PLAN, observed=observed, environment=ENVIRONMENT)
    return {row["id"]: row for row in judge_record(reader)["expectations"]}


BOTH = (*path_of("gateway-1"), *path_of("gateway-2"))


def test_opens_holds_when_every_instance_opened_in_time(tmp_path: Path) -> None:
    """Both instances, both in time."""
    row = judged(tmp_path, *BOTH)["opens"]
    assert row["verdict"] == "pass"
    assert row["observed"] == "gateway-1 0.400 s, gateway-2 0.400 s"


def test_opens_fails_when_one_instance_was_late(tmp_path: Path) -> None:
    """Late is late, and the row says where to look."""
    row = judged(tmp_path, *path_of("gateway-1"), *path_of("gateway-2", opened_s=13.5))["opens"]
    assert row["verdict"] == "fail"
    assert row["at_s"] == pytest.approx(13.0, abs=0.01)


def test_opens_is_unknown_for_a_breaker_that_was_open_already(tmp_path: Path) -> None:
    """A breaker that opened before the fault says nothing about the fault, though it opens again during it."""
    early = (
        moved("gateway-2", 11.5, "closed", "open"),
        moved("gateway-2", 12.5, "open", "half_open"),
        moved("gateway-2", 12.6, "half_open", "open"),
        moved("gateway-2", 16.2, "open", "half_open"),
        moved("gateway-2", 16.3, "half_open", "closed"),
    )
    row = judged(tmp_path, *path_of("gateway-1"), *early)["opens"]
    assert (row["verdict"], row["observed"]) == ("unknown", "gateway-1 0.400 s, gateway-2 was already open")


@pytest.mark.parametrize("expectation", ["opens", "keeps"])
def test_an_instance_of_which_nothing_is_known_is_not_one_that_conforms(
    tmp_path: Path, expectation: str
) -> None:
    """The system has two instances and one was observed: every instance is more than was seen."""
    row = judged(tmp_path, *path_of("gateway-1"))[expectation]
    assert row["verdict"] == "unknown"
    assert "gateway-2" in row["observed"]


@pytest.mark.parametrize("expectation", ["opens", "keeps"])
def test_a_breaker_that_nobody_observed_is_unknown(tmp_path: Path, expectation: str) -> None:
    """No evidence is not a pass."""
    assert judged(tmp_path)[expectation]["verdict"] == "unknown"


def test_amplification_counts_requests_per_distinct_id(tmp_path: Path) -> None:
    """Three requests for two ids are a storm; a record delivered twice is one request; foreign ids do not count."""
    calm = [
        arrived(1, "r-orders-1"),
        arrived(2, "r-orders-2"),
        arrived(2, "r-orders-2"),
        arrived(3, "x-orders-2"),
    ]
    assert judged(tmp_path / "calm", *calm)["no_storm"]["verdict"] == "pass"
    storm = judged(tmp_path / "storm", *calm, arrived(4, "r-orders-2"))["no_storm"]
    assert (storm["verdict"], storm["observed"]) == ("fail", "1.5")


def test_amplification_is_unknown_where_the_tap_lost_records(tmp_path: Path) -> None:
    """A retry may be among what was lost."""
    gap = {"kind": "gap", "source": "tap", "proxy": "db", "lost": 5000, "at": [EPOCH, EPOCH + S]}
    assert judged(tmp_path, arrived(1, "r-orders-1"), gap)["no_storm"]["verdict"] == "unknown"


def test_amplification_without_a_tap_is_unknown(tmp_path: Path) -> None:
    """Nothing seen is nothing known."""
    assert judged(tmp_path)["no_storm"]["verdict"] == "unknown"


@pytest.mark.parametrize(("grown_bytes", "verdict"), [(5_000_000, "pass"), (20_000_000, "fail")])
def test_memory_is_judged_by_first_and_last_tenth(tmp_path: Path, grown_bytes: int, verdict: str) -> None:
    """Growth beyond the bound fails."""
    samples = [resident(second, 100_000_000 + (grown_bytes if second > 20 else 0)) for second in range(35)]
    assert judged(tmp_path, *samples)["memory"]["verdict"] == verdict


def test_memory_of_a_process_that_went_away_is_a_restart(tmp_path: Path) -> None:
    """A process that is gone counts, however little memory it used."""
    samples = [resident(second, 100) for second in range(30)]
    gone = {"kind": "resource", "service": "gateway", "pid": 7, "gone": True, "at": [EPOCH + 31 * S] * 2}
    assert judged(tmp_path, *samples, gone)["memory"]["verdict"] == "fail"


def test_memory_out_of_reach_is_unknown(tmp_path: Path) -> None:
    """No process of the service was within reach."""
    assert judged(tmp_path)["memory"]["verdict"] == "unknown"
