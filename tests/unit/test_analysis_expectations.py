"""The checks beyond single calls, on records written out by hand: each holds, breaks, and says so when there is nothing to go by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from run_sample import EPOCH, PLAN, S, record

from resilience.run.judge import judge_record

HEAD = PLAN[: PLAN.index("expect:")]


def judged(
    folder: Path,
    expect: str,
    *,
    notes: Sequence[dict[str, Any]] = (),
    events: Sequence[dict[str, Any]] = (),
    lost: int = 0,
    failing: range = range(0),
) -> dict[str, Any]:
    """The judgement of the only expectation of a run of the sample's plan."""
    reader = record(
        folder / "run", plan=f"{HEAD}expect:\n  it: {expect}\n", observed=tuple(events), failing=failing
    )
    samples = folder / "run" / "samples"
    (samples / "notes-orders.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))
    if lost:
        line = {"load": "orders", "phase": "spike", "s": 12, "n": {"notes_lost": lost}, "h": {}}
        (samples / "figures.jsonl").write_text(json.dumps(line) + "\n")
    (found,) = judge_record(reader)["expectations"]
    return dict(found)


def at(second: float, lasts_s: float = 0.001) -> list[int]:
    """An interval on the record's clock."""
    return [EPOCH + int(second * S), EPOCH + int((second + lasts_s) * S)]


def socket(i: int, **more: Any) -> dict[str, Any]:
    """A socket that was there from second 1 to second 30 and heard everything at once."""
    fixed = {"opened": at(1)[0], "welcomed": at(1)[1], "latencies": [5_000_000], "heard": {"x": at(5)[1]}}
    return {"what": "socket", "i": i, **fixed, "left": at(30)[0], "lost": False, **more}


BROADCAST = {"what": "broadcast", "i": 0, "id": "x", "at": at(5)}
ALL = [socket(i) for i in range(700)]
SOCKETS = (
    '{sockets: orders, connected: ">= 99%", welcomed: ">= 99%", broadcast: ">= 99%", lost: "< 1%",'
    ' message_p95: "< 50ms"}'
)


@pytest.mark.parametrize(
    ("notes", "verdict"),
    [
        ([*ALL, BROADCAST], "pass"),
        ([*ALL[:600], BROADCAST], "fail"),
        ([*(socket(i, welcomed=None) for i in range(700)), BROADCAST], "fail"),
        ([*(socket(i, heard={}) for i in range(700)), BROADCAST], "fail"),
        ([*(socket(i, lost=True) for i in range(700)), BROADCAST], "fail"),
        ([*(socket(i, latencies=[90_000_000]) for i in range(700)), BROADCAST], "fail"),
        (ALL, "unknown"),
        ([], "unknown"),
    ],
)
def test_sockets_check_holds_every_bound(tmp_path: Path, notes: list[dict[str, Any]], verdict: str) -> None:
    """One promise broken at a time; without a broadcast nobody knows whether one would have been heard."""
    assert judged(tmp_path, SOCKETS, notes=notes)["verdict"] == verdict


@pytest.mark.parametrize(
    ("more", "verdict", "observed"),
    [
        ({"lost": True, "unanswered": 1}, "fail", "message_p95 without an answer"),
        ({"unanswered": 1, "waited": [60_000_000]}, "fail", "message_p95 without an answer"),
        ({"unanswered": 1, "waited": [40_000_000]}, "pass", "message_p95 5 ms"),
        ({"latencies": [], "unanswered": 1}, "fail", "message_p95 without an answer"),
        (
            {"latencies": [], "unanswered": 1, "waited": [40_000_000]},
            "unknown",
            "message_p95: the users left before an answer was due",
        ),
        ({"latencies": []}, "unknown", "message_p95: nothing was sent"),
        ({"latencies_dropped": 2}, "unknown", "message_p95: 1400 latencies did not fit into the notes"),
    ],
)
def test_sockets_check_holds_latencies_of_all_messages(
    tmp_path: Path, more: dict[str, Any], verdict: str, observed: str
) -> None:
    """Not of those alone that were answered, nor of the first thousand: a server that answers now and then, fast, is no fast one."""
    found = judged(
        tmp_path, '{sockets: orders, message_p95: "< 50ms"}', notes=[socket(i, **more) for i in range(700)]
    )
    assert (found["verdict"], found["observed"]) == (verdict, observed)


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        ({"heard": {}}, "fail"),
        ({"heard": {}, "heard_dropped": 1}, "unknown"),
        ({"heard": {"x": at(20)[0]}, "heard_dropped": 1}, "fail"),
        ({"heard_dropped": 1}, "pass"),
    ],
)
def test_sockets_check_does_not_miss_what_was_dropped(
    tmp_path: Path, more: dict[str, Any], verdict: str
) -> None:
    """A push that may have been heard, and had no place in the note, is no miss; one that is there, and late, is."""
    notes = [*(socket(i, **more) for i in range(700)), BROADCAST]
    found = judged(tmp_path, '{sockets: orders, broadcast: ">= 99%"}', notes=notes)
    assert found["verdict"] == verdict
    assert ("700 receptions may not have fitted" in found["observed"]) is (verdict == "unknown")


