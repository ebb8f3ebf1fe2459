"""The ASCII timeline under a failed chaos test: faults, breaker states and call rates on one axis of time. Pure.

-  closed   #  open   ?  half-open   !  the window of a violation
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from resilience.breaker.observation import NS_PER_S, Call, Fault, Interval, Observation, Transition

WIDTH = 72
_MARKS = {"closed": "-", "open": "#", "half_open": "?", "forced_open": "#", "disabled": "~"}
_LINES = 14
_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Violation:
    """A window that a rule names, and the rule."""

    rule: str
    window: Interval


def draw_timeline(
    histories: dict[str, Sequence[Observation]],
    faults: Iterable[Fault],
    violations: Iterable[Violation] = (),
    *,
    width: int = WIDTH,
) -> str:
    """The timeline as lines of text; empty where nothing was observed."""
    found, broken = list(faults), list(violations)
    histories = _lanes(histories)
    span = _span(histories, found, broken)
    if span is None:
        return ""
    grid = _Grid(span, width)
    label = max(len(name) for name in (*(f.name for f in found), *histories, "violation", "  rejected"))
    rows = [f"{'':{label}}  0 s {'at ' + _s(span.hi_ns - span.lo_ns):>{max(width - 4, 8)}}"]
    rows += [f"{fault.name:{label}}  {grid.fault(fault)}" for fault in found]
    for name, history in histories.items():
        rows.append(f"{name:{label}}  {grid.states(history)}")
        for kind, outcomes in _KINDS:
            counts = grid.counts(history, outcomes)
            if counts.strip():
                rows.append(f"{'  ' + kind:{label}}  {counts}")
    rows += [f"{'violation':{label}}  {grid.window(b.window)} {b.rule}" for b in broken]
    rows.append(
        f"{'':{label}}  - closed  # open  ? half-open  = fault  digits: calls a column (+: 10 or more)"
    )
    return "\n".join([*rows, "", *_events(histories, found, broken, span)])


_KINDS = (
    ("ok", frozenset({"ok", "excluded"})),
    ("failed", frozenset({"failure", "timeout", "cancelled", "unknown"})),
    ("rejected", frozenset({"rejected"})),
)


class _Grid:
    """A span of time in columns."""

    def __init__(self, span: Interval, width: int) -> None:
        self._span = span
        self._width = width

    def column(self, at_ns: int) -> int:
        whole = max(self._span.hi_ns - self._span.lo_ns, 1)
        return min(max((at_ns - self._span.lo_ns) * self._width // whole, 0), self._width - 1)

    def fault(self, fault: Fault) -> str:
        until = fault.off.lo_ns if fault.off else self._span.hi_ns
        return self._between(fault.on.lo_ns, until, "=")

    def window(self, window: Interval) -> str:
        return self._between(window.lo_ns, window.hi_ns, "!")

    def _between(self, from_ns: int, to_ns: int, mark: str) -> str:
        cells = ["."] * self._width
        for column in range(self.column(from_ns), self.column(to_ns) + 1):
            cells[column] = mark
        return "".join(cells)

    def states(self, history: Sequence[Observation]) -> str:
        changes = sorted((t for t in history if isinstance(t, Transition)), key=lambda t: t.at)
        cells = [_MARKS[changes[0].from_state] if changes else "-"] * self._width
        for change in changes:
            column = self.column(change.at.hi_ns)
            cells[column:] = [_MARKS[change.to_state]] * (self._width - column)
        # A state that lasted less than a column is shown all the same.
        for change in changes:
            if change.to_state == "half_open":
                cells[self.column(change.at.hi_ns)] = "?"
        return "".join(cells)

    def counts(self, history: Sequence[Observation], outcomes: frozenset[str]) -> str:
        counted = [0] * self._width
        for call in history:
            if isinstance(call, Call) and call.outcome in outcomes:
                counted[self.column((call.end or call.start).hi_ns)] += 1
        return "".join(" " if not n else _DIGITS[n] if n < 10 else "+" for n in counted)


def _lanes(histories: dict[str, Sequence[Observation]]) -> dict[str, Sequence[Observation]]:
    """A lane for each breaker, or for each instance of it where there are several."""
    lanes: dict[str, Sequence[Observation]] = {}
    for name, history in histories.items():
        named = sorted({t.instance for t in history if isinstance(t, Transition) and t.instance})
        if len(named) < 2:
            lanes[name] = history
            continue
        for instance in named:
            lanes[f"{name}@{instance}"] = [e for e in history if getattr(e, "instance", None) == instance]
    return lanes


def _span(
    histories: dict[str, Sequence[Observation]], faults: Sequence[Fault], violations: Sequence[Violation]
) -> Interval | None:
    instants: list[int] = []
    for history in histories.values():
        for entry in history:
            if isinstance(entry, Call):
                instants += [entry.start.lo_ns, (entry.end or entry.start).hi_ns]
            elif isinstance(entry, Transition):
                instants += [entry.at.lo_ns, entry.at.hi_ns]
    for fault in faults:
        instants += [fault.on.lo_ns, (fault.off or fault.on).hi_ns]
    instants += [end for b in violations for end in (b.window.lo_ns, b.window.hi_ns)]
    return Interval(min(instants), max(instants)) if instants else None


def _events(
    histories: dict[str, Sequence[Observation]],
    faults: Sequence[Fault],
    violations: Sequence[Violation],
    span: Interval,
) -> list[str]:
    """The events around the first violation (or the last ones), a line each."""
    lines: list[tuple[int, str]] = []
    for fault in faults:
        lines.append((fault.on.hi_ns, f"fault {fault.name} is in"))
        if fault.off is not None:
            lines.append((fault.off.hi_ns, f"fault {fault.name} is out"))
    for name, history in histories.items():
        lines += [
            (t.at.hi_ns, f"{name}: {t.from_state} to {t.to_state}{' (by hand)' if t.manual else ''}")
            for t in history
            if isinstance(t, Transition)
        ]
    lines += [(b.window.hi_ns, f"{b.rule} is broken") for b in violations]
    lines.sort()
    if len(lines) > _LINES:
        centre_ns = min((b.window.hi_ns for b in violations), default=span.hi_ns)
        lines = sorted(sorted(lines, key=lambda line: abs(line[0] - centre_ns))[:_LINES])
    return [f"{(at - span.lo_ns) / NS_PER_S:9.3f} s  {text}" for at, text in lines]


def _s(ns: int) -> str:
    return f"{ns / NS_PER_S:.3f} s"
