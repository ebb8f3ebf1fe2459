"""One model of a run, built once and rendered many ways.

`build_model` is a pure function of a verdict and a run record: the same folder gives the same report today and in a
year. It reads, folds and words; it judges nothing. What is missing or malformed in the record is absent in the model,
because a report of a broken run is needed most of all.

What it deliberately does not do: fetch, time or escape anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from resilience.metrics.fold import LoadTable
from resilience.report import lanes, series, tables, verdicts
from resilience.report.headline import chips
from resilience.report.journal import MOST_JOURNAL_LINES, moments_of
from resilience.report.texts import (
    clean,
    clean_block,
    mapping,
    named_rows,
    number,
    sequence,
    text,
)
from resilience.report.values import (
    BreakerLane,
    Expectation,
    LoadSeries,
    Moment,
    Past,
    Phase,
    ReportModel,
    RuleRow,
    Span,
    TimeSeries,
)  # fmt: skip

RUNNING = "running"
"""The verdict of a run that goes on: nothing is judged yet."""
LONGEST_PLAN = 60_000
_BOUND = re.compile(r"p\d+:? *<=? *(\d+(?:\.\d+)?) *(ms|s)\b")


class RunSource(Protocol):
    """What a report reads of a run record."""

    @property
    def epoch_ns(self) -> int:
        """Time zero of the report on CLOCK_MONOTONIC, in nanoseconds."""

    @property
    def path(self) -> Path:
        """The folder of the run record."""

    def events(self) -> Iterator[dict[str, Any]]:
        """Walk the event log."""

    def bins(self) -> Iterator[dict[str, Any]]:
        """Walk the per-second bins of all loads."""

    def wire(self, proxy: str) -> Iterator[dict[str, Any]]:
        """Walk what the tap in front of a proxy saw; empty where there was none."""

    def environment(self) -> dict[str, Any]:
        """Give versions, cores, kernel, revision."""

    def timeline(self) -> dict[str, Any]:
        """Give the compiled plan."""

    def plan_text(self) -> str:
        """Give the plan as it was run, with secrets already redacted."""


def build_model(source: RunSource, verdict: dict[str, Any], past: Past | None = None) -> ReportModel:
    """Turn a verdict and the record it was judged from into the one model that renderers read.

    `past` is what the history says of this run's figures: the only thing in a report that is not of the run's own record.
    """
    of = _Facts.of(source, verdict)
    expectations = verdicts.expectation_rows(verdict)
    rules = verdicts.rule_rows(verdict, of.epoch_ns)
    faults = lanes.fault_lanes(verdict, _planned(of.timeline), of.events, of.epoch_ns, of.duration_s)
    problems = mapping(verdict.get("breaker_problems"))
    breakers = lanes.breaker_lanes(of.events, problems, of.epoch_ns, of.duration_s)
    breakage = verdicts.first_breakage(verdict, expectations, rules, of.moments)
    validity = tables.validity_of(verdict)
    return ReportModel(
        name=text(verdict.get("name"), "unnamed run"),
        purpose=text(verdict.get("purpose")),
        verdict=text(verdict.get("verdict"), "unknown"),
        sentence=verdicts.sentence(verdict, breakage, expectations),
        notice=text(verdict.get("notice")),
        also=named_rows(mapping(verdict.get("also")).items()),
        started=text(verdict.get("started") or of.environment.get("started")),
        duration_s=of.duration_s,
        stack=text(verdict.get("stack")),
        seed=clean(str(verdict.get("seed", ""))),
        chips=chips(expectations, faults, breakers, rules, None if of.running else validity),
        expectations=expectations,
        breakage=breakage,
        phases=of.phases,
        loads=_loads(of, verdict, expectations),
        faults=faults,
        breakers=_with_findings(breakers, rules, verdict, of.epoch_ns),
        steps=verdicts.breaker_steps(verdict, of.epoch_ns),
        rules=rules,
        resources=_resources(of),
        dependency=_dependency(of, source, verdict),
        phase_table=tables.phase_table(verdict),
        recovery_table=tables.recovery_table(verdict),
        error_table=tables.error_table(verdict, ("degraded", "shed", "timeout", *series.ERRORS)),
        validity=validity,
        journal=tuple(of.moments[:MOST_JOURNAL_LINES]),
        journal_left_out=max(0, len(of.moments) - MOST_JOURNAL_LINES),
        environment=named_rows(of.environment.items()),
        plan_text=clean_block(source.plan_text(), longest=LONGEST_PLAN),
        reproduce=_reproduce(verdict, of.environment, source.path),
        folder=clean(str(source.path)),
        suffix=suffix_of(verdict, of.environment),
        past=past,
    )


@dataclass(frozen=True, slots=True)
class _Facts:
    """What of a record most parts of the page are made from; times in seconds after the epoch."""

    events: Sequence[Mapping[str, Any]]
    moments: Sequence[Moment]
    epoch_ns: int
    timeline: Mapping[str, Any]
    environment: Mapping[str, Any]
    phases: tuple[Phase, ...]
    duration_s: float
    running: bool
    table: LoadTable
    drawn_s: float
    """How far rates are drawn: of a run that goes on, as far as they are known."""

    @classmethod
    def of(cls, source: RunSource, verdict: Mapping[str, Any]) -> _Facts:
        """Read a record once."""
        events = [event for event in map(mapping, source.events()) if event]
        epoch_ns = source.epoch_ns or _first_ns(events)
        timeline = source.timeline()
        phases = _phases(verdict, timeline)
        duration_s = number(verdict.get("duration_s")) or max((phase.end_s for phase in phases), default=0.0)
        table = LoadTable.from_messages(source.bins())
        running = verdict.get("verdict") == RUNNING
        return cls(
            events=events,
            moments=moments_of(events, epoch_ns),
            epoch_ns=epoch_ns,
            timeline=timeline,
            environment=source.environment(),
            phases=phases,
            duration_s=duration_s,
            running=running,
            table=table,
            drawn_s=_reported_s(table, duration_s) if running else duration_s,
        )


def _loads(
    of: _Facts, verdict: Mapping[str, Any], expectations: Sequence[Expectation]
) -> tuple[LoadSeries, ...]:
    return tuple(
        series.load_series(of.table, name, of.drawn_s, _objective(expectations, verdict, name))
        for name in _planned_order(of.table.loads, of.timeline)
    )


def _resources(of: _Facts) -> tuple[TimeSeries, ...]:
    """Give what is drawn of the system itself: memory and processors, instances, sockets."""
    kinds = (series.resource_series, series.scale_series, series.socket_series)
    return tuple(each for draw in kinds for each in draw(of.events, of.epoch_ns))


def _dependency(of: _Facts, source: RunSource, verdict: Mapping[str, Any]) -> tuple[TimeSeries, ...]:
    tapped = ((proxy, source.wire(proxy)) for proxy in _tapped(verdict, of.timeline))
    return series.dependency_series(tapped, of.epoch_ns, of.drawn_s)


def suffix_of(verdict: Mapping[str, Any], environment: Mapping[str, Any]) -> str:
    """Give "" for the verdict that the run asked for, else the word that tells a second opinion from it.

    Judging a run with other strictness than it was run with must not overwrite what the nightly job has seen.
    """
    asked, given = environment.get("strict"), verdict.get("strict")
    if asked is None or given is None or bool(asked) == bool(given):
        return ""
    return "-strict" if given else "-declared"


def _reported_s(table: LoadTable, duration_s: float) -> float:
    """Give how far the load of a run that goes on is known: the newest second may still lack a worker's share."""
    newest = max((second for name in table.loads for second, _ in table.seconds(name)), default=0)
    return min(duration_s, float(max(1, newest)))


