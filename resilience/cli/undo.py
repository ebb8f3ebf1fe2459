"""`chaos-spike undo`: heal whatever dead runners left behind."""

from __future__ import annotations

import typer

from resilience.run.ending import EXIT_CODES, Verdict


def undo() -> None:
    """Heal every fault that a dead runner left, verify it, and say so. Exit 5 if one could not be healed."""
    from faults.journal import default_state_dir
    from faults.sweep import sweep

    state_dir = default_state_dir()
    results = sweep(state_dir)
    for result in results:
        outcome = "healed" if result.clean else f"NOT healed: {result.error}"
        typer.echo(f"{result.fault_id} on {result.target}: {outcome} (journal {result.journal})")
    if not results:
        typer.echo(f"nothing to undo in {state_dir}")
    if any(not result.clean for result in results):
        raise typer.Exit(EXIT_CODES[Verdict.UNHEALED])
