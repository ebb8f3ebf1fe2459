"""Did the generator do what it says it did? A run that its own load spoilt is invalid, whatever else it shows. Pure.

The gates, each with its reason in words when it is not met:

- every worker ended in order, and was never silent: no gap between its reports above SILENCE_S, no stall above STALL_S;
- in every phase at least STARTED_SHARE of the schedule was taken up (an arrival dropped at the in-flight cap was taken up,
  and failed: that is the target's fault or the cap's, and a note says which);
- for rates, in judged phases, lag p99 <= max(LAG_MS, LAG_SHARE of that phase's p50): the share of operations that started later
  than that is not significantly above 1 % (a p99 of two hundred operations is its second largest: noise);
- nor are more than STRAGGLER_SHARE of any one worker's operations as late: one of two hundred is less than all of them together show;
- for herds, first to last write within HERD_SPREAD_MS;
- in judged phases each worker used less than CPU_SHARE of a core, and never more than FD_SHARE of its file descriptors;
- of a cluster's workers, none heard the start after the epoch or kept the runner waiting for an answer;
- the law of conservation: offered = sum over the categories, in every phase and second, and offered = scheduled overall.

Little's law is checked as well, in phases that were steady (`littles_law`). What contradicts it is noted, not a reason: the number in
flight is sampled by the very loop whose figures it checks.

What it deliberately does not do: weigh one gate against another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from resilience.load.model import PhaseWindow
from resilience.metrics.clocks import clock_notes, worker_clocks
from resilience.metrics.fold import LoadTable
from resilience.metrics.gathered import middle_ns
from resilience.metrics.littles_law import steady_law
from resilience.metrics.outcomes import DROPPED, UNFINISHED
from resilience.metrics.shares import wilson_interval

STARTED_SHARE = 0.99
LAG_MS = 10.0
LAG_SHARE = 0.05
LATE_SHARE = 0.01
STRAGGLER_SHARE = 0.1
HERD_SPREAD_MS = 250.0
CPU_SHARE = 0.85
FD_SHARE = 0.9
SILENCE_S = 3.0
STALL_S = 1.0
_SECOND_NS = 1e9
_SYN_RETRIES_NS = (
    (990_000_000, 1_250_000_000),
    (2_990_000_000, 3_400_000_000),
    (6_990_000_000, 7_600_000_000),
)
"""A connection whose first packet was dropped is made when that packet is sent again: after 1, 3 and 7 seconds."""
_SYN_RETRIES_SEEN = 5
"""So many of them are no coincidence."""


@dataclass(frozen=True, slots=True)
class Validity:
    """The judgement, and the figures it rests on. `reasons` is empty exactly when `valid`."""

    valid: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What does not invalidate the run but has to be said, such as arrivals dropped at the cap."""
    lag_p99_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """By load and phase."""
    started_share: dict[str, dict[str, float]] = field(default_factory=dict)
    """By load and phase: arrivals taken up, by arrivals scheduled."""
    cpu: dict[str, dict[str, float]] = field(default_factory=dict)
    """By worker and phase: share of one core."""
    herd_spread_ms: dict[str, float] = field(default_factory=dict)
    """By load that is a herd: the longest time from the first to the last write of a wave."""
    stall_ms: dict[str, float] = field(default_factory=dict)
    """By worker: the longest time in which it did not run when it should have."""
    littles_law: dict[str, dict[str, float]] = field(default_factory=dict)
    """By load and steady phase: by what share operations in flight differ from rate times stay."""
    conservation: bool = True
    clocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By worker elsewhere: by how much its clock was ahead and what error is left, ms."""

    def to_json(self) -> dict[str, Any]:
        """The judgement as JSON-able values."""
        return asdict(self)


def judge_validity(
    table: LoadTable,
    scheduled: Mapping[str, Mapping[str, int]],
    messages: Iterable[Mapping[str, Any]],
    phases: Sequence[PhaseWindow],
) -> Validity:
    """Judge a run.

    `scheduled` says by load and phase how many arrivals the plan has (`schedule.counts_by_phase`; a closed model's is empty);
    `messages` are all messages of the workers, of which `worker`, `end` and `lost` matter here.
    """
    evidence = _Evidence(table, scheduled, list(messages), phases)
    ends = [message for message in evidence.messages if message.get("kind") == "end"]
    # First, because everything else may follow from it.
    evidence.losses()
    evidence.descriptors()
    differences, contradictions = evidence.littles_law()
    return Validity(
        lag_p99_ms=evidence.lag(_herds(ends)),
        started_share=evidence.starts(),
        cpu=evidence.cpu(ends),
        herd_spread_ms=evidence.herds(ends),
        stall_ms=evidence.silences(ends),
        conservation=evidence.conservation(ends),
        littles_law=differences,
        notes=(
            *evidence.drops(),
            *evidence.retransmitted_connects(),
            *clock_notes(evidence.clocks),
            *contradictions,
        ),
        clocks={str(clock.worker): clock.to_json() for clock in evidence.clocks},
        # Evaluated last: each of the above adds its reasons.
        reasons=tuple(evidence.reasons),
        valid=not evidence.reasons,
    )


def _herds(ends: Iterable[Mapping[str, Any]]) -> set[str]:
    return {end["load"] for end in ends if end.get("herd_spread_ns") is not None}


class _Evidence:
    """The gates, one method each; every one adds its reasons."""

    def __init__(
        self,
        table: LoadTable,
        scheduled: Mapping[str, Mapping[str, int]],
        messages: list[Mapping[str, Any]],
        phases: Sequence[PhaseWindow],
    ) -> None:
        self._table = table
        self._scheduled = scheduled
        self.messages = messages
        self._phases = phases
        self._judged = [phase for phase in phases if phase.judge]
        self.clocks = worker_clocks(messages)
        self._names = {m["worker"]: f" ({m['name']})" for m in messages if m.get("name")}
        self.reasons: list[str] = []

    def losses(self) -> None:
        for message in self.messages:
            if message.get("kind") == "lost":
                exit_ = "" if message["exit"] is None else f" (exit {message['exit']})"
                self.reasons.append(f"{self._who(message['worker'])} was lost{exit_}")
            elif message.get("kind") == "late":
                late = f"{self._who(message['worker'])} was {message['late_ns'] / 1e6:.0f} ms late"
                self.reasons.append(f"{late}: {message['why']}")

    def starts(self) -> dict[str, dict[str, float]]:
        shares: dict[str, dict[str, float]] = {}
        for load, by_phase in self._scheduled.items():
            for phase, wanted in by_phase.items():
                if wanted == 0:
                    continue
                share = self._table.bin(load, phase=phase).counts["offered"] / wanted
                shares.setdefault(load, {})[phase] = share
                if share < STARTED_SHARE:
                    self.reasons.append(
                        f"load {load}, phase {phase}: the generator took up {share:.1%} of its schedule "
                        f"(at least {STARTED_SHARE:.0%} is needed)"
                    )
        return shares

    def lag(self, herds: set[str]) -> dict[str, dict[str, float]]:
        lags: dict[str, dict[str, float]] = {}
        judged = {phase.name for phase in self._judged}
        for load in self._table.loads:
            for phase in self._table.phases(load):
                summary = self._table.phase(load, phase)
                if summary.lag_p99_ms is None:
                    continue
                lags.setdefault(load, {})[phase] = summary.lag_p99_ms
                limit = max(LAG_MS, LAG_SHARE * (summary.p50_ms or 0.0))
                lags_seen = self._table.bin(load, phase=phase).histograms["lag"]
                late, _ = wilson_interval(lags_seen.count_above(int(limit * 1e6)), lags_seen.count)
                if phase not in judged or load in herds:
                    continue
                if late > LATE_SHARE:
                    self.reasons.append(
                        f"load {load}, phase {phase}: operations started late, lag p99 {summary.lag_p99_ms:.1f} ms "
                        f"(at most {limit:.1f} ms): the machine was too busy for the generator"
                    )
                self._stragglers(load, phase, limit)
        return lags

    def _stragglers(self, load: str, phase: str, limit_ms: float) -> None:
        for worker, lags in self._table.lags(load, phase).items():
            late = lags.count_above(int(limit_ms * 1e6))
            surely, _ = wilson_interval(late, lags.count)
            if surely > STRAGGLER_SHARE:
                self.reasons.append(
                    f"load {load}, phase {phase}: {self._who(worker)} started {late / lags.count:.0%} of its operations more than "
                    f"{limit_ms:.1f} ms late (at most {STRAGGLER_SHARE:.0%}): its machine was too busy for the generator"
                )

    def herds(self, ends: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        writes: dict[str, dict[int, list[int]]] = {}
        for end in ends:
            for wave, first, last in end.get("herd_writes") or ():
                writes.setdefault(end["load"], {}).setdefault(wave, []).extend((first, last))
        spreads = {
            load: max(max(stamps) - min(stamps) for stamps in waves.values()) / 1e6
            for load, waves in writes.items()
        }
        # First and last write may be of two workers, each of whose clocks is wrong by something within its error.
        doubt = max((clock.width_ns for clock in self.clocks), default=0) / 1e6
        for load, spread in spreads.items():
            if spread + doubt > HERD_SPREAD_MS:
                doubtful = f", give or take {doubt:.0f} ms of the workers' clocks," if doubt else ""
                self.reasons.append(
                    f"load {load}: the herd was spread over {spread:.0f} ms{doubtful} from its first to its last request "
                    f"(at most {HERD_SPREAD_MS:.0f} ms)"
                )
        return spreads

    def cpu(self, ends: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        epoch = max((end["epoch_ns"] for end in ends), default=None)
        shares: dict[str, dict[str, list[tuple[int, float]]]] = {}
        if epoch is None:
            return {}
        for report in self._reports():
            middle = middle_ns(report) - epoch
            for phase in self._judged:
                if phase.start_ns <= middle < phase.end_ns:
                    of_worker = shares.setdefault(str(report["worker"]), {})
                    of_worker.setdefault(phase.name, []).append((report.get("n", 1), report["cpu"]))
        means = {
            w: {name: sum(n * cpu for n, cpu in of) / sum(n for n, _ in of) for name, of in by_phase.items()}
            for w, by_phase in shares.items()
        }
        for worker, by_phase in means.items():
            for name, mean in by_phase.items():
                if mean >= CPU_SHARE:
                    self.reasons.append(
                        f"worker {worker}, phase {name}: the generator used {mean:.0%} of its core "
                        f"(less than {CPU_SHARE:.0%} is needed): more workers, or less load"
                    )
        return means

    def descriptors(self) -> None:
        worst: dict[int, tuple[int, int]] = {}
        for report in self._reports():
            fds, limit = report["fds"], report.get("fd_limit", 2**62)
            if fds > FD_SHARE * limit:
                worst[report["worker"]] = max(worst.get(report["worker"], (0, limit)), (fds, limit))
        self.reasons.extend(
            f"worker {worker}: {fds} of {limit} file descriptors in use"
            for worker, (fds, limit) in sorted(worst.items())
        )

    def silences(self, ends: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        seen: dict[int, list[tuple[int, int]]] = {}
        stalls: dict[str, float] = {}
        gaps: dict[int, int] = {}
        for report in self._reports():
            worker = report["worker"]
            seen.setdefault(worker, []).append((report.get("from_t", report["t"]), report["t"]))
            gaps[worker] = max(gaps.get(worker, 0), report.get("gap_ns", 0))
            stalls[str(worker)] = max(stalls.get(str(worker), 0.0), report.get("stall_ns", 0) / 1e6)
        for end in ends:
            seen.setdefault(end["worker"], []).extend((t, t) for t in (end["epoch_ns"], end["t"]))
            stalls[str(end["worker"])] = max(
                stalls.get(str(end["worker"]), 0.0), end.get("stall_ns", 0) / 1e6
            )
        for worker, stamps in seen.items():
            stamps.sort()
            between = max((later - earlier for (_, earlier), (later, _) in pairwise(stamps)), default=0)
            silence = max(between, gaps.get(worker, 0)) / _SECOND_NS
            if silence > SILENCE_S:
                self.reasons.append(
                    f"{self._who(worker)} was silent for {silence:.1f} s (at most {SILENCE_S:.0f} s)"
                )
            elif stalls.get(str(worker), 0.0) > STALL_S * 1e3:
                self.reasons.append(
                    f"{self._who(worker)} did not run for {stalls[str(worker)]:.0f} ms at a stretch"
                )
        if not ends and self._scheduled:
            self.reasons.append("no worker reported the end of its load")
        return stalls

    def conservation(self, ends: Sequence[Mapping[str, Any]]) -> bool:
        broken = []
        for load in self._table.loads:
            wrong = [
                second
                for second, found in self._table.seconds(load)
                if found.counts["offered"] != found.ended
            ]
            if wrong:
                total = self._table.bin(load)
                broken.append(
                    f"load {load}: {total.counts['offered']} offered but {total.ended} accounted for (first in second {wrong[0]})"
                )
        for load in {end["load"] for end in ends}:
            offered = self._table.bin(load).counts["offered"] if load in self._table.loads else 0
            scheduled = sum(end["scheduled"] for end in ends if end["load"] == load)
            if offered != scheduled:
                broken.append(f"load {load}: {scheduled} scheduled but {offered} offered")
        self.reasons.extend(broken)
        return not broken

    def drops(self) -> tuple[str, ...]:
        notes = []
        for load in self._table.loads:
            total = self._table.bin(load)
            dropped = total.counts[DROPPED]
            if dropped:
                lag = total.histograms["lag"].quantile(0.99) or 0
                culprit = "the target was slow" if lag <= LAG_MS * 1e6 else "the generator was slow too"
                notes.append(
                    f"load {load}: {dropped} arrivals dropped at the in-flight cap, lag p99 {lag / 1e6:.1f} ms: {culprit}"
                )
            if total.counts[UNFINISHED]:
                notes.append(
                    f"load {load}: {total.counts[UNFINISHED]} operations unfinished at the end, counted as failures"
                )
        return tuple(notes)

    def retransmitted_connects(self) -> tuple[str, ...]:
        notes = []
        for load in self._table.loads:
            connects = self._table.bin(load).histograms["connect"]
            slow = connects.count_above(int(0.9e9))
            near = sum(
                connects.count_above(low) - connects.count_above(high) for low, high in _SYN_RETRIES_NS
            )
            if near >= _SYN_RETRIES_SEEN and near > slow / 2:
                notes.append(
                    f"load {load}: {near} connections took about 1, 3 or 7 s, the times at which a first packet is repeated: "
                    "the target's queue of waiting connections overflowed (its listen backlog is too short for this)"
                )
        return tuple(notes)

    def _who(self, worker: int) -> str:
        """A worker by its number, and by its place where that is not this machine."""
        return f"worker {worker}{self._names.get(worker, '')}"

    def littles_law(self) -> tuple[dict[str, dict[str, float]], list[str]]:
        differences: dict[str, dict[str, float]] = {}
        notes = []
        for load in self._table.loads:
            for phase in self._judged:
                law = steady_law(self._table, self.messages, load, phase)
                if law is None:
                    continue
                differences.setdefault(load, {})[phase.name] = round(law.difference, 4)
                if not law.holds:
                    notes.append(
                        f"load {load}, phase {phase.name}: {law.in_flight:.1f} operations in flight, but {law.per_s:.1f}/s that "
                        f"take {law.stay_s * 1e3:.1f} ms each make {law.per_s * law.stay_s:.1f} (Little's law): one of the three is wrong"
                    )
        return differences, notes

    def _reports(self) -> list[Mapping[str, Any]]:
        return [message for message in self.messages if message.get("kind") == "worker"]
