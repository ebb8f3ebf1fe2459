"""`chaos-spike plan`: check a plan, print its timeline or its JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from resilience.cli.place import Place, StackKind, check_stack
from resilience.cli.plan_init import init
from resilience.cli.scenarios import SUITE, expanded, load_or_exit, scenario_names
from resilience.plan import Timeline
from resilience.plan.arrivals import describe, start_ns
from resilience.plan.units import format_duration, format_rate

plan_app = typer.Typer(no_args_is_help=True, help="Write and check plans, and show what they would do.")
plan_app.command("init")(init)


@plan_app.command("check")
def check(
    plan: Annotated[str, typer.Argument(help="A plan file, or the name of a built-in plan.")],
    stack: Annotated[
        StackKind | None,
        typer.Option(
            help="Where it is to be run: `external` takes the form that a built-in plan has for that."
        ),
    ] = None,
    overlay: Annotated[list[Path] | None, typer.Option(help="A YAML file laid over the plan.")] = None,
    setting: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, for example name=x.")] = None,
) -> None:
    """Load and compile a plan; say what is wrong with file:line:column, or show the timeline."""
    (name,) = expanded([plan], external=stack is StackKind.EXTERNAL) if plan != SUITE else (plan,)
    loaded = load_or_exit(name, overlays=overlay or (), settings=setting or ())
    if stack is not None:
        check_stack(loaded, Place(stack))
    print_timeline(loaded.timeline)
    if stack is None and name == plan and expanded([plan], external=True) != [plan]:
        typer.echo(
            f"on --stack external another form of it is run: chaos-spike plan check {plan} --stack external"
        )


@plan_app.command("schema")
def schema() -> None:
    """Print the JSON Schema of plans, for editors."""
    from resilience.plan.schema import Plan

    typer.echo(json.dumps(Plan.model_json_schema(), indent=2))


@plan_app.command("list")
def list_plans() -> None:
    """Name the built-in plans and what they protect."""
    names = scenario_names()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {load_or_exit(name).plan.purpose}")


def print_timeline(timeline: Timeline) -> None:
    """Every operation with its offset."""
    typer.echo(f"{timeline.name}: {format_duration(timeline.duration_ns)}")
    for load, segments in timeline.segments.items():
        for segment in segments:
            rate = format_rate(segment.start_per_s)
            if segment.end_per_s != segment.start_per_s:
                rate += f" to {format_rate(segment.end_per_s)}"
            typer.echo(f"  {segment.start_ns / 1e9:8.3f} s  load {load}: {rate}")
    for load, shape in timeline.shapes.items():
        typer.echo(f"  {start_ns(shape) / 1e9:8.3f} s  load {load}: {describe(shape)}")
    what = {span.fault_id: f" ({span.what})" for span in timeline.faults}
    for operation in timeline.operations:
        said = what.get(operation.subject, "") if operation.kind == "fault.inject" else ""
        typer.echo(f"  {operation.at_ns / 1e9:8.3f} s  {operation.kind} {operation.subject}{said}")
