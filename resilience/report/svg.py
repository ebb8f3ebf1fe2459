"""The time line as a small static picture: phases, faults, breakers and the rate of good answers on one axis.

It is what a reader sees without JavaScript, without the plotting library, or on paper, so it is plain SVG with its
labels above each lane. Colours come from the page's style sheet by class; states differ by pattern too.

Every text is escaped here, because the picture is put into the page as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from resilience.report.values import FaultLane, ReportModel, Span

WIDTH = 900.0
LEFT, RIGHT = 8.0, 8.0
LANE, LABEL, GAP = 14.0, 13.0, 5.0
MOST_LANES = 40

PATTERNS = """<defs>
<pattern id="p-open" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" class="s-open"/><line x1="0" y1="0" x2="0" y2="6" class="ink" stroke-width="2"/></pattern>
<pattern id="p-half_open" width="5" height="5" patternUnits="userSpaceOnUse">
<rect width="5" height="5" class="s-half_open"/><circle cx="2" cy="2" r="1.1" class="dot"/></pattern>
<pattern id="p-other" width="6" height="6" patternUnits="userSpaceOnUse">
<rect width="6" height="6" class="s-other"/><line x1="0" y1="3" x2="6" y2="3" class="ink"/></pattern>
<pattern id="p-healing" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">
<line x1="0" y1="0" x2="0" y2="5" class="fault-ink" stroke-width="2"/></pattern>
<pattern id="p-recovering" width="6" height="6" patternUnits="userSpaceOnUse">
<rect width="6" height="6" class="well"/><path d="M1 5l2-4l2 4" class="paper-ink"/></pattern>
<pattern id="p-unrecovered" width="6" height="6" patternUnits="userSpaceOnUse">
<path d="M1 1l4 4m0-4l-4 4" class="broken-ink"/></pattern>
</defs>"""


def render_svg(model: ReportModel) -> str:
    """Give the picture as one `<svg>` element."""
    end_s = max([model.duration_s, 1.0, *(phase.end_s for phase in model.phases)])
    picture = _Picture(end_s)
    picture.phases(model)
    _faults(picture, model)
    _breakers(picture, model)
    for load in model.loads[:MOST_LANES]:
        picture.label(
            f"load {load.name}: offered (line) and good (filled), up to {max(load.offered_per_s, default=0):.0f}/s"
        )
        picture.rates(load.start_s, load.bin_s, load.offered_per_s, load.goodput_per_s)
    if model.breakage and model.breakage.at_s is not None:
        picture.cursor(model.breakage.at_s, f"{model.breakage.expectation} broken")
    return picture.close(f"Time line of {model.name}")


def _faults(picture: _Picture, model: ReportModel) -> None:
    for fault in model.faults[:MOST_LANES]:
        recovery = fault.recovery
        picture.label(f"fault {fault.id}: {fault.note}{recovery_words(fault)}")
        if recovery:
            kind = "recovering" if recovery.recovered else "unrecovered"
            picture.bar(recovery.span, "", f"recovery from {fault.id}: {recovery.text}", fill=kind)
        if fault.planned:
            picture.bar(fault.planned, "planned", f"{fault.id} as planned")
        if fault.actual:
            picture.bar(fault.actual, "fault", f"{fault.id} on")
            if fault.verified_s is not None:
                picture.bar(
                    (fault.actual[1], fault.verified_s), "", "healed, not yet verified", fill="healing"
                )
        picture.next_lane()


def _breakers(picture: _Picture, model: ReportModel) -> None:
    for lane in model.breakers[:MOST_LANES]:
        picture.label(f"breaker {lane.words}")
        for span in lane.states:
            fill = {"closed": "", "open": "open", "half_open": "half_open"}.get(span.state, "other")
            picture.bar((span.start_s, span.end_s), "s-closed" if not fill else "", span.state, fill=fill)
        picture.ticks(lane.probes_s)
        for mark in lane.marks:
            picture.mark(mark.at_s, mark.text)
        picture.next_lane()


class _Picture:
    """A drawing that grows downward, lane by lane."""

    def __init__(self, end_s: float) -> None:
        self._end_s = end_s
        self._top = 0.0
        self._parts: list[str] = []
        self._behind: list[tuple[Span, str]] = []

    def _x(self, seconds: float) -> float:
        share = min(1.0, max(0.0, seconds / self._end_s))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def phases(self, model: ReportModel) -> None:
        """Draw the phases as a strip of names on top."""
        for place, phase in enumerate(model.phases[:MOST_LANES]):
            left, right = self._x(phase.start_s), self._x(phase.end_s)
            kind = "phase-odd" if place % 2 else "phase"
            self._parts.append(
                f'<rect x="{left:.1f}" y="0" width="{right - left:.1f}" height="20" class="{kind}"/>'
            )
            fits = phase.name[: max(0, int((right - left - 6) / 7.2))]
            self._parts.append(f'<text x="{left + 4:.1f}" y="14">{escape(fits)}</text>')
        self._behind = [(fault.actual, fault.id) for fault in model.faults if fault.actual]
        self._top = 26.0

    def label(self, shown: str) -> None:
        """Write the name of the lane above it."""
        self._parts.append(
            f'<text x="{LEFT:.1f}" y="{self._top + LABEL - 3:.1f}">{escape(shown[:120])}</text>'
        )
        self._top += LABEL

    def bar(self, span: Span, kind: str, title: str, *, fill: str = "") -> None:
        """Draw a stretch of the lane, with a class of the style sheet or a pattern."""
        left, right = self._x(span[0]), self._x(span[1])
        paint = f'fill="url(#p-{fill})"' if fill else f'class="{kind}"'
        width = max(1.0, right - left)
        self._parts.append(
            f'<rect x="{left:.1f}" y="{self._top:.1f}" width="{width:.1f}" height="{LANE:.0f}" {paint}>'
            f"<title>{escape(title)}, {span[0]:.2f} to {span[1]:.2f} s</title></rect>"
        )

    def mark(self, at_s: float, title: str) -> None:
        """Draw a cross over the lane."""
        x, y = self._x(at_s), self._top
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y + LANE / 2:.1f}" r="7" class="mark-paper"/>'
            f'<path d="M{x - 4:.1f} {y + 3:.1f}l8 8m0 -8l-8 8" class="mark">'
            f"<title>{escape(title)}</title></path>"
        )

    def ticks(self, moments: Sequence[float]) -> None:
        """Draw short lines at the foot of the lane, one a moment."""
        strokes = "".join(f"M{self._x(at_s):.1f} {self._top + LANE - 5:.1f}v5" for at_s in moments)
        if strokes:
            self._parts.append(
                f'<path d="{strokes}" class="probe"><title>{len(moments)} probes</title></path>'
            )

    def next_lane(self) -> None:
        """Move below the lane just drawn."""
        self._top += LANE + GAP

    def rates(
        self, starts: Sequence[float], bin_s: float, offered: Sequence[float], good: Sequence[float]
    ) -> None:
        """Draw two rates as steps on one scale."""
        height, peak = 46.0, max([1.0, *offered, *good])
        base = self._top + height
        filled = "".join(self._steps(starts, bin_s, good, base, height / peak))
        line = "".join(self._steps(starts, bin_s, offered, base, height / peak))
        # Down where the figures end, which of a run that goes on is not the end of the picture.
        end = self._x(starts[-1] + bin_s) if starts else LEFT
        self._parts.append(f'<path d="M{LEFT} {base:.1f}{filled}L{end:.1f} {base:.1f}Z" class="good"/>')
        self._parts.append(f'<path d="M{LEFT} {base:.1f}{line}" class="offered"/>')
        self._top = base + GAP

    def _steps(
        self, starts: Sequence[float], bin_s: float, values: Sequence[float], base: float, scale: float
    ) -> Iterator[str]:
        for start, value in zip(starts, values, strict=True):
            y = base - value * scale
            yield f"L{self._x(start):.1f} {y:.1f}L{self._x(start + bin_s):.1f} {y:.1f}"

    def cursor(self, at_s: float, title: str) -> None:
        """Draw a line over all lanes."""
        x = self._x(at_s)
        self._parts.append(
            f'<path d="M{x:.1f} 20V{self._top:.1f}" class="cursor"><title>{escape(title)}</title></path>'
        )

    def close(self, title: str) -> str:
        """Add the axis and the fault bands, and give the whole element."""
        height = self._top + 18
        bands = "".join(
            f'<rect x="{self._x(span[0]):.1f}" y="20" width="{max(1.0, self._x(span[1]) - self._x(span[0])):.1f}" '
            f'height="{self._top - 20:.1f}" class="band"/>'
            for span, _ in self._behind
        )
        step = _tick_step(self._end_s)
        ticks = "".join(
            f'<path d="M{self._x(k * step):.1f} {self._top:.1f}v4" class="axis"/>'
            f'<text x="{self._x(k * step):.1f}" y="{self._top + 15:.1f}" class="tick{_edge(k * step, self._end_s)}">{k * step:g} s</text>'
            for k in range(int(self._end_s / step) + 1)
        )
        return (
            f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(title)}" class="timeline">'
            f"{PATTERNS}{bands}{''.join(self._parts)}{ticks}</svg>"
        )


def recovery_words(fault: FaultLane) -> str:
    """Give what stands behind a fault's name of how the system came back; empty where nobody measured it."""
    if not fault.recovery:
        return ""
    return (
        f", system well {fault.recovery.text}{' after fault and spike' if fault.recovery.recovered else ''}"
    )


def _edge(at_s: float, end_s: float) -> str:
    """Name the ticks whose text would hang over the picture."""
    return " first" if at_s == 0 else " last" if at_s > 0.98 * end_s else ""


def _tick_step(end_s: float) -> float:
    """Give a round distance between ticks, for six to twelve of them."""
    rough = end_s / 8
    power = 10.0 ** math.floor(math.log10(rough))
    return min((power * factor for factor in (1, 2, 5, 10)), key=lambda step: abs(step - rough))
