"""`chaos-spike plan init`: ask little, write a commented plan for one's own service that can be run as it is.

Three questions: where the service answers, which request counts, and where the Toxiproxy in front of the dependency is. On
a terminal they are asked; elsewhere, or with options, the defaults stand. The plan is checked before it is written, so what
this command leaves behind always loads. It never overwrites a file.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from resilience.cli.addresses import is_http_address
from resilience.cli.plan_from import compose_plan
from resilience.cli.scenarios import fail_usage
from resilience.load.requests import on_loopback
from resilience.plan import PlanInvalid, load_plan
from resilience.plan.starter import starter_plan


def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("chaos-spike.yaml"),
    url: Annotated[str | None, typer.Option(help="Where the service answers.")] = None,
    path: Annotated[str | None, typer.Option(help="The request that counts, a GET.")] = None,
    dependency: Annotated[str | None, typer.Option(help="What the service depends on: any word.")] = None,
    toxiproxy: Annotated[str | None, typer.Option(help="Admin address of its Toxiproxy.")] = None,
    compose: Annotated[
        Path | None, typer.Option("--from", help="A compose file: its services are found and interposed.")
    ] = None,
) -> None:
    """Write a commented plan for your own service; asks on a terminal, takes defaults elsewhere."""
    if file.exists():
        fail_usage(f"{file} is there already; name another file")
    if compose is not None:
        if dependency or toxiproxy:
            fail_usage(
                "--from finds the dependencies in the compose file; leave --dependency and --toxiproxy out"
            )
        write_plan(compose_plan(compose, file, url, path, _ask), file, stack="compose")
        return
    url = _address("--url", url or _ask("Where does your service answer?", "http://127.0.0.1:8080"))
    path = path or _ask("Which GET request counts?", "/")
    dependency = dependency or _ask("What does it depend on (a word)?", "dependency")
    toxiproxy = _address(
        "--toxiproxy",
        toxiproxy or _ask(f"Admin address of the Toxiproxy before {dependency}?", "http://127.0.0.1:8474"),
    )
    write_plan(plan_text(url, path, dependency, toxiproxy), file, stack="external")


def write_plan(text: str, file: Path, *, stack: str) -> None:
    """Check the plan, write it to a file that is not there yet, and say what to do with it."""
    _check(text, file)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        fail_usage(f"{file} cannot be written: {error.strerror}")
    typer.echo(f"wrote {file}. Look at it, then:")
    typer.echo(f"  chaos-spike plan check {file}            # what would be done, and when")
    typer.echo(f"  chaos-spike run {file} --stack {stack}")


def plan_text(url: str, path: str, dependency: str, toxiproxy: str) -> str:
    """The plan as YAML, for a service that somebody else starts."""
    name = json.dumps(dependency)
    where = f"""\
external:
  base_url: {json.dumps(url)}
  proxies:
    # A Toxiproxy (Shopify's, or `chaos-spike proxy`) that stands before the dependency, and what the proxy is called there.
    {name}: {{admin_url: {json.dumps(toxiproxy)}, proxy: {name}}}
"""
    page = "`chaos-spike plan schema` prints the JSON Schema for your editor."
    host = "" if on_loopback(toxiproxy) else urlsplit(toxiproxy).hostname or ""
    return starter_plan(dependency, proxy=dependency, where=where, path=path, page=page, host=host)


def _check(text: str, file: Path) -> None:
    """What was answered may still not make a plan (a name with blanks): then say so, and write nothing."""
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / (file.name or "plan.yaml")
        draft.write_text(text, encoding="utf-8")
        try:
            load_plan(draft, environment=os.environ)
        except PlanInvalid as error:
            fail_usage(f"with these answers the plan would not be valid: {error.problems[0].message}")


def _address(option: str, value: str) -> str:
    if not is_http_address(value):
        fail_usage(f"{option} {value!r}: write an address such as http://127.0.0.1:8080")
    return value.rstrip("/")


def _ask(question: str, default: str) -> str:
    if not sys.stdin.isatty():
        return default
    return str(typer.prompt(question, default=default))
