"""The rows of the plots: faults, breakers, three a load, calls to dependencies, resources.

Each function adds its figures to a canvas. Like the canvas it imports bokeh, so only `plots.render_plots` may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models.annotations import Span
from bokeh.models.formatters import NumeralTickFormatter
from bokeh.models.sources import ColumnDataSource

from resilience.report import palette
from resilience.report.canvas import Canvas, plot_text
from resilience.report.plots import MOST_LANES, MOST_LOADS, Row
from resilience.report.svg import recovery_words
from resilience.report.values import OUTCOMES, BreakerLane, FaultLane, LoadSeries, ReportModel, TimeSeries


def draw(model: ReportModel) -> Canvas:
    """Draw all rows of a run."""
    canvas = Canvas(model)
    _faults(canvas, model.faults[:MOST_LANES])
    if model.breakers:
        _breakers(canvas, model.breakers[:MOST_LANES])
    for load in model.loads[:MOST_LOADS]:
        _load(canvas, load)
    if model.dependency:
        _lines(canvas, "calls", "Calls that left for each dependency, per second", model.dependency)
    for unit, title in (
        ("instances", "Instances ready that the autoscaler added"),
        ("sockets", "Sockets open, as the services say"),
        ("MiB", "Memory, MiB resident"),
        ("cores", "Processor, cores busy"),
    ):
        found = [each for each in model.resources if each.unit == unit]
        if found:
            _lines(canvas, unit.lower(), title, found)
    return canvas


def _faults(canvas: Canvas, faults: Sequence[FaultLane]) -> None:
    legend: tuple[tuple[str, str], ...] = (
        ("planned", "planned"),
        ("fault", "really on"),
        ("healing", "healed, not yet verified"),
    )
    back = {each.recovery.recovered for each in faults if each.recovery}
    legend += (("recovering", "until the system was well"),) if True in back else ()
    legend += (("unrecovered", "the system was not seen to be well"),) if False in back else ()
    made = canvas.lanes(
        Row("plot-faults", "Phases, faults and recovery", legend if faults else ()),
        [f"{each.id}: {each.note}{recovery_words(each)}" for each in faults], head=True,
    )  # fmt: skip
    phases = canvas.model.phases[:MOST_LANES]
    # A name that does not fit on a small screen would run into the next one: then they stand on two levels.
    roomy = all((each.end_s - each.start_s) / canvas.end_s * 300 > 7 * len(each.name) for each in phases)
    strip = {
        "left": [each.start_s for each in phases], "right": [each.end_s for each in phases],
        "name": [plot_text(each.name) for each in phases],
        "text_y": [0.40 + (0.0 if roomy else 0.19 if place % 2 else -0.19) for place in range(len(phases))],
        "alpha": [0.22 if place % 2 else 0.10 for place in range(len(phases))],
    }  # fmt: skip
    drawn = made.quad("left", "right", 0.80, 0.02, source=strip, fill_color=palette.INK, fill_alpha="alpha",
                      line_color=None)  # fmt: skip
    made.text("left", "text_y", "name", source=strip, text_font_size="11px", text_color=palette.INK,
              text_baseline="middle", x_offset=4)  # fmt: skip
    canvas.hover(made, drawn, [("phase", "@name"), ("from", "@left{0.0} s"), ("to", "@right{0.0} s")])
    numbered = list(enumerate(faults))
    canvas.bars(
        made,
        [(k, *each.actual, f"{each.id} on: {each.kind} {each.target}") for k, each in numbered if each.actual],
        fill_color=palette.FAULT, line_color=None,
    )  # fmt: skip
    healing = [
        (k, each.actual[1], each.verified_s, f"{each.id} healed, not yet verified")
        for k, each in numbered if each.actual and each.verified_s is not None
    ]  # fmt: skip
    canvas.bars(made, healing, fill_color=None, line_color=None, hatch_pattern="/", hatch_scale=6,
               hatch_color=palette.FAULT)  # fmt: skip
    for recovered, style in palette.RECOVERY.items():
        bars = [
            (k, *each.recovery.span, f"{each.id}: system well {each.recovery.text}")
            for k, each in numbered if each.recovery and each.recovery.recovered is recovered
        ]  # fmt: skip
        canvas.bars(made, bars, line_color=None, **style)
    planned = [(k, *each.planned, f"{each.id} as planned") for k, each in numbered if each.planned]
    canvas.bars(made, planned, fill_color=None, line_color=palette.INK, line_dash="dashed", line_width=1.5)


def _breakers(canvas: Canvas, lanes: Sequence[BreakerLane]) -> None:
    used = {span.state for lane in lanes for span in lane.states}
    legend = [(state, state.replace("_", "-")) for state in ("closed", "open", "half_open")] if used else []
    legend += [("other", "other")] if used - set(palette.STATES) else []
    legend += [("probe", "probe")] if any(lane.probes_s for lane in lanes) else []
    legend += [("illegal", "rule broken or illegal transition")] if any(lane.marks for lane in lanes) else []
    left_out = len(canvas.model.breakers) - len(lanes)
    note = f"{left_out} more instances are in the tables only." if left_out else ""
    made = canvas.lanes(Row("plot-breakers", "Breakers", tuple(legend), note), [each.words for each in lanes])
    for state, style in palette.STATES.items():
        bars = [
            (k, span.start_s, span.end_s, f"{lane.label}: {span.state}")
            for k, lane in enumerate(lanes) for span in lane.states
            if (span.state if span.state in palette.STATES else "other") == state
        ]  # fmt: skip
        canvas.bars(made, bars, line_color=palette.INK, line_width=0.5, **style)
    probes = [(at_s, -k - 0.86) for k, lane in enumerate(lanes) for at_s in lane.probes_s]
    if probes:
        made.scatter([x for x, _ in probes], [y for _, y in probes], marker="dash", angle=1.5708, size=9,
                     line_color=palette.INK, line_width=2)  # fmt: skip
    marks = [
        (mark.at_s, -k - 0.7, plot_text(mark.text)) for k, lane in enumerate(lanes) for mark in lane.marks
    ]
    if marks:
        data = dict(zip(("x", "y", "what"), map(list, zip(*marks, strict=True)), strict=True))
        # On paper of its own: a red cross would drown in the red of the open state.
        drawn = made.scatter("x", "y", source=data, marker="circle_x", size=15, line_width=2.5,
                             line_color=palette.BROKEN, fill_color=palette.PAPER)  # fmt: skip
        canvas.hover(made, drawn, [("broken", "@what"), ("at", "@x{0.000} s")])


def _load(canvas: Canvas, load: LoadSeries) -> None:
    place = len(canvas.figures)
    source = ColumnDataSource(_columns(load))
    width = f" ({load.bin_s:g} s bins)" if load.bin_s > 1 else ""
    rates = canvas.figure(
        Row(f"plot-{place}", f"{load.name}: rate per second{width}",
            (("offered", "offered"), ("completed", "completed"), ("good", "good: correct and in time"),
             ("gap", "offered, but not completed"))),
        150, y_range=(0.0, 1.08 * max([1.0, *load.offered_per_s, *load.completed_per_s])),
    )  # fmt: skip
    rates.varea_step("x", "completed", "offered", source=source, step_mode="after", fill_color=palette.BROKEN,
                     fill_alpha=0.25, hatch_pattern="x", hatch_color=palette.BROKEN, hatch_alpha=0.4)  # fmt: skip
    rates.varea_step("x", 0, "good", source=source, step_mode="after", fill_color=palette.OK, fill_alpha=0.45)
    rates.step("x", "completed", source=source, mode="after", line_color=palette.BLUE, line_width=2)
    rates.step("x", "offered", source=source, mode="after", line_color=palette.INK, line_dash="dashed")
    canvas.bin_hover(rates, source, ("offered", "completed", "good"))
    _outcomes(canvas, load, source, place + 1)
    _latency(canvas, load, source, place + 2)


def _outcomes(canvas: Canvas, load: LoadSeries, source: Any, place: int) -> None:
    made = canvas.figure(
        Row(f"plot-{place}", f"{load.name}: outcomes per second, stacked",
            tuple((f"o-{name}", palette.OUTCOME_WORDS[name]) for name in OUTCOMES)),
        140, y_range=(0.0, 1.08 * max([1.0, *load.offered_per_s])),
    )  # fmt: skip
    for below, name in zip(("zero", *OUTCOMES), OUTCOMES, strict=False):
        made.varea_step("x", "zero" if below == "zero" else f"to_{below}", f"to_{name}", source=source,
                        step_mode="after", **palette.OUTCOMES[name])  # fmt: skip
    canvas.bin_hover(made, source, OUTCOMES)


def _latency(canvas: Canvas, load: LoadSeries, source: Any, place: int) -> None:
    known = [value for value in (*load.p50_ms, *load.max_ms) if value > 0]
    low, high = min(known, default=1.0), max(known, default=10.0)
    legend = [("p50", "p50"), ("p95", "p95"), ("p99", "p99"), ("max", "max")]
    if load.objective_ms is not None:
        legend.append(("objective", f"objective {load.objective_ms:g} ms"))
        high = max(high, load.objective_ms)
    made = canvas.figure(
        Row(f"plot-{place}", f"{load.name}: response time in ms, from the intended start", tuple(legend)),
        150, y_axis_type="log", y_range=(low * 0.7, high * 1.5),
    )  # fmt: skip
    made.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    for name, style in palette.QUANTILES.items():
        made.step("x", name, source=source, mode="after", **style)
    if load.objective_ms is not None:
        made.add_layout(Span(location=load.objective_ms, dimension="width", line_color=palette.BROKEN,
                             line_dash="dotdash", line_width=1.5))  # fmt: skip
    canvas.bin_hover(made, source, ("p50", "p95", "p99", "max"))


def _lines(canvas: Canvas, place: str, title: str, found: Sequence[TimeSeries]) -> None:
    shown = found[: len(palette.LINES)]
    note = f"{len(found) - len(shown)} more are not drawn." if len(found) > len(shown) else ""
    top = 1.08 * max((value for each in shown for value in each.values), default=1.0)
    made = canvas.figure(
        Row(f"plot-{place}", title, tuple((f"line-{k}", each.name) for k, each in enumerate(shown)), note),
        120, y_range=(0.0, top or 1.0),
    )  # fmt: skip
    for style, each in zip(palette.LINES, shown, strict=False):
        made.step(_array(each.at_s), _array(each.values), mode="after", **style)


def _array(values: Sequence[float]) -> Any:
    """Give a column in single precision: half the bytes, and still finer than a pixel."""
    return np.asarray(values, dtype=np.float32)


def _columns(load: LoadSeries) -> dict[str, Any]:
    """Give the columns of a load; the last bin is repeated at its end, so that its step has a width."""

    def closed(values: Sequence[float]) -> Any:
        return _array([*values, *values[-1:]])

    ends = [start + load.bin_s for start in load.start_s]
    columns = {
        "x": _array([*load.start_s, *ends[-1:]]), "end": _array([*ends, *ends[-1:]]),
        "offered": closed(load.offered_per_s), "completed": closed(load.completed_per_s),
        "good": closed(load.goodput_per_s), "zero": closed([0.0] * len(ends)),
        "p50": closed(load.p50_ms), "p95": closed(load.p95_ms), "p99": closed(load.p99_ms), "max": closed(load.max_ms),
    }  # fmt: skip
    total = columns["zero"]
    for name in OUTCOMES:
        columns[name] = closed(load.outcomes[name])
        total = total + columns[name]
        columns[f"to_{name}"] = total
    return columns
