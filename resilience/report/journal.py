"""What happened in a run, in order, one line a happening: what people read of an event log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resilience.report.texts import seconds_since, text
from resilience.report.values import Moment, label

MOST_JOURNAL_LINES = 400
JOURNAL_KINDS = frozenset({"run", "phase", "fault", "breaker.transition", "health", "gap", "log"})
"""Kinds of events that people read; samples and polled states are drawn, not listed."""


def moments_of(events: Sequence[Mapping[str, Any]], epoch_ns: int) -> list[Moment]:
    """Give what happened in the run in order of time, one line a happening."""
    found: list[Moment] = []
    for event in events:
        kind = str(event.get("kind"))
        if kind == "health" and event.get("stage") == "during":
            continue  # two lines a second would drown what happened; before and after are what people compare
        when = seconds_since(event.get("at", event.get("t")), epoch_ns)
        if kind in JOURNAL_KINDS and when is not None:
            found.append(Moment((when[0] + when[1]) / 2, kind, _worded(kind, event)))
    return sorted(found, key=lambda each: each.at_s)


def _worded(kind: str, event: Mapping[str, Any]) -> str:
    if kind == "fault":
        return f"fault {text(event.get('id', event.get('fault_id')))} {text(event.get('step'))}"
    if kind == "phase":
        return f"phase {text(event.get('name'))} {text(event.get('state'))}"
    if kind == "breaker.transition":
        where = label(text(event.get("breaker")), text(event.get("instance")))
        return f"{where}: {text(event.get('from'))} → {text(event.get('to'))}"
    rest = {key: value for key, value in event.items() if key not in {"v", "t", "at", "kind"}}
    return f"{kind}: {text(rest)}"
