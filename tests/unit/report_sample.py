"""A run written out by hand in the formats of the run record, for tests of the renderers."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resilience.metrics.histogram import bucket_of

EPOCH = 5_000_000_000_000
PHASES = (("warmup", 0, 5), ("baseline", 5, 15), ("spike", 15, 40), ("recovery", 40, 60))


def ns(seconds: float) -> int:
    """Give a moment of the run on the monotonic clock."""
    return EPOCH + round(seconds * 1e9)


@dataclass
class MemorySource:
    """A run record in memory."""

    epoch_ns: int = EPOCH
    path: Path = Path("runs/2026-03-01-checkout")
    event_list: list[dict[str, Any]] = field(default_factory=list)
    bin_list: list[dict[str, Any]] = field(default_factory=list)
    wire_list: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    compiled: dict[str, Any] = field(default_factory=dict)
    plan: str = "version: 1\nname: checkout-pricing-slow\n"

    def events(self) -> Iterator[dict[str, Any]]:
        """Give the event log."""
        return iter(self.event_list)

    def bins(self) -> Iterator[dict[str, Any]]:
        """Give the load's bins."""
        return iter(self.bin_list)

    def wire(self, proxy: str) -> Iterator[dict[str, Any]]:
        """Give what the tap saw."""
        return iter(self.wire_list if proxy == "pricing" else [])

    def environment(self) -> dict[str, Any]:
        """Give the facts."""
        return self.facts

    def timeline(self) -> dict[str, Any]:
        """Give the compiled plan."""
        return self.compiled

    def plan_text(self) -> str:
        """Give the plan."""
        return self.plan


def bin_at(second: int, offered: int, *, load: str = "quotes", **outcomes: int) -> dict[str, Any]:
    """Give one message of a load worker; what is not told to have gone otherwise was good."""
    rng = random.Random(second)
    phase = next(name for name, start, end in PHASES if start <= second < end)
    good = offered - sum(outcomes.values())
    slow = 40.0 if outcomes.get("timeout") or outcomes.get("degraded") else 4.0
    times = [
        round(rng.lognormvariate(1.0, 0.5) * slow * 1e6) for _ in range(good + outcomes.get("degraded", 0))
    ]
    buckets: dict[str, int] = {}
    for each in times:
        buckets[str(bucket_of(each))] = buckets.get(str(bucket_of(each)), 0) + 1
    return {
        "kind": "bins", "worker": 0, "load": load, "phase": phase, "s": second,
        "n": {"offered": offered, "attempts": offered, "ok": good, "good": good, **outcomes},
        "first": offered, "r": buckets, "service": {}, "lag": {}, "degraded_r": {}, "shed_r": {}, "pool": {},
    }  # fmt: skip


def event(kind: str, seconds: float, **rest: Any) -> dict[str, Any]:
    """Give a line of the event log."""
    return {"v": 1, "t": ns(seconds), "kind": kind, **rest}


def transition(seconds: float, instance: str, before: str, after: str) -> dict[str, Any]:
    """Give a breaker's transition as an observer writes it."""
    return event("breaker.transition", seconds, breaker="pricing", instance=instance, boot="b1", seq=1, source="sse",
                 at=[ns(seconds - 0.002), ns(seconds)], **{"from": before, "to": after})  # fmt: skip


