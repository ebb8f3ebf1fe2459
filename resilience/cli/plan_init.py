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
from resilience.plan import PlanInvalid, load_plan


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
    """The plan as YAML. Every value is written as JSON, which YAML reads the same, so that none can break out."""
    host = urlsplit(toxiproxy).hostname or ""
    allow = "" if _is_loopback(host) else f"  hosts: [{json.dumps(host)}]      # not on this machine\n"
    if not path.startswith("/"):
        path = f"/{path}"
    name = json.dumps(dependency)
    return f"""\
# What this asks: when {_comment(dependency)} degrades during a spike, does the service protect itself, and does it come back?
# Every key is explained in docs/plan.md; `chaos-spike plan schema` prints the JSON Schema for your editor.
version: 1
name: {json.dumps(_plan_name(dependency))}
purpose: {json.dumps(f"A slow {dependency} must not take the service down.")}

external:
  base_url: {json.dumps(url)}
  proxies:
    # A Toxiproxy (Shopify's, or `chaos-spike proxy`) that stands before the dependency, and what the proxy is called there.
    {name}: {{admin_url: {json.dumps(toxiproxy)}, proxy: {name}}}

phases:
  - {{name: warmup, duration: 5s, judge: false}}    # caches fill, connections open; not judged
  - {{name: baseline, duration: 20s}}               # what normal is; longer makes finer verdicts
  - {{name: spike, duration: 40s}}
  - {{name: recovery, duration: 30s}}

load:
  requests:
    http:
      url: {json.dumps(path)}
      deadline: 500ms                            # later is not good, even with status 200
      # degraded: {{header: {{X-Degraded: "true"}}}} # how a fallback answer is told from a full one
    rate: {{default: 20/s, spike: {{ramp: 100/s, rise: 5s, fall: 5s}}}}

faults:
  - id: slow
    proxy: {name}
    toxic: {{type: latency, attributes: {{latency: 2000, jitter: 200}}}}   # milliseconds
    start: spike+10s
    duration: 15s
  # - {{id: down, proxy: {name}, enabled: false, start: spike+30s, duration: 5s}}

expect:
  steady: {{load: requests, phase: baseline, p95: "< 300ms", errors: "< 1%"}}
  survives: {{load: requests, fault: slow, settle: 3s, errors: "< 5%"}}
  recovers: {{fault: slow, load: requests, time_to_recover: "< 20s"}}

abort:
  - {{load: requests, errors: "> 80%", for: 10s}}    # heals at once and ends the run

allow:                                           # nothing else may be faulted
  services: [{name}]
{allow}  max_fault_duration: 30s
"""


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


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _plan_name(dependency: str) -> str:
    return f"{dependency}-slow"


def _comment(text: str) -> str:
    return " ".join(text.split())
