"""What all rows of the plots share: the time axis, the cursor, the tint of the faults, and how a lane looks.

A canvas makes bokeh figures that hold the same x range and the same cursor line by reference; bokeh moves them together.
It imports bokeh, so only `plots.render_plots` may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bokeh.models.annotations import BoxAnnotation, Span
from bokeh.models.ranges import Range1d
from bokeh.models.tools import BoxZoomTool, CrosshairTool, HoverTool
from bokeh.plotting import figure

from resilience.report import palette
from resilience.report.plots import MOST_LANES, Row
from resilience.report.values import ReportModel

LANE_PX = 34

Bar = tuple[int, float, float, str]
"""A stretch of a lane: lane from the top, start and end in seconds, what the pointer reads there."""


def plot_text(shown: str) -> str:
    """Give a text that bokeh draws as it is: what would open a formula gets a space of no width."""
    for opening in ("$$", r"\(", r"\["):
        shown = shown.replace(opening, f"{opening[0]}\u200b{opening[1]}")
    return shown


class Canvas:
    """Builds figures, one a row, in the order in which they stand on the page."""

    def __init__(self, model: ReportModel) -> None:
        self.model = model
        self.end_s = max([model.duration_s, 1.0, *(phase.end_s for phase in model.phases)])
        self.rows: list[Row] = []
        self.figures: list[Any] = []
        self._x = Range1d(start=0.0, end=self.end_s, bounds=(0.0, self.end_s), min_interval=0.2)
        self._cursor = Span(dimension="height", line_color=palette.INK, line_width=1, line_alpha=0.6)

    def figure(self, row: Row, height: int, **options: Any) -> Any:
        """Add a row of `height` pixels; `options` go to bokeh."""
        made = figure(
            height=height, sizing_mode="stretch_width", x_range=self._x, tools="", toolbar_location=None,
            min_border_left=52, min_border_right=10, min_border_top=4, min_border_bottom=22,
            background_fill_alpha=0.0, border_fill_alpha=0.0, outline_line_color=palette.GRID, **options,
        )  # fmt: skip
        for axis in made.axis:
            axis.update(
                major_label_text_color=palette.INK, major_label_text_font_size="11px", axis_line_color=palette.GRID,
                major_tick_line_color=palette.GRID, minor_tick_line_color=None,
            )  # fmt: skip
        for grid in made.grid:
            grid.grid_line_color = palette.GRID
        zoom = BoxZoomTool(dimensions="width")
        made.add_tools(CrosshairTool(dimensions="height", overlay=self._cursor), zoom)
        made.toolbar.active_drag = zoom
        self._tint(made)
        self.rows.append(row)
        self.figures.append(made)
        return made

    def _tint(self, made: Any) -> None:
        """Lay the faults behind the row and the first breakage over it."""
        for fault in self.model.faults[:MOST_LANES]:
            if fault.actual:
                made.add_layout(
                    BoxAnnotation(left=fault.actual[0], right=fault.actual[1], fill_color=palette.FAULT,
                                  fill_alpha=0.10, line_color=None, level="underlay")
                )  # fmt: skip
        for phase in self.model.phases[1:]:
            made.add_layout(Span(location=phase.start_s, dimension="height", line_color=palette.INK,
                                 line_alpha=0.25, line_width=1))  # fmt: skip
        broken = self.model.breakage
        if broken and broken.at_s is not None:
            made.add_layout(Span(location=broken.at_s, dimension="height", line_color=palette.BROKEN,
                                 line_dash="dashed", line_width=2))  # fmt: skip

    def lanes(self, row: Row, labels: Sequence[str], *, head: bool = False) -> Any:
        """Make a figure of lanes, numbered from the top, each with its label above it inside the frame."""
        count = len(labels) + (0.8 if head else 0.0)
        made = self.figure(
            row, int(LANE_PX * max(count, 1)) + 28, y_range=(-len(labels), 0.8 if head else 0.0)
        )
        made.yaxis.visible = False
        made.ygrid.visible = False
        source = {"y": [-k - 0.04 for k in range(len(labels))], "t": [plot_text(each) for each in labels]}
        source["x"] = [0.0] * len(labels)
        made.text("x", "y", "t", source=source, text_font_size="11px", text_color=palette.INK, text_baseline="top",
                  x_offset=4)  # fmt: skip
        return made

    def bars(self, made: Any, bars: Sequence[Bar], **style: Any) -> None:
        """Draw stretches of lanes as (lane, start, end, tooltip); lanes count from 0 at the top."""
        if not bars:
            return
        data = {
            "left": [bar[1] for bar in bars], "right": [bar[2] for bar in bars], "what": [plot_text(bar[3]) for bar in bars],
            "top": [-bar[0] - 0.46 for bar in bars], "bottom": [-bar[0] - 0.94 for bar in bars],
        }  # fmt: skip
        drawn = made.quad("left", "right", "top", "bottom", source=data, **style)
        self.hover(made, drawn, [("", "@what"), ("from", "@left{0.00} s"), ("to", "@right{0.00} s")])

    def hover(self, made: Any, drawn: Any, tooltips: list[tuple[str, str]]) -> None:
        """Tell what is drawn where the pointer stands."""
        made.add_tools(HoverTool(renderers=[drawn], tooltips=tooltips, point_policy="follow_mouse"))

    def bin_hover(self, made: Any, source: Any, names: Sequence[str]) -> None:
        """Let the figures of the bin under the pointer be read, wherever in the row it stands."""
        bottom, top = made.y_range.start, made.y_range.end
        drawn = made.quad("x", "end", top, bottom, source=source, fill_alpha=0.0, line_alpha=0.0)
        self.hover(made, drawn, [("at", "@x{0} s"), *((name, f"@{name}{{0.[0]}}") for name in names)])
