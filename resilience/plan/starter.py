"""The commented plan that `plan init` writes: one dependency gets slow during a spike. Pure.

What differs from system to system is where it is and what its proxies are called; that is handed in as a block of YAML. All the rest is
the same for everybody, and stands here once. Every value is written as JSON, which YAML reads the same, so that none can break out.
"""

from __future__ import annotations

import json


def starter_plan(dependency: str, *, proxy: str, where: str, path: str, page: str, host: str = "") -> str:
    """The plan as YAML.

    `dependency` is what it is called in sentences, `proxy` in the plan; `where` are the top-level keys that say where the system and its proxies
    are; `path` is the request that counts; `page` says in one line what to read besides; `host` is one more that may be faulted, if any.
    """
    name = json.dumps(proxy)
    hosts = f"  hosts: [{json.dumps(host)}]      # not on this machine\n" if host else ""
    if not path.startswith("/"):
        path = f"/{path}"
    return f"""\
# What this asks: when {" ".join(dependency.split())} degrades during a spike, does the system protect itself, and does it come back?
# Every key is explained in docs/plan.md; {page}
version: 1
name: {json.dumps(f"{proxy}-slow")}
purpose: {json.dumps(f"A slow {dependency} must not take the system down.")}

{where}
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
{hosts}  max_fault_duration: 30s
"""
