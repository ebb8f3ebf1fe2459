"""From a stimulus to its verdict by way of the run record: what was played in virtual time is written down as a run is, and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from breaker_world import MS, Model, S
from stimulus_world import HOP_NS, Stage

from resilience.breaker.history import Arrival, Call
from resilience.breaker.spec import BreakerSpec
from resilience.load.stimulus import stimulus
from resilience.load.stimulus_driver import part_event
from resilience.plan import load_text
from resilience.run.judge import judge_record
from resilience.run.record import RunReader, RunRecorder

EPOCH = 1_000 * S
SPEC: dict[str, Any] = {"failures": 3, "wait_ms": 1000, "permitted": 1, "successes": 2, "timeout_ms": 1500}
MODEL = Model(failures=3, wait_ns=S, permitted=1, successes=2)
PLAN = """
version: 1
name: stimulated
external:
  base_url: "http://127.0.0.1:1"
  proxies: {dependency: {listen: "127.0.0.1:9100"}}
phases: [{name: stimulus, duration: 90s}]
stimulus: {calls: {http: {url: /call}}}
breakers:
  dependency:
    load: calls
    spec: {failures: 3, wait_ms: 1000, successes: 2, timeout_ms: 1500}
    observe: {wire: dependency}
expect: {conforms: {breaker: dependency, require: [R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, R15]}}
"""
ENDED: Mapping[str, Any] = {"load": "calls", "state": "ended"}
STATUS = {"ok": 200, "rejected": 503, "failure": 502, "timeout": 502}
OUTCOME = {"ok": "ok", "rejected": "degraded", "failure": "5xx", "timeout": "5xx", "cancelled": "cancelled"}


def row(call: Call, instance: str | None) -> list[Any]:
    """A call as the driver writes it: what its caller saw, and nothing else."""
    assert call.end is not None
    start, done = EPOCH + call.start.lo_ns, EPOCH + call.end.hi_ns
    return [
        int(call.id),
        start,
        start,
        start,
        None,
        done,
        STATUS.get(call.outcome),
        OUTCOME[call.outcome],
        instance,
    ]


def wire(arrival: Arrival, outcome: str) -> list[dict[str, Any]]:
    """A request as the tap records it."""
    assert arrival.done is not None
    assert arrival.id is not None
    at, told = EPOCH + arrival.at.lo_ns, EPOCH + arrival.done.hi_ns - HOP_NS
    answered = outcome in ("ok", "failure")
    status = {"ok": 200, "failure": 500}.get(outcome)
    shared = {"kind": "wire", "proxy": "dependency", "n": int(arrival.id)}
    return [
        {**shared, "what": "arrival", "id": f"r-calls-{arrival.id}", "at": [at, at]},
        {
            **shared,
            "what": "done",
            "status": status,
            "at": [told, told],
            "end": "response" if answered else "caller_closed",
        },
    ]


def written(
    folder: Path,
    model: Model,
    *,
    instance: str | None = "i1",
    crowded: bool = False,
    plan: str = PLAN,
    slow_rejections_ns: int = 0,
    dies_after: int | None = None,
    ended: Mapping[str, Any] | None = ENDED,
    **system: Any,
) -> RunReader:
    """The record of a run of the stimulus against a model breaker."""
    stage = Stage(model, timeout_ns=1500 * MS, dies_after=dies_after)
    history = stage.play(stimulus(BreakerSpec.from_mapping(SPEC)))
    calls = {call.id: call for call in history if isinstance(call, Call)}
    recorder = RunRecorder(folder)
    loaded = load_text(plan, source="plan.yaml", environment={})
    recorder.text("plan.yaml", loaded.recorded)
    recorder.json("timeline.json", loaded.timeline.to_json())
    recorder.json("environment.json", {"system": {"base_url": "http://127.0.0.1:1", **system}})
    recorder.event("run", t_ns=EPOCH, state="started", run_id="r", seed=1, strict=False)
    recorder.event("run", t_ns=EPOCH, state="epoch", epoch_ns=EPOCH)
    for call in calls.values():
        line = row(call, instance)
        line[5] += slow_rejections_ns if call.outcome == "rejected" else 0
        recorder.message({"kind": "call", "worker": 0, "load": "calls", "rows": [line]})
    for arrival in history:
        if isinstance(arrival, Arrival):
            for line in wire(arrival, calls[str(arrival.id)].outcome):
                recorder.observed(line)
    for part in stage.parts:
        recorder.event("stimulus", t_ns=EPOCH, **part_event("calls", instance, part))
    if ended is not None:
        recorder.event("stimulus", t_ns=EPOCH + 60 * S, **{"instance": instance, **ended})
    for second in range(10 if crowded else 0):
        at = [EPOCH + second * S, EPOCH + (second + 1) * S]
        recorder.event("machine", t_ns=at[1], at=at, cores=2, idle_s=0.0, foreign_s=1.9)
    recorder.event("run", t_ns=EPOCH + 60 * S, state="ended", reason="completed", detail="", signal=0)
    recorder.close()
    return RunReader(folder)


def test_record_of_a_correct_breaker_passes(tmp_path: Path) -> None:
    """Every rule that the wire can show is exercised, by a record that holds nothing but calls and arrivals."""
    verdict = judge_record(written(tmp_path / "run", MODEL))
    assert verdict["verdict"] == "pass", verdict["reason"]
    assert verdict["validity"]["valid"]


@pytest.mark.parametrize(
    ("bug", "rule"),
    [
        ("unlimited_probes", "R8"),
        ("opens_late", "R3"),
        ("rejection_restarts_wait", "R7"),
        ("cancel_is_failure", "R14"),
    ],
)
def test_record_of_a_wrong_breaker_fails_that_rule(tmp_path: Path, bug: str, rule: str) -> None:
    """With a witness; the same folder gives the same verdict again."""
    reader = written(tmp_path / "run", replace(MODEL, bugs=frozenset({bug})))
    verdict = judge_record(reader)
    assert verdict["verdict"] == "fail", verdict["reason"]
    (instance,) = verdict["breakers"]["dependency"]["instances"]
    assert instance["rules"][rule]["verdict"] == "FAIL"
    assert instance["rules"][rule]["witness"]["lines"]
    assert judge_record(reader) == verdict


def test_record_of_a_crowded_machine_still_shows_what_it_shows(tmp_path: Path) -> None:
    """What a stimulus has shown, it has shown: a breaker without timers keeps its verdict."""
    assert judge_record(written(tmp_path / "good", MODEL, crowded=True))["verdict"] == "pass"
    wrong = replace(MODEL, bugs=frozenset({"wait_long"}))
    assert judge_record(written(tmp_path / "bad", wrong, crowded=True))["verdict"] == "fail"


@pytest.mark.parametrize("timer", ["entry: timer", "dwell_ms: 30000", "evaluation_ms: 1"])
def test_record_of_a_breaker_with_timers_on_a_crowded_machine_is_invalid(tmp_path: Path, timer: str) -> None:
    """Each of its own timers may have rung late; on a quiet machine it simply fails."""
    wrong = replace(MODEL, bugs=frozenset({"wait_long"}))
    plan = PLAN.replace("failures: 3", f"failures: 3, {timer}")
    assert judge_record(written(tmp_path / "crowded", wrong, crowded=True, plan=plan))["verdict"] == "invalid"
    assert judge_record(written(tmp_path / "quiet", wrong, plan=plan))["verdict"] == "fail"


def test_record_of_slow_rejections_on_a_crowded_machine_is_invalid(tmp_path: Path) -> None:
    """A rejection that took long may have waited for a processor; on a quiet machine the breaker is slow."""
    late_ns = S
    crowded = judge_record(written(tmp_path / "crowded", MODEL, crowded=True, slow_rejections_ns=late_ns))
    assert crowded["verdict"] == "invalid"
    quiet = judge_record(written(tmp_path / "quiet", MODEL, slow_rejections_ns=late_ns))
    assert quiet["verdict"] == "fail"
    (instance,) = quiet["breakers"]["dependency"]["instances"]
    assert {rule for rule, found in instance["rules"].items() if found["verdict"] == "FAIL"} == {"R15"}


def test_record_without_names_is_unattributed_where_there_are_several(tmp_path: Path) -> None:
    """Two instances are known and no call says whose it was: unknown with that reason, also of a breaker that is wrong."""
    both = {"instances": [{"name": "a", "service": "s"}, {"name": "b", "service": "s"}]}
    for name, bugs in (("good", frozenset[str]()), ("bad", frozenset({"unlimited_probes"}))):
        verdict = judge_record(written(tmp_path / name, replace(MODEL, bugs=bugs), instance=None, **both))
        assert verdict["verdict"] == "unknown", verdict["reason"]
        assert "unattributed: a, b answer behind one address" in verdict["reason"]
    one = {"instances": [{"name": "a", "service": "s"}]}
    assert judge_record(written(tmp_path / "one", MODEL, instance=None, **one))["verdict"] == "pass"


SOON = PLAN.replace(PLAN[PLAN.index("[R2") : PLAN.index("]}}") + 1], "[R2, R3, R4, R5]")
"""What the first parts have settled already."""


def test_record_of_a_service_that_died_is_unknown(tmp_path: Path) -> None:
    """Every required rule was settled by then, but what the other parts would have shown nobody knows."""
    verdict = judge_record(written(tmp_path / "dead", MODEL, plan=SOON, dies_after=5))
    assert [row["verdict"] for row in verdict["expectations"]] == ["pass"]
    assert verdict["verdict"] == "unknown"
    assert (
        "the stimulus calls@i1 did not come to its end: the breaker stays shut, or the service is gone"
        in (verdict["reason"])
    )
    wrong = replace(MODEL, bugs=frozenset({"unlimited_probes"}))
    assert judge_record(written(tmp_path / "wrong", wrong, plan=SOON, dies_after=5))["verdict"] == "fail"


def test_record_of_a_service_that_died_in_the_last_part_is_unknown(tmp_path: Path) -> None:
    """The recovery after it is a part, too."""
    reader = written(tmp_path / "dead", MODEL, plan=SOON, dies_after=12)
    headings = [event["part"] for event in reader.events() if event.get("part")]
    assert headings[-3:] == ["silence for three waits", "recovery", "recovery"]
    verdict = judge_record(reader)
    assert verdict["verdict"] == "unknown"
    assert "did not come to its end" in verdict["reason"]


@pytest.mark.parametrize(
    ("ended", "why"),
    [
        ({"state": "cut", "why": "the run was over before the script"}, "the run was over before the script"),
        (None, "the record holds none"),
        ({"load": "calls", "instance": "i2", "state": "ended"}, "calls@i1 did not come to its end"),
    ],
)
def test_record_of_a_stimulus_without_its_end_is_unknown(
    tmp_path: Path, ended: Mapping[str, Any] | None, why: str
) -> None:
    """Cut by the end of its phase, or nobody wrote down that its script, of this instance, was over."""
    verdict = judge_record(written(tmp_path / "cut", MODEL, ended=ended))
    assert [row["verdict"] for row in verdict["expectations"]] == ["pass"]
    assert verdict["verdict"] == "unknown"
    assert why in verdict["reason"]
    assert len(verdict["unexercised"]) == 1
