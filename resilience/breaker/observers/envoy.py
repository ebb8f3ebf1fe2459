"""Envoy's outlier detection, from its statistics: how many hosts of a cluster are ejected, and how often that has happened.

This is a different automaton, and is marked so: it has no half-open, ejects hosts rather than calls, and its back-off grows with the
number of ejections. Its lines are of a kind of their own ("outlier"), which reports show and no rule about states is applied to. How often
a host was ejected is told as a total of openings as well: a budget of them (R19) holds for any automaton.

    GET /stats?filter=outlier_detection        cluster.pricing.outlier_detection.ejections_active: 1
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from resilience.breaker.observers.polling import Line, Subject, total_line

OBSERVER: Final = "envoy"
_FIGURES: Final = ("ejections_active", "ejections_enforced_total", "ejections_overflow")


class OutlierReader:
    """Reads the statistics of one cluster, as text or as JSON (`format=json`)."""

    complete = False

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def read(self, text: str, at: tuple[int, int]) -> Iterator[Line]:
        """The figures; ValueError where the cluster has none."""
        prefix = f"cluster.{self._subject.name}.outlier_detection."
        stats = _stats(text)
        figures = {name: stats[prefix + name] for name in _FIGURES if prefix + name in stats}
        if "ejections_active" not in figures:
            raise ValueError(f"no outlier detection for a cluster called {self._subject.name!r}")
        yield {
            "kind": "outlier",
            "breaker": self._subject.breaker,
            "instance": self._subject.instance,
            "automaton": "envoy outlier detection",
            **figures,
            "at": list(at),
            "source": "poll",
            "observer": OBSERVER,
        }
        if (ejected := figures.get("ejections_enforced_total")) is not None:
            yield total_line(self._subject, "opened", ejected, at, OBSERVER)


def _stats(text: str) -> Mapping[str, int]:
    if text.lstrip().startswith("{"):
        told: list[Mapping[str, Any]] = json.loads(text)["stats"]
        return {str(s["name"]): int(s["value"]) for s in told if isinstance(s.get("value"), int)}
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): int(value) for name, _, value in pairs if value.strip().isdigit()}
