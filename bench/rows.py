"""The rows of a bench report, as plain dictionaries, and what they have in common. Pure.

A comparison: {name, ours, peer, peer_name, ratio, unit, rounds}, and {goal, met} where the ratio has a goal. A measurement of ours
alone: {name, ours, unit, rounds}, and {goal, met}. What could not be measured here: {name, skipped, rounds}.
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


def shown(row: Row) -> str:
    """One line for people."""
    if "skipped" in row:
        return f"{row['name']}: skipped, {row['skipped']}"
    text = f"{row['name']}: {row['ours']:g}"
    if "peer" in row:
        text += f" against {row['peer']:g} ({row['peer_name']}), ratio {row['ratio']:g}"
    text += f" [{row['unit']}]"
    if "goal" in row:
        text += f" goal {row['goal']}: {'met' if row['met'] else 'MISSED'}"
    return text
