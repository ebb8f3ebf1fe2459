"""The judge on faults on processes and containers, and on an engine that went away meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_sample import EPOCH, PLAN, S, record

from resilience.run.judge import judge_record

ON_PROXY = "{id: down, proxy: db, enabled: false, start: spike+2s, duration: 4s}"
AT = [EPOCH + 13 * S, EPOCH + 13 * S]
AWAY = {"kind": "doubt", "text": "the Docker engine went away"}


def plan(fault: str) -> str:
    """The sample's plan with another fault of the same name and time."""
    return PLAN.replace(ON_PROXY, f"{{id: down, {fault}, start: spike+2s, duration: 4s}}")


def test_judge_tells_what_was_done_to_which_process(tmp_path: Path) -> None:
    """Its kind and target stand in the verdict; the calls to what it serves are the evidence that it was met."""
    verdict = judge_record(record(tmp_path / "run", plan=plan("process: postgres, restart: true")))
    assert verdict["verdict"] == "pass"
    [fault] = verdict["faults"]
    assert (fault["on"], fault["kind"], fault["target"]) == ("process", "restart", "postgres")
    assert fault["toxiproxy"] is None
    assert fault["verified"]


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        ({"kind": "health", "stage": "during", "instance": "gateway-1", "live": None}, "pass"),
        ({"kind": "health", "stage": "during", "instance": "gateway-1", "live": False}, "pass"),
        ({"kind": "resource", "service": "gateway", "process": "gateway-1", "pid": 7, "gone": True}, "pass"),
        ({"kind": "health", "stage": "during", "instance": "gateway-1", "live": True}, "unknown"),
        ({"kind": "health", "stage": "during", "instance": "gateway-2", "live": None}, "unknown"),
        (
            {"kind": "resource", "service": "gateway", "process": "gateway-1", "pid": 7, "rss_bytes": 1},
            "unknown",
        ),
    ],
)
def test_fault_on_a_gateway_shows_in_what_is_seen_of_it(
    tmp_path: Path, seen: dict[str, Any], verdict: str
) -> None:
    """Others may serve in its place so that no caller suffers; it must have been missed itself."""
    observed = {"service": "gateway", "at": AT, **seen}
    found = judge_record(
        record(
            tmp_path / "run", plan=plan("process: gateway-1, freeze: true"), met=False, observed=(observed,)
        )
    )
    assert found["verdict"] == verdict, found["reason"]


@pytest.mark.parametrize(("action", "verdict"), [("restart", "pass"), ("kill", "unknown")])
def test_restart_is_over_when_it_has_gone_in(tmp_path: Path, action: str, verdict: str) -> None:
    """Three of the four seconds that were planned are enough for a restart; what is killed was to be away that long."""
    steps = (("injected", 12.0), ("healed", 15.0), ("verified", 15.1))
    found = judge_record(
        record(tmp_path / "run", plan=plan(f"process: postgres, {action}: true"), steps=steps)
    )
    assert found["verdict"] == verdict, found["reason"]


@pytest.mark.parametrize("reason", ["completed", "setup_failed", "unhealed"])
def test_run_whose_engine_went_away_is_invalid(tmp_path: Path, reason: str) -> None:
    """Also where a fault could not be put in, or not be taken out in time, and where what was expected is broken."""
    run = record(
        tmp_path / "run",
        failing=range(13, 16),
        observed=(AWAY,),
        ended={"reason": reason, "detail": "the engine", "signal": 0},
    )
    verdict = judge_record(run)
    assert verdict["verdict"] == "invalid"
    assert verdict["reason"] == "the Docker engine went away"


def test_fault_left_in_place_is_worse_than_an_engine_that_went_away(tmp_path: Path) -> None:
    """Exit 5 then."""
    run = record(tmp_path / "run", steps=(("injected", 12.0), ("unhealed", 16.0)), observed=(AWAY,))
    assert judge_record(run)["verdict"] == "unhealed"


def test_interrupted_run_stays_interrupted(tmp_path: Path) -> None:
    """Who stops a run is told so, whatever the engine did."""
    run = record(
        tmp_path / "run", observed=(AWAY,), ended={"reason": "interrupted", "detail": "x", "signal": 2}
    )
    assert judge_record(run)["verdict"] == "aborted"
