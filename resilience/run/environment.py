"""What a run is compared by: versions, machine, seed, system.

Written at the start, so that a run whose system never came up can be repeated, and once more with the system when that is up. The
machine is described once: nothing of it is looked at while the system is warm.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import psutil

from faults.redact import REDACTED, redact
from resilience.lab.settings import lab_variables
from resilience.lab.system import LAB_FACT, System
from resilience.load.requests import on_loopback

_PACKAGES = (
    "chaos-spike",
    "aiohttp",
    "uvloop",
    "httptools",
    "asyncpg",
    "redis",
    "numpy",
    "purgatory",
    "bokeh",
)
_LABS = ("embedded", "compose")
"""Stacks that are our own lab, on this host, and read the lab's variables."""


def lab_told(system: System) -> dict[str, str]:
    """The variables of the lab: of one of this run, ours; of one that `lab up` started, those that it was started with."""
    if system.stack in _LABS:
        return lab_variables(os.environ)
    told = json.loads(system.facts.get(LAB_FACT, "{}"))
    return lab_variables(told) if isinstance(told, dict) else {}


def describe_environment(**run: Any) -> dict[str, Any]:
    """What is known before there is a system, JSON-able; `run` adds what only the runner knows (seed, run id, command)."""
    return {
        "v": 1,
        **run,
        "started": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": list(os.getloadavg()),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "git_revision": _git_revision(),
    }


def describe_system(system: System) -> dict[str, Any]:
    """What is added to that once a system is up."""
    return {
        "stack": system.stack,
        "system": _written_down(system),
        "lab": lab_told(system),
        "shared_host": system.stack in _LABS or on_loopback(system.base_url),
    }


def _written_down(system: System) -> dict[str, Any]:
    """The system without the credentials of its addresses, in the same shape: the judge reads it. Facts hold none."""
    told = system.to_json()
    facts, addresses = told.pop("facts"), told.pop("addresses")
    return {**_without_users(told), "facts": facts, "addresses": redact(addresses)}


def _without_users(value: Any) -> Any:
    """Every text redacted, whatever it is called: names of proxies are the plan's, and name no secret."""
    if isinstance(value, dict):
        return {key: _without_users(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_users(item) for item in value]
    if not isinstance(value, str):
        return value
    # Brackets before an @ would be taken for an IPv6 address by whoever reads the URL again.
    return str(redact(value)).replace(f"://{REDACTED}@", "://redacted@")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - not a path of ours
            return next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")), ""
            )
    except OSError:
        return platform.processor()


def _git_revision() -> str | None:
    """Revision of the working directory, if it is a checkout: what was tested, as far as it is known."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
