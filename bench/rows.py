"""The rows of a bench report, as plain dictionaries, and what they have in common. Pure.

A comparison: {name, ours, peer, peer_name, ratio, unit, rounds}, and {goal, met} where the ratio has a goal. A measurement of ours
alone: {name, ours, unit, rounds}, and {goal, met}. What could not be measured here: {name, skipped, rounds}. What went wrong: {name,
failed}.
"""

import statistics
from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
median = statistics.median


def compared(
    name: str,
    ours: Sequence[float],
    peer: Sequence[float],
    peer_name: str,
    unit: str,
    *,
    at_least: float | None = None,
    **more: Any,
) -> Row:
    """Ours against a peer's, round by round: medians, and the median of the rounds' ratios; `at_least` is the ratio's goal."""
    ratio = median(mine / its if its else float("nan") for mine, its in zip(ours, peer, strict=True))
    row: Row = {
        "name": name,
        "ours": rounded(median(ours)),
        "peer": rounded(median(peer)),
        "peer_name": peer_name,
        "ratio": round(ratio, 3),
        "unit": unit,
        "rounds": len(ours),
        **more,
    }
    if at_least is not None:
        row |= {"goal": f"ratio >= {at_least:g}", "met": ratio >= at_least}
    return row


def measured(
    name: str, ours: Sequence[float], unit: str, *, at_most: float | None = None, **more: Any
) -> Row:
    """Ours alone: the median of the rounds, the worst of them, and whether the median keeps to its bound."""
    figure = median(ours)
    row: Row = {
        "name": name,
        "ours": rounded(figure),
        "worst": rounded(max(ours)),
        "unit": unit,
        "rounds": len(ours),
        **more,
    }
    if at_most is not None:
        row |= {"goal": f"<= {at_most:g}", "met": figure <= at_most}
    return row


def skipped(name: str, reason: str, rounds: int) -> Row:
    """What this machine cannot measure, and why."""
    return {"name": name, "skipped": reason, "rounds": rounds}


def rounded(figure: float) -> float:
    """Four digits say all that a benchmark knows."""
    return float(f"{figure:.4g}") if abs(figure) < 1000 else round(figure)


def summary(rows: Sequence[Row]) -> str:
    """The goals of all rows as a table for people: what, ours, the other's, the goal, and whether it is met."""
    lines = [_cells(row) for row in rows if "goal" in row or "failed" in row]
    if not lines:
        return "no row has a goal"
    lines.insert(0, ("", "ours", "other", "ratio", "goal", ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = [
        "  ".join(
            cell.ljust(width) if column in {0, 4} else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    goals = [row for row in rows if "goal" in row]
    missed = sum(1 for row in goals if not row["met"])
    said = f"{len(goals) - missed} of {len(goals)} goals met"
    for what, word in (("skipped", "not measured here"), ("failed", "failed")):
        n = sum(1 for row in rows if what in row and not row["name"].endswith("neighbours"))
        said += f", {n} {word}" if n else ""
    return "\n".join([*table, said])


def _cells(row: Row) -> tuple[str, ...]:
    name = row["name"]
    if "failed" in row:
        return name, "", "", "", "", "FAILED"
    compared_with = "peer" in row
    return (
        f"{name}, {row['peer_name']}" if compared_with else name,
        f"{row['ours']:,}",
        f"{row['peer']:,}" if compared_with else "",
        f"{row['ratio']:g}" if compared_with else "",
        row["goal"],
        "met" if row["met"] else "MISSED",
    )


def shown(row: Row) -> str:
    """One line for people."""
    if "failed" in row:
        return f"{row['name']}: FAILED, {row['failed']}"
    if "skipped" in row:
        return f"{row['name']}: skipped, {row['skipped']}"
    text = f"{row['name']}: {row['ours']:g}"
    if "peer" in row:
        text += f" against {row['peer']:g} ({row['peer_name']}), ratio {row['ratio']:g}"
    text += f" [{row['unit']}]"
    if "goal" in row:
        text += f" goal {row['goal']}: {'met' if row['met'] else 'MISSED'}"
    return text