def test_notes_that_did_not_fit_make_a_check_unknown(tmp_path: Path) -> None:
    """What was not written down may be what broke it."""
    found = judged(tmp_path, SOCKETS, notes=[*ALL, BROADCAST], lost=3)
    assert found["verdict"] == "unknown"
    assert "3 notes of orders" in found["evidence"]["why"]


READ = {"what": "read", "key": "7", "found": 7, "version": 2, "at": at(3), "cache": "hit", "outcome": "ok"}
WRITE = {"what": "write", "key": "7", "version": 2, "at": at(2), "outcome": "ok"}


@pytest.mark.parametrize(
    ("notes", "verdict"),
    [
        ([READ, WRITE], "pass"),
        ([{**READ, "version": 1}, WRITE], "fail"),
        ([{**READ, "found": 8}, READ, WRITE], "fail"),
        ([READ], "unknown"),
        ([{**READ, "version": 1}, {**WRITE, "outcome": "timeout", "version": None}], "unknown"),
    ],
)
def test_coherence_check_holds_reads_against_writes(
    tmp_path: Path, notes: list[dict[str, Any]], verdict: str
) -> None:
    """Stale and crossed reads break it; without a read after a write there is nothing to say."""
    found = judged(tmp_path, '{load: orders, stale: "== 0"}', notes=notes)
    assert found["verdict"] == verdict


def test_hit_rate_check_looks_at_its_phase(tmp_path: Path) -> None:
    """Nine of ten in the baseline; the misses of the spike are another matter."""
    notes = [{**READ, "cache": "miss" if n == 0 else "hit"} for n in range(10)]
    notes += [{**READ, "cache": "miss", "at": at(12)}]
    for bound, verdict in ((">= 90%", "pass"), ("> 90%", "fail")):
        folder = tmp_path / verdict
        folder.mkdir()
        expect = f'{{load: orders, phase: baseline, hit_rate: "{bound}"}}'
        assert judged(folder, expect, notes=notes)["verdict"] == verdict


ORDER = {"what": "order", "i": 1, "id": "r-orders-1", "outcome": "ok", "at": at(3)}
ENTRY = {"what": "ledger", "ref": "r-orders-1", "count": 1, "at": at(20)}


@pytest.mark.parametrize(
    ("notes", "verdict"),
    [
        ([ORDER, ENTRY], "pass"),
        ([ORDER, {**ENTRY, "count": 0}], "fail"),
        ([ORDER, {**ENTRY, "count": 2}], "fail"),
        ([ORDER, ENTRY, {**ORDER, "id": "x", "outcome": "4xx"}, {**ENTRY, "ref": "x"}], "fail"),
        ([ORDER], "unknown"),
        ([ORDER, {**ENTRY, "ref": "other"}], "unknown"),
        ([{**ORDER, "outcome": "timeout"}, {**ENTRY, "count": 1}], "unknown"),
    ],
)
def test_orders_check_holds_answers_against_the_ledger(
    tmp_path: Path, notes: list[dict[str, Any]], verdict: str
) -> None:
    """Lost, doubled, or there although refused; an order that nobody looked up is not known to be there."""
    assert judged(tmp_path, "{load: orders, ledger: orders}", notes=notes)["verdict"] == verdict


def scale(step: str, second: float, instance: str = "gateway-2") -> dict[str, Any]:
    """One step of an instance."""
    return {"kind": "scale", "instance": instance, "step": step, "at": at(second)}


WATCHED = {"kind": "scale", "step": "watching", "at": at(0)}
LIFE = [scale("decided", 3), scale("ready", 4), scale("leaving", 20), scale("gone", 22)]
SCALING = '{load: orders, above: 10/s, scales_out: "< 5s", ready: "< 2s", scales_in: true, lost: "== 0"}'


