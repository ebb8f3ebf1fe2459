"""The last runs' figures, as the page shows them: one small picture a figure, and what the trend says of it.

Pure: stored runs in, values and SVG out. What the trend says is `history.trend`'s; nothing here judges. The band of a picture
is the range of the reference runs, and a line stands where a change was accepted and the reference began anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from resilience.history.figures import Figure
from resilience.history.nights import alike, comparable
from resilience.history.store import StoredRun
from resilience.history.trend import MOST_REFERENCE, RECENT, Trend, false_alarms, judge_trend
from resilience.report.texts import clean
from resilience.report.values import Past, PastFigure, PastPoint

SHOWN = 30
"""Runs drawn of each figure."""
WIDTH, HEIGHT, EDGE = 240.0, 40.0, 6.0


def past_of(runs: Sequence[StoredRun], last: StoredRun) -> Past:
    """Give the last `SHOWN` comparable runs up to `last`, figure by figure. `runs` are oldest first, `last` among them."""
    nights = comparable(runs, last)
    night = judge_trend([{figure.name: figure for figure in run.figures} for run in nights])
    shown = alike(runs, last)[-SHOWN:]
    reference = nights[: max(0, len(nights) - RECENT)][-MOST_REFERENCE:]
    trends = {trend.name: trend for trend in night.trends}
    sentence, notes = night.note, []
    if night.state != "too few":
        sentence = f"the last {RECENT} runs against {night.reference_nights} before them"
        notes = [each for each in (night.note,) if each]
    if last not in nights:
        notes.append(f"this run is not among them: it is {last.verdict}, and measured nothing")
    if night.trends:
        notes.append(false_alarms(night.reference_nights))
    return Past(
        state=night.state,
        sentence=sentence,
        notes=tuple(notes),
        figures=tuple(
            _figure(figure, shown, reference, trends.get(figure.name))
            for figure in (nights[-1].figures if nights else ())
        ),
    )


def _figure(
    figure: Figure, shown: Sequence[StoredRun], reference: Sequence[StoredRun], trend: Trend | None
) -> PastFigure:
    known = [
        PastPoint(run.run_id, run.started, run.verdict, each.value, run.reference_from)
        for run in shown
        for each in run.figures
        if each.name == figure.name
    ]
    old = [
        each.value
        for run in reference
        for each in run.figures
        if each.name == figure.name and math.isfinite(each.value)
    ]
    return PastFigure(
        name=clean(figure.name),
        unit=figure.unit,
        points=tuple(known),
        band=(min(old), max(old)) if old else None,
        state=trend.state if trend else "too few",
        before=shown_value(trend.reference, figure.unit) if trend else "",
        now=shown_value(trend.recent if trend else figure.value, figure.unit),
        p=f"{trend.p:.4f}" if trend and trend.p is not None else "",
        visible=f"{trend.visible - 1:+.0%}" if trend and trend.visible is not None else "",
    )


def shown_value(value: float | None, unit: str) -> str:
    """Give a figure as people read it; infinite is a thing that did not come while it was watched."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "not seen"
    return f"{value:.1%}" if unit == "share" else f"{value:.3g} {unit}"


def sparkline(figure: PastFigure) -> str:
    """Give the figure over its runs as one `<svg>` element; its texts are escaped here."""
    finite = [each.value for each in figure.points if math.isfinite(each.value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if figure.band:
        low, high = min(low, figure.band[0]), max(high, figure.band[1])
    # A figure that sits still is drawn as a level line, not as the noise of its last digit.
    margin = max(0.0, 0.1 * max(abs(high), 1e-9) - (high - low)) / 2
    low, high = low - margin, high + margin

    def x(place: int) -> float:
        return EDGE + place * (WIDTH - 2 * EDGE) / max(1, SHOWN - 1)

    def y(value: float) -> float:
        if math.isinf(value):
            return EDGE / 2
        return EDGE + (HEIGHT - 2 * EDGE) * (1 - (value - low) / ((high - low) or 1.0))

    parts = list(_picture(figure, x, y))
    said = f"{figure.name} over {len(figure.points)} runs, now {figure.now}"
    return (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(said)}" class="spark">{"".join(parts)}</svg>'
    )


def _picture(figure: PastFigure, x: Callable[[int], float], y: Callable[[float], float]) -> Iterator[str]:
    if figure.band:
        top, bottom = y(figure.band[1]), y(figure.band[0])
        yield f'<rect x="0" y="{top:.1f}" width="{WIDTH:.0f}" height="{max(1.0, bottom - top):.1f}" class="band"/>'
    for place, each in enumerate(figure.points):
        if each.begins:
            yield f'<path d="M{x(place) - 3:.1f} 0V{HEIGHT:.0f}" class="begins"><title>the reference begins anew</title></path>'
    line = " ".join(f"{x(place):.1f},{y(each.value):.1f}" for place, each in enumerate(figure.points))
    yield f'<polyline points="{line}" class="run-line"/>'
    for place, each in enumerate(figure.points):
        recent = " recent" if place >= len(figure.points) - RECENT else ""
        told = f"{each.started} {each.run_id}: {shown_value(each.value, figure.unit)}, {each.verdict}"
        yield (
            f'<circle cx="{x(place):.1f}" cy="{y(each.value):.1f}" r="{3 if recent else 2}" class="run{recent}">'
            f"<title>{escape(clean(told))}</title></circle>"
        )
