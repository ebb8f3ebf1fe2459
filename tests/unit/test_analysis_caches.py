"""What a cache server says of itself becomes figures of a run, and a verdict on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_sample import PLAN, record

from resilience.analysis.caches import life_of
from resilience.plan import PlanInvalid, load_text
from resilience.run.caches import read_info
from resilience.run.judge import judge_record


def look(
    boot: str, evicted: int | None = 0, used: int | None = 10, limit: int | None = 100
) -> dict[str, Any]:
    """One look at the server."""
    return {"boot": boot, "evicted": evicted, "used_bytes": used, "limit_bytes": limit}


def test_cache_counts_evictions_of_the_run_alone_and_of_every_start() -> None:
    """What was evicted before the first look is nobody's here; a server that was started meanwhile began at zero."""
    life = life_of([look("a", 5), look("a", 9), look("b", 2), look("b", 3)])
    assert (life.looks, life.evicted, life.restarts) == (4, 7, 1)


def test_cache_that_does_not_say_is_not_guessed() -> None:
    """No limit, no share; no count, no evictions; never seen, nothing."""
    assert life_of([look("a", None, limit=0)]).evicted is None
    assert life_of([look("a", limit=0)]).filled is None
    assert life_of([look("a", used=30), look("a", used=90), look("a", used=20)]).filled == 0.9
    assert (life_of([]).looks, life_of([]).restarts, life_of([]).evicted) == (0, 0, None)


def test_cache_info_is_read_for_what_it_says() -> None:
    """Redis and Valkey name them alike; what is missing, or no number, is null."""
    told = {
        "run_id": "abc",
        "evicted_keys": 3,
        "maxmemory": "lots",
        "db0": {"keys": 4},
        "db1": {"keys": 1},
        "db0x": 1,
    }
    found = read_info(told)
    assert (found["boot"], found["evicted"], found["limit_bytes"], found["hits"], found["keys"]) == (
        "abc",
        3,
        None,
        None,
        5,
    )


EXPECT = 'full: {cache: cache, evicted: "> 0", filled: "<= 1.05", restarts: "== 0"}'


@pytest.mark.parametrize(
    ("looks", "verdict", "observed"),
    [
        ([look("a", 0), look("a", 4, used=104)], "pass", "evicted 4, filled 1.04, restarts 0"),
        ([look("a", 0), look("a", 4, used=120)], "fail", "filled 1.2"),
        ([look("a", 0), look("b", 4)], "fail", "restarts 1"),
        ([look("a", 7), look("a", 7)], "fail", "evicted 0"),
        (
            [look("a", 7), look("b", 0)],
            "fail",
            "evicted at least 0: what was counted last before a restart is lost",
        ),
        ([look("a", 0, limit=None), look("a", 4, limit=0)], "unknown", "filled: the server does not say"),
        ([], "unknown", "nothing"),
    ],
)
def test_cache_expectation_is_judged_by_what_the_server_counts(
    tmp_path: Path, looks: list[dict[str, Any]], verdict: str, observed: str
) -> None:
    """Each figure against its bound; what was not told is unknown, with the reason."""
    plan = PLAN.replace("expect:\n", f"expect:\n  {EXPECT}\n", 1)
    assert EXPECT in plan
    events = [{"kind": "cache", "cache": "cache", **each, "at": [1, 2]} for each in looks]
    found = judge_record(record(tmp_path / "run", plan=plan, observed=tuple(events)))
    (judged,) = [each for each in found["expectations"] if each["id"] == "full"]
    assert judged["verdict"] == verdict, judged
    assert observed in judged["observed"]


@pytest.mark.parametrize(
    ("expectation", "said"),
    [('{cache: cahce, evicted: "> 0"}', "no address 'cahce'"), ("{cache: cache}", "nothing is compared")],
)
def test_cache_expectation_that_cannot_be_meant_is_refused(expectation: str, said: str) -> None:
    """An address that there is not, and an expectation of nothing."""
    plan = PLAN.replace("expect:\n", f"expect:\n  full: {expectation}\n", 1)
    with pytest.raises(PlanInvalid) as refused:
        load_text(plan, source="plan.yaml", environment={})
    assert any(said in line for line in refused.value.lines())