def load_bins() -> list[dict[str, Any]]:
    """Give two loads: one that time-outs, fallbacks and shedding hit, one that nothing hits."""
    found: list[dict[str, Any]] = []
    for second in range(60):
        offered = 50 if not 15 <= second < 40 else 300
        outcomes: dict[str, int] = {}
        if 20 <= second < 21:
            outcomes = {"timeout": 120, "5xx": 30, "unfinished": 4}
        elif 21 <= second < 35:
            outcomes = {"degraded": offered - 20, "shed": 10}
        elif 35 <= second < 37:
            outcomes = {"degraded": offered // 3}
        found.append(bin_at(second, offered, **outcomes))
        found.append(bin_at(second, 10, load="orders"))
    return found


def failed_run() -> tuple[MemorySource, dict[str, Any]]:
    """Give a run in which one instance leaks calls while open, with its verdict."""
    source = MemorySource(
        compiled={
            "name": "checkout-pricing-slow", "duration_ns": 60_000_000_000, "segments": {"quotes": [], "orders": []}, "operations": [],
            "phases": [{"name": name, "start_ns": start * 10**9, "end_ns": end * 10**9, "judge": name != "warmup"}
                       for name, start, end in PHASES],
            "faults": [{"fault_id": "pricing-slow", "proxy": "pricing", "start_ns": 20 * 10**9, "end_ns": 35 * 10**9}],
        },
        facts={"python": "3.11.2", "kernel": "Linux 6.1", "cores": 2, "revision": "4f2c1ab", "valkey": "9.0.1"},
    )  # fmt: skip
    source.bin_list = load_bins()
    source.event_list = [event("run", 0, state="started")]
    for name, start, end in PHASES:
        source.event_list += [
            event("phase", start, name=name, state="start"),
            event("phase", end, name=name, state="end"),
        ]
    for step, seconds in (
        ("journaled", 19.9),
        ("armed", 19.95),
        ("injected", 20.1),
        ("healed", 35.2),
        ("verified", 36.4),
    ):
        source.event_list.append(event("fault", seconds, id="pricing-slow", step=step))
    for place, instance in enumerate(("gateway-1", "gateway-2")):
        late = 0.3 * place
        source.event_list.append(transition(20.6 + late, instance, "closed", "open"))
        for k in range(10):
            source.event_list.append(transition(22.1 + late + 1.4 * k, instance, "open", "half_open"))
            source.event_list.append(transition(22.5 + late + 1.4 * k, instance, "half_open", "open"))
        source.event_list.append(transition(36.1 + late, instance, "open", "half_open"))
        source.event_list.append(transition(36.2 + late, instance, "half_open", "closed"))
    source.event_list.append(transition(50.0, "gateway-2", "closed", "half_open"))
    source.event_list.append(transition(50.4, "gateway-2", "half_open", "closed"))
    for second in range(60):
        for pid, service in ((11, "gateway"), (12, "gateway"), (13, "pricing")):
            rss = (80 + second * 0.4 + pid) * 2**20
            source.event_list.append(
                event("resource", second + 0.5, service=service, pid=pid, rss_bytes=int(rss), cpu=0.2)
            )
        source.wire_list += [
            {"seq": 1, "kind": "arrival", "n": k, "at": [ns(second + k / 50), ns(second + k / 50)]}
            for k in range(4 if 21 <= second < 35 else 50)
        ]
    source.event_list.append(event("run", 60, state="ended"))
    return source, failed_verdict()


def failed_verdict() -> dict[str, Any]:
    """Give the verdict of `failed_run`."""
    witness = [
        "22.900 to 22.904 s: call quotes-6612 arrives at pricing while gateway-2 is open since 22.800 s"
    ]
    rules = {"R1": rule("pass", 23), "R4": rule("fail", 14, reason="a call reached the dependency while open",
             witness={"window_s": [22.8, 22.904], "lines": witness},
             title="no leak", blame=["holds if wait is in (0.08, 0.104] s; the spec says 1 s"]),
             "R5": rule("pass", 11), "R8": rule("declared", 11, reason="purgatory lets any number of probes through"),
             "R10": rule("unknown", 0, reason="not exercised: no probe succeeded twice")}  # fmt: skip
    fine = {name: rule("pass", 11) for name in rules}
    path = [{"state": "closed", "at_s": [0.0, 0.0]}, {"state": "open", "at_s": [20.898, 20.9]},
            {"state": "half_open", "at_s": [22.39, 22.4], "at_ns": [ns(22.39), ns(22.4)],
             "evidence": {"events": {"from": "open", "to": "half_open", "seq": 3},
                          "wire": {"admitted": 2, "failed": 2, "supports": True,
                                   "probes_ns": [[ns(22.4), ns(22.41)], [ns(22.44), ns(22.45)]]}}}]  # fmt: skip
    return {
        "v": 1, "verdict": "fail", "reason": "conforms", "plan": "breaker.yaml", "name": "checkout-pricing-slow",
        "purpose": "A slow price service must not take the checkout down.", "seed": 42,
        "started": "2026-03-01T02:14:09Z", "duration_s": 60.0, "stack": "embedded",
        "expectations": [
            {"id": "steady", "expected": "p95 < 150 ms, errors < 0.1 %", "observed": "p95 18 ms, errors 0 %",
             "verdict": "pass", "margin": "132 ms", "evidence": {"load": "quotes", "phase": "baseline"}, "at_s": None},
            {"id": "conforms", "expected": "R1, R4, R5, R10 hold", "observed": "R4 broken on gateway-2",
             "verdict": "fail", "margin": "-0.896 s", "evidence": {"breaker": "pricing", "instance": "gateway-2",
             "rule": "R4"}, "at_s": 22.902},
            {"id": "recovers", "expected": "time to recover < 20 s", "observed": "2 s", "verdict": "pass",
             "margin": "18 s", "evidence": {}, "at_s": 36.4},
            {"id": "memory", "expected": "growth < 200 MB", "observed": "no samples", "verdict": "unknown",
             "margin": None, "evidence": ["service gateway was not watched"], "at_s": None},
        ],
        "breakers": {"pricing": {"instances": [
            {"breaker": "pricing", "instance": "gateway-1", "boot": "b1", "path": path, "rules": fine},
            {"breaker": "pricing", "instance": "gateway-2", "boot": "b1", "path": path, "rules": rules},
        ]}},
        "recovery": {"pricing-slow": {"time_to_recover_s": {"value": 2.0, "plus_minus": 1.0}, "depth": 0.97,
                     "lost_good_operations": 3910, "resilience_ratio": 0.71,
                     "components": {"breaker_open": 0.5, "breaker_closed": 1.1}}},
        "validity": {"valid": True, "reasons": [], "lag_p99_ms": {"baseline": 1.2, "spike": 3.4}, "started_share": 1.0},
        "faults": [{"id": "pricing-slow", "kind": "toxic latency", "target": "pricing", "injected": {"at": [ns(20.0),
                    ns(20.1)]}, "healed": {"at": [ns(35.1), ns(35.2)]}, "verified": True}],
        "loads": {"quotes": {name: {"counts": {"offered": 500, "timeout": 3 if name == "spike" else 0},
                  "goodput_per_s": 49.7, "error_rate": 0.01, "fallback_share": 0.2, "p50_ms": 11.2, "p95_ms": 18.4,
                  "p99_ms": 25.04, "max_ms": 301.5} for name, _, _ in PHASES}},
        "phases": [{"name": name, "start_s": start, "end_s": end} for name, start, end in PHASES],
    }  # fmt: skip


def rule(verdict: str, exercised: int, **rest: Any) -> dict[str, Any]:
    """Give the verdict on one breaker rule."""
    return {"verdict": verdict, "exercised": exercised, **rest}


def passed_run() -> tuple[MemorySource, dict[str, Any]]:
    """Give the same run without the leak."""
    source, verdict = failed_run()
    source.event_list = [
        each
        for each in source.event_list
        if not (each["kind"] == "breaker.transition" and each["t"] > ns(45))
    ]
    verdict |= {"verdict": "pass", "reason": ""}
    verdict["expectations"] = [
        each | {"verdict": "pass"} for each in verdict["expectations"] if each["id"] != "memory"
    ]
    verdict["expectations"][1] |= {
        "observed": "R1, R4, R5, R10 hold",
        "margin": "",
        "at_s": None,
        "evidence": {},
    }
    for each in verdict["breakers"]["pricing"]["instances"]:
        each["rules"] = {name: rule("pass", 11) for name in each["rules"]}
    return source, verdict


ATTACK = "\x00\x1b[31m[red]</script><img src=x onerror=alert(1)><script src=http://evil.example/s></script>$$x$$ \\(y\\)\u202e'\"&<!--"


def hostile_run() -> tuple[MemorySource, dict[str, Any]]:
    """Give the failed run with an attack in every text and every name that a target or a plan could choose."""
    source, verdict = failed_run()
    wire = source.wire_list
    poisoned = MemorySource(
        event_list=[_poisoned(each) for each in source.event_list],
        bin_list=[each | {"load": each["load"] + ATTACK} for each in source.bin_list],
        wire_list=wire,
        facts=_poisoned(source.facts),
        compiled=_poisoned(source.compiled),
        plan=ATTACK,
        path=Path(f"runs/{ATTACK}"),
    )
    return poisoned, _poisoned(verdict) | {"verdict": "fail"}


def _poisoned(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {
            (name if name.islower() and "-" not in name else name + ATTACK): _poisoned(each, name)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_poisoned(each, key) for each in value]
    if isinstance(value, str):
        return value if key in {"kind", "verdict", "step", "state"} else value + ATTACK
    return value
