"""The record of a long and heavy run, *generated*: what it takes to judge it, and how large its page is.

    python -m bench.hour --minutes 60 --rate 20000 --workers 4

No load is driven and no system exists. Response times are drawn (log-normal around 8 ms; while the fault stands a tenth of the
operations is slower by it, and one in fifty fails), and everything that follows is what a run does: the workers' own `Tally`
folds each second of each stripe, the run's own `RunRecorder` writes the messages, worker reports, machine samples and events, in
the format and the number in which a run of that rate writes them. The schedule is the plan's: 20,000 arrivals in every second.

Then `chaos-spike judge` reads the folder, as a user calls it: its peak memory (as the kernel counted it), processor time, and
the size of the page it writes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from bench.rows import Row, measured, shown
from resilience.load.tally import Tally
from resilience.metrics.outcomes import CODE
from resilience.plan import LoadedPlan, load_text
from resilience.run.record import RunRecorder
from resilience.run.streams import load_phases

EPOCH_NS = 10**15
SECOND_NS = 10**9
_PLAN = """
version: 1
name: hour
purpose: A generated record, to measure what judging it takes.
external:
  base_url: "http://10.0.0.1:8080"
  proxies: {{db: {{admin_url: "http://10.0.0.2:8474", proxy: db}}}}
phases:
  - {{name: baseline, duration: {quiet}s}}
  - {{name: spike, duration: {spike}s}}
  - {{name: recovery, duration: {quiet}s}}
load:
  quotes: {{http: {{url: /quote}}, rate: {rate}/s}}
faults:
  - {{id: db-slow, proxy: db, toxic: {{type: latency, attributes: {{latency: 40}}}}, start: spike+{lead}s, duration: 50s}}
expect:
  calm: {{load: quotes, phase: baseline, p95: "< 100ms", errors: "< 1%"}}
  protected: {{load: quotes, fault: db-slow, errors: "< 5%"}}
  recovers: {{fault: db-slow, load: quotes, time_to_recover: "< 60s"}}
