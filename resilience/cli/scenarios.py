"""Find the plan that a name or a path means, and load it; problems end in exit code 2 before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NoReturn

import typer

from resilience.plan import LoadedPlan, Plan, PlanInvalid, load_plan
from resilience.plan.problems import nearest
from resilience.run.ending import EXIT_USAGE

SUITE = "suite"
SUITE_PLANS = (
    "login-herd",
    "websocket-avalanche",
    "autoscale",
    "breaker",
    "db-pool",
    "cache-coherence",
    "websocket-waves",
    "websocket-performance",
    "websocket-ramp",
    "websocket-stability",
)
"""What `suite` stands for. `metastable` and `conformance` take their own time and are asked for by name."""


def expanded(names: Sequence[str], *, external: bool = False) -> list[str]:
    """The plans that were asked for, with `suite` replaced by its members, each plan file or name as it was given.

    A built-in plan that has a form of its own for systems that others run is taken in that form where it is `external`.
    """
    known = set(scenario_names())
    members = [name for name in SUITE_PLANS if name in known]
    found = [each for name in names for each in (members if name == SUITE else [name])]
    forms = {name: f"{name}-external" for name in found if external and not Path(name).is_file()}
    return [forms[name] if forms.get(name) in known else name for name in found]


def compose_lacks(plan: Plan) -> str:
    """What a plan wants that the lab in containers cannot do, as the rest of a sentence; empty where it can do all."""
    if plan.stimulus:
        return "plays the dependency itself, which containers do not reach; run it with --stack embedded or external"
    return ""


def scenario_names() -> list[str]:
    """Names of the built-in plans."""
    folder = resources.files("resilience.scenarios")
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def find_plan(name: str) -> Path:
    """A path to a file wins over the name of a built-in plan."""
    if not name:
        fail_usage("the name of the plan is empty; is a variable not set?")
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        fail_usage(f"{name} is a folder: name a plan file in it{_yaml_files(path)}")
    known = [*scenario_names(), SUITE]
    if name not in known:
        fail_usage(f"no plan file and no built-in plan {name!r}{nearest(name, known)}")
    if name == SUITE:
        fail_usage(
            f"{SUITE!r} names several plans: run them with `chaos-spike run {SUITE}` (with --dry-run they are only shown)"
        )
    # The package is always installed as files: the lab starts programs from it, too.
    return Path(str(resources.files("resilience.scenarios") / f"{name}.yaml"))


def _yaml_files(folder: Path) -> str:
    # A plan often stands beside the compose file of the system that it is for.
    found = sorted(
        each.name
        for each in folder.iterdir()
        if each.suffix in (".yaml", ".yml") and not each.name.startswith(("compose.", "docker-compose"))
    )
    return f", such as {folder / found[0]}" if found else ""


def load_or_exit(name: str, *, overlays: Sequence[Path] = (), settings: Sequence[str] = ()) -> LoadedPlan:
    """Load and compile a plan, or say every problem with its place and exit with 2."""
    try:
        loaded = load_plan(find_plan(name), environment=os.environ, overlays=overlays, settings=settings)
        for line in loaded.doubt_lines():
            typer.echo(f"warning: {line}", err=True)
        return loaded
    except PlanInvalid as error:
        for line in error.lines():
            typer.echo(line, err=True)
        count = len(error.problems)
        fail_usage(f"{count} problem{'s' if count > 1 else ''} in the plan; nothing was started")


def fail_usage(message: str) -> NoReturn:
    """Say it on stderr and exit with 2."""
    typer.echo(f"chaos-spike: {message}", err=True)
    raise typer.Exit(EXIT_USAGE)
