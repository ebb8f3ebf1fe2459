"""The interactive plots: rows over one time axis, with one cursor through all of them.

Each row is a bokeh figure of its own in a place of its own, so that titles and legends are plain HTML of the page.
What joins them is one x range and one cursor line, shared by reference in one document. No callback is written in
JavaScript, so the page's security policy needs no `eval`.

Colours are written as the light palette of `palette.LIGHT`; the page's script exchanges them for the dark ones before
drawing. Texts inside a plot go through `plot_text`: bokeh would fetch a typesetter from the network for `$$`.

bokeh is imported by `canvas` and `rows` only, and these when something is drawn: it belongs to the extra `report`, and
costs half a second.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass

from resilience.report.values import ReportModel

DOCUMENT = "chaos-spike-run"
MOST_LANES = 40
MOST_LOADS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the page: where it is put, its title and the entries of its legend as (style class, text)."""

    element: str
    title: str
    legend: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plots:
    """The rows with their document as JSON, and the script that draws it."""

    rows: tuple[Row, ...]
    document: str
    script: str


def render_plots(model: ReportModel) -> Plots | None:
    """Draw all rows, or give None where bokeh is not installed."""
    if importlib.util.find_spec("bokeh") is None:
        return None
    from bokeh.document import Document  # noqa: PLC0415 - optional, see above
    from bokeh.resources import Resources  # noqa: PLC0415 - optional, see above

    from resilience.report.rows import draw  # noqa: PLC0415 - needs bokeh

    canvas = draw(model)
    document = Document()
    for figure in canvas.figures:
        document.add_root(figure)
    roots = {figure.id: row.element for figure, row in zip(canvas.figures, canvas.rows, strict=True)}
    whole = {
        "docs": {DOCUMENT: document.to_json(deferred=False)},
        "items": [{"docid": DOCUMENT, "roots": roots, "root_ids": list(roots)}],
    }
    script = Resources(mode="inline", components=["bokeh"], minified=True).js_raw[0]
    return Plots(tuple(canvas.rows), json.dumps(whole, separators=(",", ":")), script)