"""


def main() -> None:
    """Generate, judge, print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=int, default=60, help="length of the run (default: 60)")
    parser.add_argument("--rate", type=int, default=20_000, help="arrivals a second (default: 20000)")
    parser.add_argument("--workers", type=int, default=4, help="load workers (default: 4)")
    parser.add_argument(
        "--out", type=Path, help="keep the record in this folder, which must not be there yet"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = chosen.out or Path(home) / "hour"
        print(f"generating {chosen.minutes} minutes at {chosen.rate}/s into {folder}", flush=True)
        generate(folder, minutes=chosen.minutes, rate=chosen.rate, workers=chosen.workers)
        for row in rows(folder):
            print(shown(row), flush=True)


def rows(folder: Path) -> list[Row]:
    """What judging a record takes, and what it leaves."""
    judged = _judge(folder)
    of_record = sum(path.stat().st_size for path in folder.rglob("*.jsonl"))
    page = (folder / "report.html").stat().st_size
    return [
        measured("record", [of_record / 1e6], "MB"),
        measured("judge: peak memory", [judged["peak_bytes"] / 1e6], "MB"),
        measured("judge: processor time", [judged["cpu_s"]], "s"),
        measured("page", [page / 1e6], "MB"),
    ]


def generate(folder: Path, *, minutes: int, rate: int, workers: int, seed: int = 1) -> None:
    """Write the record of a run that never was."""
    quiet_s = minutes * 60 // 6
    spike_s = minutes * 60 - 2 * quiet_s
    lead_s = max(1, spike_s // 10)
    text = _PLAN.format(quiet=quiet_s, spike=spike_s, rate=rate, lead=lead_s)
    loaded = load_text(text, source="plan.yaml", environment={})
    recorder = RunRecorder(folder)
    recorder.text("plan.yaml", loaded.recorded)
    recorder.json("timeline.json", loaded.timeline.to_json())
    recorder.json("environment.json", {"v": 1, "seed": seed, "stack": "external", "generated": __doc__})
    recorder.event("run", t_ns=EPOCH_NS, state="started", run_id="hour", seed=seed, strict=False)
    recorder.event("run", t_ns=EPOCH_NS, state="epoch", epoch_ns=EPOCH_NS)
    end_ns = _play(recorder, loaded, rate, workers, seed)
    for worker in range(workers):
        own = rate * minutes * 60 // workers + (worker < rate * minutes * 60 % workers)
        recorder.message(
            {"kind": "end", "worker": worker, "load": "quotes", "t": end_ns, "epoch_ns": EPOCH_NS, "stall_ns": 0, "cpu_ns": 0,
             "scheduled": own, "started": own, "finished": own, "driver": {}, "herd_spread_ns": None, "herd_writes": []}
        )  # fmt: skip
    recorder.event("run", t_ns=end_ns, state="ended", reason="completed", detail="", signal=0)
    recorder.close()


def _play(recorder: RunRecorder, loaded: LoadedPlan, rate: int, workers: int, seed: int) -> int:
    """Every second of the run; when the last one ended."""
    phases = load_phases(loaded.timeline)
    (fault,) = loaded.timeline.faults
    tallies = [
        Tally("quotes", phases, loaded.plan.load["quotes"].call.deadline, EPOCH_NS) for _ in range(workers)
    ]
    draw = np.random.default_rng(seed)
    seconds = loaded.timeline.duration_ns // SECOND_NS
    due = np.arange(rate, dtype=np.int64) * SECOND_NS // rate
    for second in range(seconds):
        start_ns = EPOCH_NS + second * SECOND_NS
        for phase in loaded.timeline.phases:
            if phase.start_ns == second * SECOND_NS:
                recorder.event("phase", t_ns=start_ns, name=phase.name, state="started")
        _fault(recorder, fault, second)
        slow = fault.start_ns <= second * SECOND_NS < fault.end_ns
        for worker, tally in enumerate(tallies):
            # Arrival i of the whole schedule belongs to worker i mod n.
            first = (worker - second * rate) % workers
            _fold(tally, start_ns + due[first::workers], draw, slow=slow)
            for message in tally.drain(worker):
                recorder.message(message)
            recorder.message(_report(worker, start_ns + SECOND_NS + worker * 970_000))
        recorder.event(
            "machine",
            t_ns=start_ns,
            at=[start_ns, start_ns + SECOND_NS],
            cores=8,
            idle_s=5.0,
            ours_s=2.5,
            foreign_s=0.1,
        )
    return EPOCH_NS + seconds * SECOND_NS


def _fold(
    tally: Tally, intended: np.ndarray[Any, np.dtype[np.int64]], draw: np.random.Generator, *, slow: bool
) -> None:
    """One second of one stripe: drawn stamps, folded as the worker folds measured ones."""
    n = intended.size
    start = intended + draw.gamma(2.0, 40_000.0, n).astype(np.int64)
    took = draw.lognormal(np.log(8e6), 0.5, n)
    code = np.full(n, CODE["ok"], dtype=np.int64)
    if slow:
        took = took + (draw.random(n) < 0.1) * 40e6
        code[draw.random(n) < 0.02] = CODE["5xx"]
    table = np.empty((n, 7), dtype=np.int64)
    table.T[:] = (
        intended, start, start + 2_000, np.zeros(n), start + 6_000, start + 6_000 + took.astype(np.int64), code,
    )  # fmt: skip
    tally.offer(array("q", intended.tolist()))
    tally.fold([table.tobytes()])


def _report(worker: int, t_ns: int) -> dict[str, Any]:
    flying = {"quotes": 40}
    return {
        "kind": "worker", "worker": worker, "t": t_ns, "cpu": 0.35, "in_flight": flying, "drivers": {"quotes": {"connections": 64}},
        "in_flight_mean": {"quotes": 41.5}, "fds": 80, "fd_limit": 65536, "rss_bytes": 60_000_000, "stall_ns": 1_000_000,
    }  # fmt: skip


def _fault(recorder: RunRecorder, fault: Any, second: int) -> None:
    for at_ns, steps in ((fault.start_ns, ("planned", "injected")), (fault.end_ns, ("healed", "verified"))):
        if at_ns == second * SECOND_NS:
            at = EPOCH_NS + at_ns
            for step in steps:
                recorder.event("fault", t_ns=at, id="db-slow", step=step, at=[at, at + 2_000_000], detail={})


def _judge(folder: Path) -> dict[str, Any]:
    """`chaos-spike judge` on the record: its peak memory and processor time, from the kernel."""
    words = [sys.executable, "-m", "resilience.cli.main", "judge", str(folder)]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as state:
        process = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, env={**os.environ, "CHAOS_SPIKE_STATE_DIR": state}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    verdict = json.loads((folder / "verdict.json").read_text())
    print(
        f"verdict: {verdict['verdict']} ({verdict['reason']}), {time.monotonic() - began:.0f} s", flush=True
    )
    return {
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


if __name__ == "__main__":
    main()
