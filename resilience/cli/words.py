"""The words of a command: to run one plan in a process of its own, and to tell people how to repeat a run."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from resilience.cli.place import Place


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

    def again(self, name: str) -> tuple[str, ...]:
        """The words after `chaos-spike run`, as they are."""
        out = ["--out", str(self.out), "--workers", str(self.workers)]
        return (*self._words(name, self.place.again(), self.settings), *out)

    def shown(self, name: str) -> str:
        """The command that repeats a run, for reports: settings that may be secret are left out of it."""
        lab = [
            f"{key}={shlex.quote(value)}"
            for key, value in os.environ.items()
            if key.startswith("CHAOS_SPIKE_LAB_")
        ]
        words = self._words(name, self.place.words(), tuple(_shown(each) for each in self.settings))
        return " ".join([*lab, shlex.join(["chaos-spike", "run", *words])])

    def _words(self, name: str, place: list[str], settings: tuple[str, ...]) -> list[str]:
        words = [name, *place, "--seed", str(self.seed)]
        words += ["--strict"] if self.strict else []
        words += [word for path in self.overlays for word in ("--overlay", str(path))]
        return words + [word for each in settings for word in ("--set", each)]


def _shown(setting: str) -> str:
    """A setting as reports may show it: what goes into requests, or says how to reach a system, may be a secret."""
    key, _, _ = setting.partition("=")
    first, *rest = key.split(".")
    secret = first == "external" or (first == "load" and (len(rest) < 2 or rest[1] == "http"))
    return f"{key}=(redacted)" if secret else setting
