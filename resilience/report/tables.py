"""The tables of a report: phases, recovery, unwanted outcomes; and whether the measurement was fit to judge by.

Read from the verdict as it was judged, never computed again. A figure that is missing is an empty cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resilience.report.texts import clean, lines, mapping, number, percent, short, text
from resilience.report.values import Table, Validity

JSON = Mapping[str, Any]


def phase_table(verdict: JSON) -> Table:
    """Give a row for each load and phase: counts, shares, response times in ms."""
    columns = (
        "load",
        "phase",
        "offered",
        "good/s",
        "errors",
        "fallback",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
    )
    rows: list[tuple[str, ...]] = []
    for load, phases in mapping(verdict.get("loads")).items():
        for phase, found in mapping(phases).items():
            each = mapping(found)
            counts = mapping(each.get("counts", each.get("n")))
            quantiles = (_first(each, f"{name}_ms", name) for name in ("p50", "p95", "p99", "max"))
            rows.append(
                (
                    clean(str(load)),
                    clean(str(phase)),
                    _shown(_first(counts, "offered")),
                    _shown(_first(each, "goodput_per_s")),
                    percent(_first(each, "error_rate", "errors")),
                    percent(_first(each, "fallback_share", "fallback")),
                    *map(_shown, quantiles),
                )
            )
    return Table("Phases", columns, tuple(rows), numeric=frozenset(columns[2:]))


def _first(found: JSON, *names: str) -> float | None:
    return next((value for name in names if (value := number(found.get(name))) is not None), None)


def _shown(value: float | None) -> str:
    return "" if value is None else short(value, 3)


def recovery_table(verdict: JSON) -> Table:
    """Give a row a fault: time to recover with its uncertainty or its bound, depth and what was lost."""
    columns = ("fault", "time to recover", "depth", "good operations lost", "resilience ratio", "components")
    rows = tuple(
        (
            clean(str(fault)),
            _recover_time(mapping(found)),
            percent(number(mapping(found).get("depth"))),
            _shown(number(mapping(found).get("lost_good_operations"))),
            _shown(number(mapping(found).get("resilience_ratio"))),
            "; ".join(f"{clean(str(key)).replace('_', ' ')} {_seconds(value)}"
                      for key, value in mapping(mapping(found).get("components")).items()),
        )
        for fault, found in mapping(verdict.get("recovery")).items()
    )  # fmt: skip
    return Table("Recovery", columns, rows, numeric=frozenset(columns[1:5]))


def _recover_time(found: JSON) -> str:
    told = found.get("time_to_recover_s")
    bound = number(found.get("censored_above_s", mapping(told).get("censored_above_s")))
    if bound is not None:
        return f"> {short(bound, 3)} s (not within the run)"
    return _seconds(told) or text(found.get("problem"), "not measured")


def _seconds(value: Any) -> str:
    """Show a duration, with its plus or minus where one is told."""
    known = mapping(value)
    bound = number(known.get("censored_above_s"))
    if bound is not None:
        return f"> {short(bound, 3)} s"
    middle, around = number(known.get("value", value)), number(known.get("plus_minus"))
    if middle is None:
        return text(value)
    if around is not None and middle <= around:
        return f"≤ {short(middle + around, 3)} s"
    return f"{short(middle, 3)}{f' ± {short(around, 3)}' if around is not None else ''} s"


def error_table(verdict: JSON, categories: Sequence[str]) -> Table:
    """Give the commonest unwanted outcomes over the whole run, the most frequent first."""
    totals: dict[tuple[str, str], float] = {}
    offered: dict[str, float] = {}
    for load, phases in mapping(verdict.get("loads")).items():
        for found in mapping(phases).values():
            counts = mapping(mapping(found).get("counts", mapping(found).get("n")))
            name = clean(str(load))
            offered[name] = offered.get(name, 0) + (_first(counts, "offered") or 0)
            for category in categories:
                totals[name, category] = totals.get((name, category), 0) + (_first(counts, category) or 0)
    ranked = sorted(((count, *key) for key, count in totals.items() if count), reverse=True)[:20]
    columns = ("load", "outcome", "count", "share")
    return Table("Unwanted outcomes", columns, tuple(
        (load, category.replace("_", " "), short(count), percent(count / offered[load] if offered[load] else None))
        for count, load, category in ranked
    ), numeric=frozenset({"count", "share"}))  # fmt: skip


def validity_of(verdict: JSON) -> Validity:
    """Read whether the run may be judged by, why not, and the figures that say so."""
    found = mapping(verdict.get("validity"))
    valid = found.get("valid")
    figures = (
        (str(key).replace("_", " "), value) for key, value in found.items() if key not in {"valid", "reasons"}
    )
    problems = mapping(verdict.get("breaker_problems")).items()
    return Validity(
        state="valid" if valid is True else "invalid" if valid is False else "unknown",
        reasons=lines(found.get("reasons")),
        figures=tuple((clean(key), "; ".join(lines(value))) for key, value in figures if lines(value))
        + tuple((f"breaker {clean(str(name))}", text(problem)) for name, problem in problems),
    )
