"""A plan from texts, with source:line:column in every error and the nearest known key in the message. Pure.

Order: parse, overlays, `--set`, variables, rows of data, schema, compile, record. The environment and the reader of data files are
handed in (`files` has the one for disks). `LoadedPlan.recorded` is what may be written down (`recording`); before a plan is
returned, that text has been read back and come to the same timeline, so that no run is made whose record cannot be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from resilience.breaker.sources.resilience4j import SourceError
from resilience.breaker.sources.written import is_file_spec, resolve_file_spec
from resilience.plan.addresses import stand_ins
from resilience.plan.bounds import bound_doubts
from resilience.plan.calls import request_of
from resilience.plan.compile import compile_plan
from resilience.plan.inlining import Beside, DataUnreadable, Rows, inline_load
from resilience.plan.layers import Layers
from resilience.plan.messages import TAGS, problems_of
from resilience.plan.problems import PlanInvalid, Problem
from resilience.plan.recording import recordable
from resilience.plan.schema import Plan
from resilience.plan.texts import dump
from resilience.plan.timeline import Timeline
from resilience.plan.variables import fill, named


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan that is ready to run, what of it may be written down, and what is odd about it though it can be run."""

    plan: Plan
    timeline: Timeline
    source: str
    recorded: str
    doubts: tuple[Problem, ...] = ()

    def doubt_lines(self) -> list[str]:
        """One line a doubt: `source:line:column: path: message`."""
        return PlanInvalid(self.doubts, self.source).lines()


def load_text(
    text: str,
    *,
    source: str,
    environment: Mapping[str, str] | None,
    overlays: Sequence[tuple[str, str]] = (),
    settings: Sequence[str] = (),
    read_data: Callable[[str], Rows] | None = None,
    read_text: Callable[[str], str] | None = None,
    find: Callable[[str], str] | None = None,
) -> LoadedPlan:
    """Load a plan from texts; raises `PlanInvalid` with every problem found.

    `overlays` are (source, text). `environment=None` leaves variables as they stand: re-judging a record, which is
    then its own record. `read_data` gives the rows of a data file by the name in the plan, or raises `DataUnreadable`;
    `read_text` gives the text of a file (a breaker's specification, offsets of a replay, a script), likewise; `find` gives
    the absolute path of a file that workers will need (a script, a certificate).
    """
    given = environment or {}
    texts = (text, *(overlay for _, overlay in overlays), *settings)

    def shown(problems: Sequence[Problem]) -> tuple[Problem, ...]:
        return tuple(replace(p, message=named(p.message, texts, given)) for p in problems)

    try:
        loaded = _load(text, source, environment, overlays, settings, Beside(read_data, read_text, find))
        return replace(loaded, doubts=shown(loaded.doubts))
    except PlanInvalid as error:
        raise PlanInvalid(shown(error.problems), error.source) from None  # its words may hold a password


def _load(
    text: str,
    source: str,
    environment: Mapping[str, str] | None,
    overlays: Sequence[tuple[str, str]],
    settings: Sequence[str],
    beside: Beside,
) -> LoadedPlan:
    layers = Layers(text, source, tags=TAGS)
    for overlay_source, overlay_text in overlays:
        layers.overlay(overlay_text, overlay_source)
    for setting in settings:
        layers.set(setting)
    values = layers.values
    if environment is not None:
        problems: list[Problem] = []
        values = fill(layers.values, environment, (), problems)
        if not problems:
            inline_load(values, beside, problems)
        if not problems and beside.text is not None:
            _inline_specs(values, beside.text, problems)
        if problems:
            raise layers.invalid(problems)
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise layers.invalid(problems_of(error.errors())) from error
    try:
        timeline = compile_plan(plan, filled=environment is not None)
    except PlanInvalid as error:
        raise layers.invalid(error.problems) from error
    if environment is None:
        return LoadedPlan(plan, timeline, source, text)
    recorded = dump(recordable(layers.values, values))
    _check_record(recorded, plan, timeline, source)
    doubts = layers.invalid(bound_doubts(plan, timeline)).problems
    return LoadedPlan(plan, timeline, source, recorded, doubts)


def _inline_specs(values: dict[str, Any], read_text: Callable[[str], str], problems: list[Problem]) -> None:
    """`spec: {file: application.yml, ...}` becomes what stands there, so that the record can be judged without the file."""
    breakers = values.get("breakers")
    for name, breaker in breakers.items() if isinstance(breakers, dict) else ():
        if not isinstance(breaker, dict) or not is_file_spec(breaker.get("spec")):
            continue
        try:
            breaker["spec"] = resolve_file_spec(breaker["spec"], read_text)
        except (SourceError, DataUnreadable) as error:
            problems.append(Problem(("breakers", name, "spec"), str(error)))


def _check_record(recorded: str, plan: Plan, timeline: Timeline, source: str) -> None:
    """Read back what will be written down, as the judge will after the run."""
    try:
        again = load_text(recorded, source="the record", environment=None)
        addresses = stand_ins(again.plan)
        for stream in again.plan.load.values():
            request_of(stream, addresses)
        same = again.timeline == timeline and again.plan.expect == plan.expect
        why = "it comes to another timeline" if not same else ""
    except ValueError as error:
        why = str(error)
    except PlanInvalid as error:
        why = error.lines()[0]
    if why:
        message = (
            f"the run could not be judged from its record, which keeps variables of requests unfilled: {why}"
        )
        raise PlanInvalid([Problem((), message)], source)
