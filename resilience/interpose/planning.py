"""A commented plan for somebody's compose file: the services that were found, interposed, with a load, a fault and expectations. Pure.

Every value is written as JSON, which YAML reads the same, so that none can break out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from resilience.interpose.choosing import callers_of, choose, entrances, first_port
from resilience.interpose.model import Facts, Model
from resilience.interpose.reading import services_of

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Found:
    """What a plan is made of: the dependencies with the port of each, where a load belongs, and what was left out and why."""

    dependencies: tuple[tuple[str, int], ...]
    entrance: tuple[str, int] | None
    left_out: tuple[str, ...]


def found_in(model: Model, facts: Facts) -> Found:
    """The dependencies of a file, the most called first, and the first published port that is not one of theirs."""
    choice = choose(model, facts)
    names = [each.service for each in choice.wanted]
    names.sort(key=lambda name: -len(callers_of(model, name, facts.project)))
    ports = [(name, port) for name in names if (port := first_port(model, name, facts)) is not None]
    doors = entrances(model, names)
    left_out = tuple(f"{each.service}: {each.reason}" for each in choice.left_out)
    return Found(tuple(ports), doors[0] if doors else None, left_out)


def plan_for(model: Model, found: Found, *, files: Sequence[str], project: str, url: str, path: str) -> str:
    """The plan as YAML. `files` are relative to it; `url` is where the system answers, `path` the request that counts."""
    first = found.dependencies[0][0]
    proxies = "\n".join(
        f"  {json.dumps(_name(name))}: {{service: {json.dumps(name)}, port: {port}}}"
        for name, port in found.dependencies
    )
    watched = [each for each in (found.entrance[0] if found.entrance else None, first) if each]
    notes = "".join(f"  # left out: {' '.join(note.split())}\n" for note in found.left_out)
    others = ", ".join(sorted(services_of(model)))
    if not path.startswith("/"):
        path = f"/{path}"
    return f"""\
# What this asks: when {" ".join(first.split())} degrades during a spike, does the system protect itself, and does it come back?
# Every key is explained in docs/plan.md; docs/interpose.md says what happens to the compose project meanwhile.
version: 1
name: {json.dumps(f"{_name(first)}-slow")}
purpose: {json.dumps(f"A slow {first} must not take the system down.")}

system:
  # A project of its own: containers beside those that you have up. Published ports that both want are in each other's way:
  # take yours down first, or leave `project` out to interpose the project that is up, and have it put back afterwards.
  compose: {{files: {json.dumps(list(files))}, project: {json.dumps(f"{project}-chaos")}}}
  ready: {{url: {json.dumps(url + path)}, within: 60s}}       # the system is ready once this answers with a status below 400
  watch: {json.dumps(watched)}   # memory and CPU of these; there are: {others}

proxies:                                         # each of these is interposed for the run
{proxies}
{notes}
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
    rate: {{default: 20/s, spike: {{ramp: 100/s, rise: 5s, fall: 5s}}}}

faults:
  - id: slow
    proxy: {json.dumps(_name(first))}
    toxic: {{type: latency, attributes: {{latency: 2000, jitter: 200}}}}   # milliseconds
    start: spike+10s
    duration: 15s
  # - {{id: down, proxy: {json.dumps(_name(first))}, enabled: false, start: spike+30s, duration: 5s}}

expect:
  steady: {{load: requests, phase: baseline, p95: "< 300ms", errors: "< 1%"}}
  survives: {{load: requests, fault: slow, settle: 3s, errors: "< 5%"}}
  recovers: {{fault: slow, load: requests, time_to_recover: "< 20s"}}

abort:
  - {{load: requests, errors: "> 80%", for: 10s}}    # heals at once and ends the run

allow:                                           # nothing else may be faulted
  services: [{json.dumps(_name(first))}]
  max_fault_duration: 30s
"""


def _name(service: str) -> str:
    """A service's name as plans write names."""
    return _NOT_IN_NAMES.sub("-", service)
