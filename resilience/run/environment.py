"""What a run is compared by: versions, machine, seed. Read once, when the system is up."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

import psutil

from faults.redact import redact
from resilience.lab.system import System

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


def describe_environment(system: System, **run: Any) -> dict[str, Any]:
    """JSON-able description; `run` adds what only the runner knows (seed, run id, command)."""
    return {
        "v": 1,
        **run,
        "started": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "stack": system.stack,
        "system": {**system.to_json(), "addresses": redact(dict(system.addresses))},
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": list(os.getloadavg()),
        "shared_host": system.stack in ("embedded", "compose") or _on_loopback(system.base_url),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "git_revision": _git_revision(),
    }


def _on_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


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
