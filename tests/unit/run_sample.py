"""A run record written out by hand, for tests of the judge and its checkers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resilience.metrics.histogram import Histogram
from resilience.plan import load_text
from resilience.run.record import RunReader, RunRecorder

S = 10**9
EPOCH = 1_000 * S
PLAN = """\
version: 1
name: demo
purpose: Show how the judge decides.
lab: {}
phases:
  - {name: baseline, duration: 10s}
  - {name: spike, duration: 10s}
  - {name: recovery, duration: 15s}
load:
  orders:
    http: {url: "/orders"}
    rate: 20/s
faults:
  - {id: down, proxy: db, enabled: false, start: spike+2s, duration: 4s}
expect:
  calm: {load: orders, phase: baseline, p95: "< 50ms", errors: "< 1%"}
  protected: {load: orders, fault: down, errors: "< 1%"}
  recovers: {fault: down, load: orders, time_to_recover: "< 3s"}
"""


def phase_of(second: int) -> str:
    """The phase of a second of the plan above."""
    return "baseline" if second < 10 else "spike" if second < 20 else "recovery"


def bins(second: int, *, failed: int = 0, ms: int = 5) -> dict[str, Any]:
    """One second of twenty orders."""
    times, lag = Histogram(), Histogram()
    times.record(ms * 1_000_000, 20 - failed)
    lag.record(1_000_000, 20)
    good = 20 - failed
    return {
        "kind": "bins", "worker": 0, "load": "orders", "phase": phase_of(second), "s": second, "first": 20,
        "n": {"offered": 20, "attempts": 20, "ok": good, "good": good, "5xx": failed},
        "r": times.to_json(), "lag": lag.to_json(),
    }  # fmt: skip


def fault(step: str, at_s: float) -> dict[str, Any]:
    """One step of the fault's life."""
    ns = EPOCH + int(at_s * S)
    return {"id": "down", "step": step, "at": [ns, ns + 1_000_000], "detail": {}}


STEPS = (("injected", 12.0), ("healed", 16.0), ("verified", 16.1))


def record(
    folder: Path,
    *,
    failing: range = range(0),
    steps: tuple[tuple[str, float], ...] = STEPS,
    ended: dict[str, Any] | None = None,
    epoch: bool = True,
    lag_ms: int = 1,
    plan: str = PLAN,
    met: bool = True,
    refused: range = range(0),
    journal: tuple[dict[str, Any], ...] = (),
    observed: tuple[dict[str, Any], ...] = (),
    environment: dict[str, Any] | None = None,
) -> RunReader:
    """Write a record of the plan above; what is not told otherwise went well."""
    loaded = load_text(plan, source="plan.yaml", environment={})
    recorder = RunRecorder(folder)
    recorder.text("plan.yaml", loaded.recorded)
    recorder.json("timeline.json", loaded.timeline.to_json())
    recorder.event("run", t_ns=EPOCH, state="started", run_id="r", seed=1, strict=False)
    if epoch:
        recorder.event("run", t_ns=EPOCH, state="epoch", epoch_ns=EPOCH)
        for second in range(35):
            message = bins(second, failed=19 if second in refused else 10 if second in failing else 0)
            if lag_ms != 1:
                lag = Histogram()
                lag.record(lag_ms * 1_000_000, 20)
                message["lag"] = lag.to_json()
            recorder.message(message)
            recorder.message(
                {"kind": "worker", "worker": 0, "t": EPOCH + (second + 1) * S, "cpu": 0.1,
                 "in_flight": {"orders": 1}, "fds": 10, "rss_bytes": 1}
            )  # fmt: skip
        recorder.message(
            {"kind": "end", "worker": 0, "load": "orders", "scheduled": 700, "started": 700, "finished": 700,
             "herd_spread_ns": None, "epoch_ns": EPOCH, "t": EPOCH + 35 * S}
        )  # fmt: skip
    if met:
        at = [EPOCH + 13 * S, EPOCH + 13 * S]
        recorder.observed({"kind": "wire", "proxy": "db", "what": "close", "c": 1, "at": at})
    for observation in observed:
        recorder.observed(observation)
    if environment is not None:
        recorder.json("environment.json", environment)
    if journal:
        recorder.text("faults.jsonl", "".join(json.dumps(entry) + "\n" for entry in journal))
    for step, at_s in steps:
        recorder.event("fault", t_ns=EPOCH, **fault(step, at_s))
    over = {"reason": "completed", "detail": "", "signal": 0} if ended is None else ended
    if over:
        recorder.event("run", t_ns=EPOCH + 36 * S, state="ended", **over)
    recorder.close()
    return RunReader(folder)
