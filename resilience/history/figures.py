"""What of a run is compared over nights: a few figures per load, phase and fault, and what makes runs comparable at all.

Pure: from `verdict.json` and `environment.json` to values. Invariants (rules, healed faults, expectations) are no figures:
they pass or fail each night by themselves and need no statistics.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Worse = Literal["up", "down"]

_GIB = 2**30
_PLACES = frozenset({"CHAOS_SPIKE_LAB_DIR", "CHAOS_SPIKE_LAB_POSTGRES_USER"})
"""Variables of the lab that change nothing that is measured."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run. `worse` says in which direction the system got worse; `unit` is ms, s or share.

    `value` is infinite where the run shows only that it was beyond what was watched (a recovery that did not come).
    """

    name: str
    value: float
    unit: str
    worse: Worse


def figures_of(verdict: Mapping[str, Any]) -> tuple[Figure, ...]:
    """The figures of a judged run, in a fixed order; what was not measured is absent."""
    return (*_load_figures(verdict), *_recovery_figures(verdict))


def _load_figures(verdict: Mapping[str, Any]) -> Iterator[Figure]:
    judged = [phase["name"] for phase in verdict.get("phases") or () if phase.get("judge")]
    for load, phases in (verdict.get("loads") or {}).items():
        for phase in judged:
            summary = phases.get(phase) or {}
            if isinstance(summary.get("p95_ms"), int | float):
                yield Figure(f"{load} {phase} p95", float(summary["p95_ms"]), "ms", "up")
            if isinstance(summary.get("good_share"), int | float):
                yield Figure(f"{load} {phase} good", float(summary["good_share"]), "share", "down")


def _recovery_figures(verdict: Mapping[str, Any]) -> Iterator[Figure]:
    for fault, found in (verdict.get("recovery") or {}).items():
        told = found.get("time_to_recover_s") or {}
        if isinstance(told.get("value"), int | float):
            yield Figure(f"{fault} time to recover", float(told["value"]), "s", "up")
        elif "censored_above_s" in told:
            yield Figure(f"{fault} time to recover", math.inf, "s", "up")
        if isinstance(found.get("resilience_ratio"), int | float):
            yield Figure(f"{fault} resilience ratio", float(found["resilience_ratio"]), "share", "down")


def environment_fingerprint(environment: Mapping[str, Any]) -> str:
    """A word that two runs share if their figures may be compared: same kind of machine, Python, stack, workers, and lab.

    A lab that variables changed (another breaker, a mistake on purpose) is another lab; where its files lie does not count.
    The kernel's and the packages' versions are not in it: a night on which they changed is just what a trend should show.
    """
    memory_gib = round(float(environment.get("memory_bytes") or 0) / _GIB)
    python = ".".join(str(environment.get("python") or "").split(".")[:2])
    parts = [
        environment.get("cpu"),
        environment.get("cores"),
        memory_gib,
        python,
        environment.get("stack"),
        environment.get("workers"),
        bool(environment.get("shared_host")),
    ]
    lab = environment.get("lab")
    if isinstance(lab, Mapping):
        # Nothing for a lab as it is: runs from before this was recorded stay comparable.
        parts += [f"{name}={value}" for name, value in sorted(lab.items()) if name not in _PLACES]
    return _digest("\x1f".join(map(str, parts)))


def plan_hash(plan_text: str) -> str:
    """A word that two runs share if they ran the same plan; comments and blank lines do not count."""
    lines = [re.sub(r"(^|\s)#.*$", "", line).rstrip() for line in plan_text.splitlines()]
    return _digest("\n".join(line for line in lines if line))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
