"""`chaos-spike undo`: heal whatever dead runners left behind."""

from __future__ import annotations

import typer

from resilience.run.ending import EXIT_CODES, Verdict


def undo() -> None:
    """Heal every fault that a dead runner left, verify it, and say so. Exit 5 if one could not be healed."""
    from faults.session import default_state_dir, sweep

    state_dir = default_state_dir()
    results = sweep(state_dir)
    for result in results:
        typer.echo(str(result))
    if not results:
        typer.echo(f"nothing to undo in {state_dir}")
    if any(not result.healed for result in results):
        raise typer.Exit(EXIT_CODES[Verdict.UNHEALED])
