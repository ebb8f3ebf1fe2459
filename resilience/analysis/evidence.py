"""What a run's record says, read once, for every checker. Pure: a reader is handed in, nothing else is consulted.

Times are seconds since the epoch of the run unless a name says otherwise. Bins are merged over workers here; a checker
never sees raw messages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from resilience.analysis.health import SecondPoint
from resilience.analysis.reports import WorkerReports
from resilience.metrics.fold import LoadTable
from resilience.metrics.outcomes import DEGRADED, OK
from resilience.plan import LoadedPlan, Plan, Timeline, load_text
from resilience.run.streams import load_phases

NS_PER_S = 1_000_000_000


class RecordReader(Protocol):
    """What is read of a run record; `resilience.run.record.RunReader` is one, and says what each gives."""

    def plan_text(self) -> str:
        """The plan as it was run."""

    def environment(self) -> dict[str, Any]:
        """What the run was run on."""

    def events(self) -> Iterator[dict[str, Any]]:
        """All events, in order."""

    def bins(self) -> Iterator[dict[str, Any]]:
        """Increments of the load's bins."""

    def workers(self) -> Iterator[dict[str, Any]]:
        """The load workers' own figures."""

    def calls(self, load: str) -> Iterator[list[Any]]:
        """Rows of a load's calls."""

    def notes(self, load: str) -> Iterator[dict[str, Any]]:
        """What a load wrote down of its calls."""

    def figures(self) -> Iterator[dict[str, Any]]:
        """Increments of what only one kind of driver counts."""

    def wire(self, proxy: str) -> Iterator[dict[str, Any]]:
        """Records of the tap before a proxy."""

    def fault_journal(self) -> Iterator[dict[str, Any]]:
        """Entries of the undo journal."""


@dataclass(slots=True)
class FaultFacts:
    """What became of one planned fault; intervals are [lo, hi] in ns on the record's clock, None where it never happened.

    `target` is what it is on, `on` whether that is a proxy, a process or a container; `proxy` is the one whose tap sees the calls that it is about, None where none does.
    """

    fault_id: str
    target: str
    kind: str
    planned_s: tuple[float, float]
    on: str = "proxy"
    proxy: str | None = None
    injected_ns: tuple[int, int] | None = None
    healed_ns: tuple[int, int] | None = None
    verified_ns: tuple[int, int] | None = None
    unhealed: bool = False
    error: str = ""
    healed_because: str = ""

    @property
    def in_place_s(self) -> float:
        """How long the fault was in place for certain, in seconds; 0 when it never was."""
        if self.injected_ns is None or self.healed_ns is None:
            return 0.0
        return max(0, self.healed_ns[0] - self.injected_ns[1]) / NS_PER_S

    @property
    def healed_and_verified(self) -> bool:
        """The fault is gone and somebody looked; a fault that was never in place needs no healing."""
        return not self.unhealed and (self.injected_ns is None or self.verified_ns is not None)


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """Everything that checkers need, and nothing that they could change."""

    loaded: LoadedPlan
    run_id: str
    seed: int
    strict: bool
    epoch_ns: int
    ending: Mapping[str, Any]
    environment: Mapping[str, Any]
    faults: Mapping[str, FaultFacts]
    table: LoadTable
    workers: tuple[Mapping[str, Any], ...]
    events: Mapping[str, tuple[Mapping[str, Any], ...]]
    in_flight: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """The plan as it was run."""
        return self.loaded.plan

    @property
    def timeline(self) -> Timeline:
        """The timeline as it was compiled then: compiling is deterministic."""
        return self.loaded.timeline

    def at_s(self, ns: int) -> float:
        """Seconds since the epoch of a time on the record's clock."""
        return (ns - self.epoch_ns) / NS_PER_S

    def points(self, load: str, *, slow_ns: float | None = None) -> list[SecondPoint]:
        """One point a second of a load; answers beyond `slow_ns` are counted as slow, where it is given."""
        flights = self.in_flight.get(load, {})
        points = []
        for second, total in self.table.seconds(load):
            answers = total.histograms["r"]
            answered = total.counts[OK] + total.counts[DEGRADED]
            points.append(
                SecondPoint(
                    second=second,
                    offered=total.counts["offered"],
                    good=total.counts["good"],
                    degraded=total.counts[DEGRADED],
                    failed=total.counts["offered"] - answered,
                    median_ns=float(answers.quantile(0.5) or 0),
                    slow=answers.count_above(int(slow_ns)) if slow_ns is not None else 0,
                    in_flight=flights.get(second),
                )
            )
        return points


