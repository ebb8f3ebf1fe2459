"""The judge on records written by hand: precedence of verdicts, and what missing evidence comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_sample import EPOCH, PLAN, STEPS, S, record

from resilience.run.judge import judge_record


def by_id(verdict: dict[str, Any]) -> dict[str, str]:
    """Verdict of each expectation."""
    return {row["id"]: row["verdict"] for row in verdict["expectations"]}


def test_judge_passes_a_run_in_which_everything_held(tmp_path: Path) -> None:
    """All expectations, with figures; recovery as an interval; the fault with its times."""
    verdict = judge_record(record(tmp_path / "run"))
    assert verdict["verdict"] == "pass", verdict["reason"]
    assert by_id(verdict) == {"calm": "pass", "protected": "pass", "recovers": "pass"}
    assert verdict["recovery"]["down"]["time_to_recover_s"]["plus_minus"] <= 0.5
    assert verdict["faults"][0]["verified"] is True
    assert verdict["faults"][0]["injected"]["at_s"] == [12.0, 12.001]


def test_judge_fails_on_a_broken_expectation_and_says_when(tmp_path: Path) -> None:
    """Half of the orders fail from second 13 on: named, with the second."""
    verdict = judge_record(record(tmp_path / "run", failing=range(13, 16)))
    assert verdict["verdict"] == "fail"
    assert verdict["reason"].startswith("protected: expected errors < 1%")
    broken = next(row for row in verdict["expectations"] if row["id"] == "protected")
    assert broken["at_s"] == 13
    assert broken["observed"] == "errors 50.0 %"


def test_judge_fails_a_system_that_does_not_come_back(tmp_path: Path) -> None:
    """Errors that go on for eight seconds after healing are a recovery of eight seconds."""
    verdict = judge_record(record(tmp_path / "run", failing=range(13, 24)))
    assert by_id(verdict)["recovers"] == "fail"


def test_judge_calls_too_coarse_what_straddles_the_bound(tmp_path: Path) -> None:
    """Recovered after 2.9 to 3.9 s against "< 3s" is neither."""
    verdict = judge_record(record(tmp_path / "run", failing=range(13, 19)))
    recovers = next(row for row in verdict["expectations"] if row["id"] == "recovers")
    assert recovers["verdict"] == "unknown", recovers


def test_judge_puts_a_fault_left_in_place_before_everything(tmp_path: Path) -> None:
    """Never verified: unhealed, exit 5, also when expectations are broken."""
    verdict = judge_record(record(tmp_path / "run", failing=range(13, 16), steps=STEPS[:2]))
    assert verdict["verdict"] == "unhealed"
    assert "fail" in verdict["also"]


def test_judge_of_a_dead_runner_is_aborted(tmp_path: Path) -> None:
    """A record without an end belongs to a runner that died."""
    verdict = judge_record(record(tmp_path / "run", ended={}))
    assert verdict["verdict"] == "aborted"
    assert "died" in verdict["reason"]


def test_judge_of_a_spoilt_run_is_invalid_whatever_else(tmp_path: Path) -> None:
    """A generator 40 ms behind spoils a run, broken expectations or not."""
    verdict = judge_record(record(tmp_path / "run", failing=range(13, 16), lag_ms=40))
    assert verdict["verdict"] == "invalid"
    assert "lag p99" in verdict["reason"]


def test_judge_without_the_fault_proves_nothing(tmp_path: Path) -> None:
    """A fault that was never in place: unknown, never a pass."""
    verdict = judge_record(record(tmp_path / "run", steps=()))
    assert verdict["verdict"] == "unknown"
    assert by_id(verdict) == {"calm": "pass", "protected": "unknown", "recovers": "unknown"}


def test_judge_without_load_proves_nothing(tmp_path: Path) -> None:
    """A run that ended before its load began: the set-up failed, and nothing is judged."""
    ended = {"reason": "setup_failed", "detail": "port 5432 is in use", "signal": 0}
    verdict = judge_record(record(tmp_path / "run", epoch=False, steps=(), ended=ended))
    assert verdict["verdict"] == "setup_failed"
    assert verdict["reason"] == "port 5432 is in use"
    completed = judge_record(record(tmp_path / "other", epoch=False, steps=()))
    assert completed["verdict"] == "invalid"


def test_judge_turns_a_crashing_checker_into_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that crashes yields unknown with its error, never a pass."""
    from resilience.analysis import checks
    from resilience.plan.schema import LoadExpectation

    def crash(*_: object) -> Any:
        raise ZeroDivisionError("boom")

    monkeypatch.setitem(checks.CHECKERS, LoadExpectation, crash)  # type: ignore[arg-type]
    verdict = judge_record(record(tmp_path / "run"))
    assert verdict["verdict"] == "unknown"
    assert "boom" in verdict["reason"]


