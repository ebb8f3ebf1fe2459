"""The report as one page that needs nothing else: no network, no server, no JavaScript for what matters.

Verdict, tables and a static time line are plain HTML and SVG. With the extra `report`, plots are drawn over the static
time line by bokeh, whose script is put into the page. Everything from the target is escaped by the template engine; what
goes into a script element is JSON in which no `<` is left. The page's security policy names its scripts by their hash,
so a script that slips in does not run, and nothing may be loaded from anywhere.

`render_html` is pure but for reading its own templates.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from resilience.report import palette
from resilience.report.headline import one_line, sign, word
from resilience.report.past import sparkline
from resilience.report.plots import Plots, render_plots
from resilience.report.svg import render_svg
from resilience.report.texts import at
from resilience.report.values import ReportModel, RuleRow

PLOT_BUDGET = 560_000
"""Characters of plot data that fit beside bokeh's script in a page of 2 MB; more than that is not drawn."""

GET_PLOTS = "pip install 'chaos-spike[report]'"


@dataclass(frozen=True, slots=True)
class RuleMatrix:
    """One breaker's rules as rows and its instances as columns; a cell is a verdict, or empty."""

    breaker: str
    instances: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def render_html(model: ReportModel, *, refresh_s: int | None = None) -> str:
    """Give the whole page. With `refresh_s`: one without scripts that the browser asks for again, of a run that goes on."""
    plots = render_plots(model) if refresh_s is None else None
    if refresh_s is not None:
        note = f"This run goes on; the page follows every {refresh_s} s."
    elif plots is not None and len(plots.document) > PLOT_BUDGET:
        plots, note = (
            None,
            "This run has too much data for plots in one page; the static time line shows all of it.",
        )
    elif plots is None:
        note = f"Interactive plots need one more package: {GET_PLOTS}, then render the report again."
    else:
        note = "Interactive plots need JavaScript; the static time line below shows the same run."
    scripts = _scripts(plots)
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            model=model,
            title=one_line(model),
            refresh_s=refresh_s,
            policy=_policy(scripts),
            style=Markup(style_sheet()),  # noqa: S704 - our own file and palette
            scripts=[Markup(each) for each in scripts],  # noqa: S704 - our own and bokeh's files
            svg=Markup(render_svg(model)),  # noqa: S704 - escapes its own texts
            plots=plots,
            plot_json=Markup(_json_for_script(plots.document)) if plots else "",  # noqa: S704 - no "<" is left
            dark_json=Markup(_json_for_script(json.dumps(dict(palette.DARK)))),  # noqa: S704 - no "<" is left
            plot_note=note,
            past=[(each, Markup(sparkline(each))) for each in model.past.figures] if model.past else [],  # noqa: S704 - escapes its own texts
            matrices=rule_matrices(model.rules),
            notable_rules=[each for each in model.rules if each.verdict in {"fail", "declared"}],
            open_rules=[each for each in model.rules if each.verdict not in {"pass", "fail", "declared"}],
        )
    )


def rule_matrices(rules: Sequence[RuleRow]) -> list[RuleMatrix]:
    """Arrange the rules of each breaker with its instances side by side."""
    found: list[RuleMatrix] = []
    for breaker in dict.fromkeys(each.breaker for each in rules):
        own = [each for each in rules if each.breaker == breaker]
        instances = tuple(dict.fromkeys(each.instance for each in own))
        cells = {(each.rule, each.instance): each.verdict for each in own}
        titles = {each.rule: each.title for each in own}
        rows = tuple(
            (
                f"{rule} {titles[rule]}".strip(),
                tuple(cells.get((rule, instance), "") for instance in instances),
            )
            for rule in dict.fromkeys(each.rule for each in own)
        )
        found.append(RuleMatrix(breaker, instances, rows))
    return found


def templates() -> Environment:
    """Give our templates, with the words that they share."""
    made = Environment(
        loader=PackageLoader("resilience.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(at=at, sign=sign, word=word)
    return made


def _own_file(name: str) -> str:
    return resources.files("resilience.report").joinpath("templates", name).read_text(encoding="utf-8")


def style_sheet() -> str:
    """Give the style sheet with the palette as variables, light by default and dark where the reader prefers it."""
    names = {value: name.lower().replace("_", "-") for name, value in vars(palette).items() if name.isupper()
             and isinstance(value, str)}  # fmt: skip
    light = "".join(f"--{name}:{value};" for value, name in names.items())
    dark = "".join(f"--{name}:{palette.DARK[value]};" for value, name in names.items())
    root = f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n"
    return root + _own_file("report.css")


def _scripts(plots: Plots | None) -> list[str]:
    """Give the scripts of the page; an end tag inside one must not end it."""
    return (
        [each.replace("</script", "<\\/script") for each in (plots.script, _own_file("report.js"))]
        if plots
        else []
    )


def _policy(scripts: Iterable[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json_for_script(document: str) -> str:
    """Give JSON that means the same and can stand in a script element."""
    return document.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
