"""The words of a command: to run one plan in a process of its own, and to tell people how to repeat a run."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faults.redact import redact
from resilience.cli.place import Place
from resilience.plan.texts import parse_value

_SHOWN: Final = frozenset(
    {"version", "name", "purpose", "lab", "phases", "faults", "expect", "abort", "allow"}
)
_SHOWN_OF_LOADS: Final = frozenset(
    {
        *("rate", "herd", "users", "replay", "think", "start", "end"),
        *("arrival", "connections", "in_flight"),
    }
)
"""What of a plan, and of each load in it, may be shown: all else may say how to reach a system or what is sent there."""


@dataclass(frozen=True, slots=True)
class Words:
    """The command line of one plan: to run it in a process of its own, and to show people how to repeat it."""

    place: Place
    seed: int
    workers: int
    strict: bool
    overlays: tuple[Path, ...]
    settings: tuple[str, ...]
    out: Path
    cluster: str = ""

    def again(self, name: str) -> tuple[str, ...]:
        """The words after `chaos-spike run`, as they are."""
        out = ["--out", str(self.out), "--workers", str(self.workers)]
        return (*self._words(name, self.place.again(), self.settings), *out)

    def shown(self, name: str) -> str:
        """The command that repeats a run, for reports: what may be secret is left out of it."""
        from resilience.lab.settings import lab_variables  # imported when it runs: `--help` stays fast

        lab = [f"{key}={shlex.quote(value)}" for key, value in lab_variables(os.environ).items()]
        words = self._words(name, self.place.shown(), tuple(_shown(each) for each in self.settings))
        return " ".join([*lab, shlex.join(["chaos-spike", "run", *words])])

    def _words(self, name: str, place: list[str], settings: tuple[str, ...]) -> list[str]:
        words = [name, *place, "--seed", str(self.seed)]
        words += ["--strict"] if self.strict else []
        words += ["--cluster", str(redact(self.cluster))] if self.cluster else []
        words += ["--workers", str(self.workers)] if self.cluster and self.workers else []
        words += [word for path in self.overlays for word in ("--overlay", str(path))]
        return words + [word for each in settings for word in ("--set", each)]


def _shown(setting: str) -> str:
    """A setting as reports may show it: where something is reached or sent, or what looks like a secret, is left out."""
    key, _, text = setting.partition("=")
    path = key.split(".")
    value: Any = parse_value(text, key) if text else text
    for part in reversed(path):
        value = {part: value}
    known = path[0] in _SHOWN or (path[0] == "load" and not _SHOWN_OF_LOADS.isdisjoint(path[2:3]))
    return setting if known and redact(value) == value else f"{key}=(redacted)"
