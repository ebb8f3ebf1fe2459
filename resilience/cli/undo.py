"""`chaos-spike undo`: heal whatever dead runners left behind, then take down or put back containers that they left."""

from __future__ import annotations

import os

import typer

from resilience.run.ending import EXIT_CODES, Verdict


def undo() -> None:
    """Heal every fault that a dead runner left, verify it, take down its compose stack, put back what was interposed, and say so.

    Exit 5 if a fault could not be healed, 6 if a stack could not be taken down or put back.
    """
    from faults.journal import default_state_dir
    from faults.sweep import sweep
    from resilience.interpose.standing import undo_notes
    from resilience.lab.compose.journal import sweep_projects

    state_dir = default_state_dir()
    results = sweep(state_dir)
    for result in results:
        outcome = "healed" if result.clean else f"NOT healed: {result.error}"
        typer.echo(f"{result.fault_id} on {result.target}: {outcome} (journal {result.journal})")
    # Faults first: a stack that is gone could no longer show that it was healed.
    projects = sweep_projects(state_dir, os.environ)
    for project in projects:
        outcome = "taken down" if project.error is None else f"NOT taken down: {project.error}"
        typer.echo(f"compose stack {project.name}: {outcome}")
    interposed = undo_notes(os.environ, state_dir, all_of_them=True)
    for each in interposed:
        outcome = "put back as it was" if each.error is None else f"NOT put back: {each.error}"
        typer.echo(f"compose project {each.project} ({', '.join(each.services)} interposed): {outcome}")
    if not results and not projects and not interposed:
        typer.echo(f"nothing to undo in {state_dir}")
    if any(not result.clean for result in results):
        raise typer.Exit(EXIT_CODES[Verdict.UNHEALED])
    if any(error is not None for error in (*(p.error for p in projects), *(i.error for i in interposed))):
        raise typer.Exit(EXIT_CODES[Verdict.SETUP_FAILED])