@pytest.mark.parametrize(
    ("events", "verdict", "said"),
    [
        ([WATCHED, *LIFE], "pass", "scaled out after 3 s, ready after"),
        ([WATCHED], "fail", "never scaled out"),
        ([WATCHED, *LIFE[:1]], "fail", "never became ready"),
        ([WATCHED, *LIFE[:2]], "fail", "still there: gateway-2"),
        ([], "unknown", "nothing"),
        ([WATCHED, *LIFE, {"kind": "gap", "source": "autoscaler", "at": at(1)}], "unknown", "nothing"),
    ],
)
def test_scaling_check_follows_the_instances(
    tmp_path: Path, events: list[dict[str, Any]], verdict: str, said: str
) -> None:
    """In time, ready, in again; an autoscaler that nobody watched is unknown, one that did nothing is not."""
    found = judged(tmp_path, SCALING, events=events)
    assert found["verdict"] == verdict
    assert said in found["observed"]


def test_scaling_check_counts_what_was_lost_on_the_way_in(tmp_path: Path) -> None:
    """Half of the calls of one second fail while the instance leaves."""
    found = judged(tmp_path, SCALING, events=[WATCHED, *LIFE], failing=range(21, 22))
    assert found["verdict"] == "fail"
    assert "lost while scaling in 10" in found["observed"]


def reading(stage: str, second: float, **more: Any) -> dict[str, Any]:
    """A gateway that is well."""
    return {
        "kind": "health", "stage": stage, "service": "gateway", "instance": "gateway-1", "live": True,
        "ready": True, "dependencies": {"db": "up"}, "breakers": {}, "connections": 4, "idle": 4,
        "rss_bytes": 1_000_000, "descriptors": 20, "at": at(second), **more,
    }  # fmt: skip


BEFORE, AFTER = reading("before", 0), reading("after", 36)
FULL = reading("during", 12, idle=0)


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([BEFORE, FULL, AFTER], "pass"),
        ([BEFORE, AFTER], "unknown"),
        ([BEFORE, FULL, reading("after", 36, idle=3), reading("after", 37)], "pass"),
        ([BEFORE, FULL, reading("after", 36, idle=3)], "fail"),
        ([BEFORE, FULL, reading("after", 49)], "fail"),
        ([reading("before", 0, connections=None)], "unknown"),
    ],
)
def test_pool_check_wants_it_full_and_idle_again(
    tmp_path: Path, events: list[dict[str, Any]], verdict: str
) -> None:
    """A pool that never filled up was not tested; one that stays in use, or takes too long, fails."""
    found = judged(tmp_path, '{pool: gateway, saturated: true, idle_within: "< 10s"}', events=events)
    assert found["verdict"] == verdict


@pytest.mark.parametrize(
    ("after", "verdict"),
    [(AFTER, "pass"), (reading("after", 36, dependencies={"db": "down"}), "fail"), (None, "fail")],
)
def test_health_check_compares_after_with_before(
    tmp_path: Path, after: dict[str, Any] | None, verdict: str
) -> None:
    """Well, ill, and an instance that cannot be asked any more."""
    events = [BEFORE, reading("during", 5), *([after] if after else [])]
    assert judged(tmp_path, "{healthy: [before, during, after]}", events=events)["verdict"] == verdict


def test_health_check_without_a_reading_is_unknown(tmp_path: Path) -> None:
    """A system without admin ports is not well for that."""
    assert judged(tmp_path, "{healthy: [after]}")["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("wanted", "failing", "verdict", "said"),
    [
        ("never", range(12, 16), "pass", "healthy"),
        ("confirmed", range(12, 16), "fail", "healthy"),
        ("never", range(12, 35), "unknown", "suspect"),
    ],
)
def test_metastable_check_needs_a_probe_to_accuse(
    tmp_path: Path, wanted: str, failing: range, verdict: str, said: str
) -> None:
    """Back by itself: not metastable. Not back, and never probed: nobody knows."""
    expect = f"{{load: orders, fault: down, metastable: {wanted}, watch: recovery, hold: 5s, least: 10s}}"
    found = judged(tmp_path, expect, failing=failing)
    assert found["verdict"] == verdict
    assert said in found["observed"]


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ('shed: "== 0%", unanswered: "== 0%"', "pass"),
        ('told_p99: "< 1s"', "fail"),
        ('errors: "< 6%"', "pass"),
    ],
)
def test_load_check_tells_refusals_from_silence(tmp_path: Path, figures: str, verdict: str) -> None:
    """Calls that failed are neither shed nor unanswered; when nobody knows how long they took, that is no short time."""
    expect = f"{{load: orders, phase: spike, {figures}}}"
    assert judged(tmp_path, expect, failing=range(12, 13))["verdict"] == verdict
