"""The options of `chaos-spike run`: what each takes and what `--help` says of it. What they mean stands where they are used."""

from pathlib import Path
from typing import Annotated

import typer

from resilience.cli.place import Fallback, StackKind

Plans = Annotated[
    list[str] | None,
    typer.Argument(
        help="Plan files, or names of built-in plans (default: breaker; `suite` is the spike suite)."
    ),
]
Stack = Annotated[
    StackKind | None,
    typer.Option(help="Where the system under test lives (default: embedded; external with --target)."),
]
Target = Annotated[
    str | None,
    typer.Option(
        help="The external system: an address, `lab` (of `lab up`), or `auto` (ports 8000 and 8200)."
    ),
]
FallbackTo = Annotated[
    Fallback | None, typer.Option(help="Use the embedded lab, and say so, where no target is there.")
]
Out = Annotated[Path, typer.Option(help="Folder that gets one folder a run.")]
Seed = Annotated[int | None, typer.Option(help="Seed of every random choice; drawn when not given.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        help="Load worker processes (default: 2, at most 256; with --cluster one for each dask worker).",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A dask scheduler, such as tcp://host:8786, whose workers drive the load instead of this machine.",
    ),
]
Jobs = Annotated[int, typer.Option(min=1, max=64, help="Plans at the same time, each with a lab of its own.")]
Live = Annotated[bool, typer.Option("--live", help="Serve the page while the run goes on.")]
Strict = Annotated[bool, typer.Option("--strict", help="Judge breakers without declared deviations.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the timeline; start nothing.")]
Overlays = Annotated[list[Path] | None, typer.Option(help="A YAML file laid over each plan.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE in the plan, repeatable.")]
OutcomeFile = Annotated[Path | None, typer.Option(hidden=True, help="Where --jobs wants the outcome.")]
Notice = Annotated[
    str | None, typer.Option(hidden=True, help="What --jobs has to say of the place it fell back to.")
]
