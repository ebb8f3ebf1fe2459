"""`chaos-spike interpose`: put a toxic proxy and a tap in front of the dependencies in anybody's compose file, and prove it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from resilience.cli.scenarios import fail_usage
from resilience.cli.terminal import complain
from resilience.run.ending import EXIT_CODES, Verdict

if TYPE_CHECKING:  # imported when it runs: `--help` stays fast
    from resilience.interpose.journal import Note
    from resilience.interpose.model import Interposition, Wanted
    from resilience.interpose.standing import Prepared, Site


def interpose(
    file: Annotated[Path, typer.Argument(help="The compose file.")],
    more: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", help="A further file laid over it, as compose's own -f."),
    ] = None,
    dependency: Annotated[
        list[str] | None,
        typer.Option(help="NAME or NAME:PORT of a service; without any, every service that others call."),
    ] = None,
    up: Annotated[
        bool, typer.Option("--up", help="Do it: start or change the project, and prove it.")
    ] = False,
    prove: Annotated[
        bool, typer.Option("--prove", help="Prove again what stands interposed, such as under load.")
    ] = False,
    project: Annotated[str | None, typer.Option(help="The project's name, as compose's own -p.")] = None,
    profile: Annotated[list[str] | None, typer.Option(help="A profile of the file, repeatable.")] = None,
    env_file: Annotated[Path | None, typer.Option(help="Variables for the file, as compose's own.")] = None,
) -> None:
    """Put proxies in front of the dependencies of a compose file; without --up, only say what would be done.

    Undo it with `chaos-spike undo`. Exit 2 if something cannot be interposed (nothing was changed), 3 if calls can or do go
    past a proxy, or if that could not be looked at, 6 if the project could not be brought up (it was put back).
    """
    from faults.journal import default_state_dir
    from resilience.interpose.composing import FilesInvalid, compose_files
    from resilience.interpose.model import InterposeRefused
    from resilience.interpose.standing import Site, prepare
    from resilience.lab.system import StackError

    if up and prove:
        fail_usage("--up proves by itself what it does; --prove is for what stands already: give one of them")
    try:
        files = compose_files(
            [file, *(more or ())], project=project, env_file=env_file, profiles=profile or ()
        )
        wanted = [_wanted(text) for text in dependency or ()]
        site = Site.open(os.environ, default_state_dir())
        try:
            if prove:
                _prove_standing(site, str(site.composer.resolve(files)[0].project))
                return
            prepared = prepare(site, files, wanted)
            _say_plan(prepared.plan, prepared.warnings)
            if not up:
                typer.echo("nothing was changed; with --up it is done")
                return
            _say_standing(site, _apply(site, prepared))
        finally:
            site.engine.close()
    except FilesInvalid as error:
        fail_usage(str(error))
    except InterposeRefused as error:
        fail_usage(f"refused, and nothing was changed:\n{error}")
    except StackError as error:
        complain(error)
        raise typer.Exit(EXIT_CODES[Verdict.SETUP_FAILED]) from error


def _wanted(text: str) -> Wanted:
    from resilience.interpose.model import Wanted

    name, colon, port = text.partition(":")
    if not name or (colon and not (port.isdecimal() and 1 <= int(port) <= 65535)):
        fail_usage(f"--dependency {text!r}: write NAME or NAME:PORT")
    return Wanted(name, int(port) if port else None)


def _apply(site: Site, prepared: Prepared) -> Note:
    """Do it; a signal on the way puts everything back, and what it could not put back is said."""
    from resilience.interpose.journal import read_note, write_note
    from resilience.interpose.standing import apply, restore
    from resilience.lab.system import StackError

    received = 0

    def stop(number: int, _frame: object) -> NoReturn:
        nonlocal received
        received = number
        # Once: what puts things back must not be ended by a second one.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    former = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        note = apply(site, prepared)
        try:
            write_note(site.state_dir, note.kept_by_nobody())
        except StackError:
            restore(
                site, note
            )  # it may not stand: the next start would take it for what a dead process has left
            raise
    except KeyboardInterrupt:
        # Its note is forgotten when all of it is back, not before.
        project = str(prepared.files.project)
        if read_note(site.state_dir, project) is None:
            complain("stopped, and everything was put back")
        else:
            complain(
                f"stopped; {project} is still interposed, in part at least. Put it back: chaos-spike undo"
            )
        raise typer.Exit(128 + received) from None
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)
    return note.kept_by_nobody()


def _prove_standing(site: Site, project: str) -> None:
    from resilience.interpose.journal import read_note

    note = read_note(site.state_dir, project)
    if note is None:
        fail_usage(f"{project} is not interposed")
    _say_proof(site, note)


def _say_plan(plan: Interposition, warnings: Sequence[str]) -> None:
    for front in plan.fronts:
        ports = ", ".join(str(gate.port) for gate in front.gates)
        callers = ", ".join(front.callers) or "nobody says so"
        typer.echo(f"{front.service}: port {ports}; {front.proxy} answers for it; called by {callers}")
    for warning in warnings:
        typer.echo(f"warning: {warning}")


def _say_standing(site: Site, note: Note) -> None:
    for front in note.fronts:
        for gate in front.gates:
            typer.echo(
                f"{front.service}: toxic proxy {gate.name!r} at http://127.0.0.1:{front.admin_port}, "
                f"tap {gate.name!r} at http://127.0.0.1:{front.tap_port}"
            )
    typer.echo("put it back with: chaos-spike undo")
    _say_proof(site, note)


def _say_proof(site: Site, note: Note) -> None:
    from resilience.interpose.looking import prove
    from resilience.lab.system import StackError

    try:
        found = prove(site, note)
    except StackError as error:
        complain(f"it stands, and could not be proved: {error}")
        raise typer.Exit(EXIT_CODES[Verdict.UNKNOWN]) from error
    for doubt in found:
        if not doubt.is_grave:
            typer.echo(f"warning: {doubt.text}")
    if grave := [doubt for doubt in found if doubt.is_grave]:
        complain("the proxies are not the only way:\n" + "\n".join(f"  {doubt.text}" for doubt in grave))
        raise typer.Exit(EXIT_CODES[Verdict.INVALID])
    unseen = {doubt.service for doubt in found if doubt.is_unseen}
    names = ", ".join(front.service for front in note.fronts if front.service not in unseen)
    if names:
        typer.echo(f"proved: every name of {names} leads to its proxy, and every connection comes through it")