def _first_ns(events: Sequence[Mapping[str, Any]]) -> int:
    """Give a time zero to a run that died before its own: the first thing that happened."""
    return next((event["t"] for event in events if isinstance(event.get("t"), int)), 0)


def _tapped(verdict: Mapping[str, Any], timeline: Mapping[str, Any]) -> list[str]:
    """Name the proxies that a report is about: those with faults, and those of the breakers."""
    faulted = [text(mapping(each).get("proxy")) for each in sequence(timeline.get("faults"))]
    return sorted({*faulted, *map(str, mapping(verdict.get("breakers")))} - {""})


def _phases(verdict: Mapping[str, Any], timeline: Mapping[str, Any]) -> tuple[Phase, ...]:
    """Read the phases; which of them are judged is told by the compiled plan only."""
    planned = [mapping(each) for each in sequence(timeline.get("phases"))]
    judged = {text(each.get("name")): each.get("judge") is not False for each in planned}
    found = [mapping(each) for each in sequence(verdict.get("phases"))] or [
        {"name": each.get("name"), "start_s": (number(each.get("start_ns")) or 0) / 1e9,
         "end_s": (number(each.get("end_ns")) or 0) / 1e9}
        for each in planned
    ]  # fmt: skip
    return tuple(
        Phase(name := text(each.get("name")), start, end, judged=judged.get(name, True))
        for each in found
        if (start := number(each.get("start_s"))) is not None
        and (end := number(each.get("end_s"))) is not None
    )


