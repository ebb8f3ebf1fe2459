"""A commented plan for somebody's compose file: the services that were found, interposed. Pure.

What it does with them is what every starter plan does. Every value is written as JSON, which YAML reads the same, so that none can break out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from resilience.interpose.choosing import callers_of, choose, entrances, first_port
from resilience.interpose.model import Facts, Model, Refusal
from resilience.interpose.reading import services_of
from resilience.plan.starter import starter_plan

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """What a plan is made of: the dependencies with the port of each, where a load belongs, and what was left out and why."""

    dependencies: tuple[tuple[str, int], ...]
    entrance: tuple[str, int] | None
    left_out: tuple[Refusal, ...]


def found_in(model: Model, facts: Facts) -> Found:
    """The dependencies of a file, the most called first, and the first published port that is not one of theirs."""
    choice = choose(model, facts)
    names = [each.service for each in choice.wanted]
    names.sort(key=lambda name: -len(callers_of(model, name, facts.project)))
    ports = [(name, port) for name in names if (port := first_port(model, name, facts)) is not None]
    doors = entrances(model, names)
    return Found(tuple(ports), doors[0] if doors else None, choice.left_out)


def plan_for(model: Model, found: Found, *, files: Sequence[str], project: str, url: str, path: str) -> str:
    """The plan as YAML. `files` are relative to it; `url` is where the system answers, `path` the request that counts."""
    first = found.dependencies[0][0]
    proxies = "\n".join(
        f"  {json.dumps(_name(name))}: {{service: {json.dumps(name)}, port: {port}}}"
        for name, port in found.dependencies
    )
    watched = [each for each in (found.entrance[0] if found.entrance else None, first) if each]
    said = (f"{each.service}: {each.reason}" for each in found.left_out)
    notes = "".join(f"  # left out: {' '.join(each.split())}\n" for each in said)
    others = ", ".join(sorted(services_of(model)))
    asked = url + (path if path.startswith("/") else f"/{path}")
    where = f"""\
system:
  # A project of its own: containers beside those that you have up. Published ports that both want are in each other's way:
  # take yours down first, or leave `project` out to interpose the project that is up, and have it put back afterwards.
  compose: {{files: {json.dumps(list(files))}, project: {json.dumps(f"{project}-chaos")}}}
  ready: {{url: {json.dumps(asked)}, within: 60s}}       # the system is ready once this answers with a status below 400
  watch: {json.dumps(watched)}   # memory and CPU of these; there are: {others}

proxies:                                         # each of these is interposed for the run
{proxies}
{notes}"""
    page = "docs/interpose.md says what happens to the compose project meanwhile."
    return starter_plan(first, proxy=_name(first), where=where, path=path, page=page)


def _name(service: str) -> str:
    """A service's name as plans write names."""
    return _NOT_IN_NAMES.sub("-", service)
