"""`chaos-spike plan init --from docker-compose.yml`: the services of a compose file, found and written into a plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import typer

from resilience.cli.addresses import is_http_address
from resilience.cli.scenarios import fail_usage
from resilience.cli.terminal import complain
from resilience.run.ending import EXIT_CODES, Verdict

Ask = Callable[[str, str], str]
"""Asks a question, with its default; elsewhere than on a terminal the default is the answer."""


def compose_plan(compose: Path, plan: Path, url: str | None, path: str | None, ask: Ask) -> str:
    """The plan's text for a compose file; exits with 2 where nothing in it can be interposed, with 6 without compose or engine."""
    from faults.journal import default_state_dir
    from resilience.interpose.composing import FilesInvalid, compose_files
    from resilience.interpose.planning import found_in, plan_for
    from resilience.interpose.standing import Site, facts_of
    from resilience.lab.system import StackError

    try:
        files = compose_files([compose])
        site = Site.open(os.environ, default_state_dir())
        try:
            files, model = site.composer.resolve(files)
            facts = facts_of(site, files, model)
        finally:
            site.engine.close()
    except FilesInvalid as error:
        fail_usage(str(error))
    except StackError as error:
        complain(error)
        raise typer.Exit(EXIT_CODES[Verdict.SETUP_FAILED]) from error
    found = found_in(model, facts)
    if not found.dependencies:
        said = "\n".join(str(each) for each in found.left_out) or "no service says that it calls another"
        fail_usage(f"{compose}: there is nothing to interpose: {said}")
    for note in found.left_out:
        typer.echo(f"left out: {note}")
    port = found.entrance[1] if found.entrance else 8080
    url = url or ask("Where does the system answer?", f"http://127.0.0.1:{port}")
    if not is_http_address(url):
        fail_usage(f"--url {url!r}: write an address such as http://127.0.0.1:8080")
    path = path or ask("Which GET request counts?", "/")
    named = os.path.relpath(compose.absolute(), plan.absolute().parent)
    return plan_for(model, found, files=[named], project=str(files.project), url=url.rstrip("/"), path=path)
