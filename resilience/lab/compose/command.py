"""Which compose there is: v2 (`docker compose`) before 1.29 (`docker-compose`); CHAOS_SPIKE_COMPOSE names one."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from resilience.lab.system import StackError

VARIABLE = "CHAOS_SPIKE_COMPOSE"
_CANDIDATES = (("docker", "compose"), ("docker-compose",))
_OLDEST = (1, 27)
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class ComposeCommand:
    """The words that start it, and its version."""

    words: tuple[str, ...]
    version: str

    def __str__(self) -> str:
        return f"{' '.join(self.words)} {self.version}"


def find_compose(environ: Mapping[str, str]) -> ComposeCommand:
    """The compose to use; StackError with the way out if there is none that can read our file."""
    chosen = environ.get(VARIABLE)
    candidates = (tuple(shlex.split(chosen)),) if chosen else _CANDIDATES
    too_old = ""
    for words in candidates:
        version = _version(words, environ)
        if version is None:
            continue
        if tuple(int(part) for part in version.split(".")[:2]) >= _OLDEST:
            return ComposeCommand(words, version)
        too_old = f" ({' '.join(words)} {version} is too old)"
    if chosen:
        raise StackError(f"{VARIABLE}={chosen!r} does not start a docker-compose 1.27 or newer{too_old}")
    raise StackError(
        f"neither `docker compose` nor `docker-compose` 1.27 or newer is here{too_old}.\n"
        "Way out: install the package docker-compose-plugin or docker-compose, or name one in "
        f"{VARIABLE}; `--stack embedded` needs none."
    )


def _version(words: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    try:
        done = subprocess.run(
            [*words, "version", "--short"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            env=dict(environ),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return found[0] if done.returncode == 0 and found else None