def read_evidence(reader: RecordReader, *, strict: bool | None = None) -> RunEvidence:
    """Read a record; raises the reader's error, or `PlanInvalid` when the plan in it is not one."""
    loaded = load_text(reader.plan_text(), source="plan.yaml of the record", environment=None)
    events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in reader.events():
        events[str(event.get("kind"))].append(event)
    runs = {str(event["state"]): event for event in events["run"]}
    started = runs.get("started", {})
    epoch_ns = int(runs["epoch"]["epoch_ns"]) if "epoch" in runs else 0
    phases = load_phases(loaded.timeline)
    reports = WorkerReports.read(reader.workers(), epoch_ns, phases)
    return RunEvidence(
        loaded=loaded,
        run_id=str(started.get("run_id", "")),
        seed=int(started.get("seed", 0)),
        strict=bool(started.get("strict")) if strict is None else strict,
        epoch_ns=epoch_ns,
        ending=runs.get("ended", {}),
        environment=reader.environment(),
        faults=_faults(loaded, events["fault"], reader.fault_journal()),
        table=LoadTable.from_messages(reader.bins(), phases),
        workers=reports.messages,
        events={kind: tuple(found) for kind, found in events.items()},
        in_flight=reports.in_flight,
    )


def _faults(
    loaded: LoadedPlan, events: list[Mapping[str, Any]], journal: Iterator[Mapping[str, Any]]
) -> dict[str, FaultFacts]:
    facts = {}
    for fault, span in zip(loaded.plan.faults, loaded.timeline.faults, strict=True):
        planned_s = (span.start_ns / NS_PER_S, span.end_ns / NS_PER_S)
        facts[fault.id] = FaultFacts(fault.id, fault.target, fault.kind, planned_s, fault.on, span.proxy)
    for event in events:
        found = facts.get(str(event.get("id")))
        if found is None:
            continue
        at = event.get("at") or [event["t"], event["t"]]
        interval = (int(at[0]), int(at[1]))
        match event.get("step"):
            case "injected":
                found.injected_ns = interval
            case "healed" | "expired":
                found.healed_ns = interval
            case "verified":
                found.verified_ns = interval
                found.unhealed = False
            case "unhealed":
                found.unhealed = True
            case "failed":
                found.error = str(event.get("detail", {}).get("error", ""))
    _read_journal(facts, journal)
    return facts


def _read_journal(facts: Mapping[str, FaultFacts], journal: Iterator[Mapping[str, Any]]) -> None:
    """Take from the undo journal what the runner did not live to say, and what it must not be believed on alone.

    The journal is written before anything is done, and its rule holds here, too: an intent without a tombstone is a
    fault that may be in place.
    """
    open_intents: dict[Any, FaultFacts] = {}
    for entry in journal:
        found = facts.get(str(entry.get("fault_id")))
        if found is None:
            continue
        match entry.get("kind"):
            case "intent":
                open_intents[entry.get("ticket")] = found
            case "step" if entry.get("step") == "injected" and found.injected_ns is None:
                found.injected_ns = _interval(entry.get("at"))
            case "unhealed":
                found.unhealed = True
            case "tombstone" if entry.get("clean"):
                open_intents.pop(entry.get("ticket"), None)
                found.unhealed = False
                found.healed_because = str(entry.get("reason", ""))
                found.healed_ns = found.healed_ns or _interval(entry.get("healed_at"))
                found.verified_ns = found.verified_ns or _interval(entry.get("verified_at"))
    for found in open_intents.values():
        found.unhealed = True


def _interval(at: Any) -> tuple[int, int] | None:
    return (int(at[0]), int(at[1])) if at else None