def test_judge_does_not_take_the_quantiles_of_survivors(tmp_path: Path) -> None:
    """One of twenty answered, quickly: that is no p95 of 5 ms, and no throughput of 20/s."""
    plan = PLAN.replace(
        'protected: {load: orders, fault: down, errors: "< 1%"}',
        'fast: {load: orders, phase: spike, p95: "< 50ms"}\n  busy: {load: orders, phase: spike, throughput: ">= 19/s"}',
    )
    verdict = judge_record(record(tmp_path / "run", plan=plan, refused=range(10, 20)))
    assert by_id(verdict)["fast"] == "fail"
    assert by_id(verdict)["busy"] == "fail"
    observed = {row["id"]: row["observed"] for row in verdict["expectations"]}
    assert observed["fast"] == "p95 without an answer"


def test_judge_of_a_fault_that_nothing_met_is_unknown(tmp_path: Path) -> None:
    """A fault without any sign of effect proves nothing, though every expectation holds."""
    verdict = judge_record(record(tmp_path / "run", met=False))
    assert verdict["verdict"] == "unknown"
    assert "did not show" in verdict["reason"]


def test_judge_of_a_fault_taken_out_early_is_unknown(tmp_path: Path) -> None:
    """Planned for four seconds, in place for one: whoever took it out, the system was not put to it."""
    steps = (("injected", 12.0), ("healed", 13.0), ("verified", 13.1))
    verdict = judge_record(record(tmp_path / "run", steps=steps))
    assert verdict["verdict"] == "unknown"
    assert "in place for 999 ms of 4 s" in verdict["reason"]


def test_judge_believes_the_journal_of_a_dead_runner(tmp_path: Path) -> None:
    """An intent without a tombstone may be in place; a tombstone by the guardian says that it is not."""
    intent = {"v": 1, "kind": "intent", "ticket": 1, "fault_id": "down"}
    ns = EPOCH + 12 * S
    injected = {"v": 1, "kind": "step", "step": "injected", "ticket": 1, "fault_id": "down", "at": [ns, ns]}
    left = judge_record(record(tmp_path / "left", steps=(), ended={}, journal=(intent, injected)))
    assert left["verdict"] == "unhealed"
    grave = {
        "v": 1, "kind": "tombstone", "ticket": 1, "fault_id": "down", "clean": True, "reason": "end_of_file",
        "healed_at": [ns + S, ns + S], "verified_at": [ns + 2 * S, ns + 2 * S],
    }  # fmt: skip
    healed = judge_record(record(tmp_path / "healed", steps=(), ended={}, journal=(intent, injected, grave)))
    assert healed["verdict"] == "aborted"
    assert healed["faults"][0]["verified"] is True


def test_judge_never_passes_an_ending_that_it_does_not_know(tmp_path: Path) -> None:
    """A run that did not complete is not a pass, whatever it calls its end."""
    verdict = judge_record(record(tmp_path / "run", ended={"reason": "exploded", "detail": "", "signal": 0}))
    assert verdict["verdict"] == "aborted"


def test_judge_accounts_for_a_phase_exactly(tmp_path: Path) -> None:
    """Phases that begin within a second keep what was due in them."""
    plan = PLAN.replace("{name: baseline, duration: 10s}", "{name: baseline, duration: 9500ms}").replace(
        "{name: spike, duration: 10s}", "{name: spike, duration: 10500ms}"
    )
    verdict = judge_record(record(tmp_path / "run", plan=plan, failing=range(10, 11)))
    assert verdict["loads"]["orders"]["spike"]["counts"]["5xx"] == 10
    calm = PLAN.replace('phase: baseline, p95: "< 50ms", errors: "< 1%"', 'phase: spike, errors: "< 1%"')
    again = judge_record(record(tmp_path / "other", plan=calm, failing=range(10, 11)))
    assert by_id(again)["calm"] == "fail"
