"""`chaos-spike doctor`: what is here, and what is missing for which feature."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from resilience.run.ending import EXIT_CODES, Verdict


def doctor(
    wanted: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            help="A feature that must be whole, too: lab, compose, report, cluster, pytest, breakers, bench. Repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look at this machine: exit 0 if the core and every feature of --for is whole, 6 if a part of them is missing."""
    from resilience.cli.diagnosis import CORE, FEATURES, examine

    needed = {CORE, *(wanted or ())}
    if unknown := sorted(needed - set(FEATURES)):
        typer.echo(f"no feature {', '.join(unknown)}; there is {', '.join(FEATURES)}", err=True)
        raise typer.Exit(2)
    parts = examine(FEATURES)
    lacking = [part for part in parts if part.feature in needed and not part.present]
    if as_json:
        found = {
            "ok": not lacking,
            "needed": sorted(needed),
            "features": {f: all(part.present for part in parts if part.feature == f) for f in FEATURES},
            "parts": [part.to_json() for part in parts],
        }
        typer.echo(json.dumps(found, indent=2))
    else:
        for feature in FEATURES:
            own = [part for part in parts if part.feature == feature]
            state = "ready" if all(part.present for part in own) else "incomplete"
            typer.echo(f"{feature}: {state}{' (needed)' if feature in needed else ''}")
            for part in own:
                typer.echo(f"  {'ok     ' if part.present else 'missing'} {part.part}: {part.detail}")
        if lacking:
            typer.echo(f"missing: {', '.join(f'{part.feature}/{part.part}' for part in lacking)}", err=True)
    if lacking:
        raise typer.Exit(EXIT_CODES[Verdict.SETUP_FAILED])