def _planned(timeline: Mapping[str, Any]) -> dict[str, Span]:
    """Read the window that the plan gave to each fault."""
    windows: dict[str, Span] = {}
    for each in map(mapping, sequence(timeline.get("faults"))):
        start, end = number(each.get("start_ns")), number(each.get("end_ns"))
        if start is not None and end is not None:
            windows[str(each.get("fault_id"))] = (start / 1e9, end / 1e9)
    return windows


def _planned_order(loads: Iterable[str], timeline: Mapping[str, Any]) -> list[str]:
    """Order loads as the plan does; what it does not name comes last."""
    places = {name: place for place, name in enumerate(mapping(timeline.get("segments")))}
    return sorted(loads, key=lambda name: (places.get(name, len(places)), name))


def _objective(expectations: Sequence[Expectation], verdict: Mapping[str, Any], load: str) -> float | None:
    """Find the tightest bound on a response time that an expectation sets for a load, in ms."""
    raw = {text(mapping(each).get("id")): mapping(each) for each in sequence(verdict.get("expectations"))}
    bounds = [
        float(bound) * (1000.0 if unit == "s" else 1.0)
        for each in expectations
        if text(mapping(raw.get(each.id, {}).get("evidence")).get("load")) == load
        for bound, unit in _BOUND.findall(each.expected)
    ]
    return min(bounds, default=None)


def _with_findings(
    found: Sequence[BreakerLane], rules: Sequence[RuleRow], verdict: Mapping[str, Any], epoch_ns: int
) -> tuple[BreakerLane, ...]:
    """Add to each lane where the verifier saw a rule broken, and the probes that it saw let through."""
    probes = {
        (breaker, instance, text(entry.get("boot"))): verdicts.probes(entry, epoch_ns)
        for breaker, instance, entry in verdicts.instance_reports(verdict)
    }
    broken = [each for each in rules if each.verdict == "fail" and each.window]
    return tuple(
        replace(
            lane,
            marks=lane.marks + tuple(
                Moment(each.window[1], "rule", f"{each.rule} {each.title}: {each.reason}")
                for each in broken if each.label == lane.label and each.window
            ),
            probes_s=probes.get((lane.breaker, lane.instance, lane.boot), ())[: lanes.MOST_SPANS],
        )
        for lane in found
    )  # fmt: skip


def _reproduce(verdict: Mapping[str, Any], environment: Mapping[str, Any], folder: Path) -> str:
    """Give the command that repeats the run: the recorded one, else one put together from plan, stack and seed.

    A second opinion is repeated by judging again, not by another run.
    """
    if suffix := suffix_of(verdict, environment):
        return shlex.join(["chaos-spike", "judge", clean(str(folder)), f"-{suffix}"])
    told = verdict.get("command") or environment.get("command")
    if told:
        words = [clean(str(word)) for word in told] if isinstance(told, list | tuple) else None
        return shlex.join(words) if words else text(told)
    words = ["chaos-spike", "run", text(verdict.get("plan"), "PLAN")]
    words += ["--stack", text(verdict.get("stack"))] if verdict.get("stack") else []
    words += ["--seed", clean(str(verdict.get("seed")))] if verdict.get("seed") is not None else []
    return shlex.join(words)
