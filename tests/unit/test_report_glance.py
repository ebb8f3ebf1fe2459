"""The page of a failed run on real screens: what matters is seen at a glance, large and small, light and dark, scripts or none."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import Tab, browser
from report_sample import failed_run
from test_report_past import worse

from resilience.report.html import render_html
from resilience.report.model import build_model
from resilience.report.past import past_of

SCREENS = {"desk": (1280, 900), "phone": (390, 844)}

FIRST_SCREEN = """(() => {
  const top = (query) => { const found = document.querySelector(query); return found ? found.getBoundingClientRect().top : null; };
  const bottom = (query) => document.querySelector(query).getBoundingClientRect().bottom;
  return {wide: document.documentElement.scrollWidth, verdict: bottom(".verdict"), sentence: bottom(".sentence"),
          chips: bottom(".chips"), first: top("#breakage h2"), still: document.querySelector(".timeline").getBoundingClientRect().height};
})()"""

INKS = """(() => {
  const numbers = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const paper = (node) => {
    for (let each = node; each; each = each.parentElement) {
      const found = numbers(getComputedStyle(each).backgroundColor);
      if (found.length === 3 || found[3] > 0.99) return found.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("header *, main *")) {
    if (node.closest("svg, .plot, [hidden]")) continue;
    const own = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (own) found.push([node.tagName + "." + node.className, numbers(getComputedStyle(node).color).slice(0, 3), paper(node)]);
  }
  return JSON.stringify(found);
})()"""


@pytest.fixture
def page(tmp_path: Path) -> str:
    """The address of the page of a failed run with a history, a file."""
    runs = worse()
    file = tmp_path / "report.html"
    file.write_text(render_html(build_model(*failed_run(), past_of(runs, runs[-1]))), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def tab(require: Callable[[str], str], tmp_path: Path) -> Any:
    """A tab of a browser of its own."""
    with browser(require("chromium"), tmp_path) as found:
        yield found


def luminance(rgb: list[float]) -> float:
    """Relative luminance as WCAG 2 defines it, from 0 to 1."""
    red, green, blue = (
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in rgb)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(ink: list[float], paper: list[float]) -> float:
    """Contrast ratio as WCAG 2 defines it, from 1 to 21."""
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.external
def test_page_tells_the_verdict_on_the_first_screen(tab: Tab, page: str) -> None:
    """Verdict, sentence, chips and the beginning of what fails first need no scrolling; nothing hangs over the side."""
    for (name, (width, height)), dark, scripts in itertools.product(
        SCREENS.items(), (False, True), (True, False)
    ):
        tab.look(width=width, height=height, dark=dark, scripts=scripts)
        tab.open(page)
        if scripts:
            tab.until(lambda: tab.ask("!document.getElementById('plots').hidden"), "the plots")
        tab.picture(f"{name}-{'dark' if dark else 'light'}{'' if scripts else '-no-scripts'}")
        seen = tab.ask(FIRST_SCREEN)
        assert seen["wide"] <= width, (name, seen)
        assert max(seen["verdict"], seen["sentence"], seen["chips"], seen["first"]) <= height, (name, seen)
        # Without scripts the static time line is there; with them it has made room.
        assert (seen["still"] == 0) is scripts, (name, seen)
        faint = {
            (where, round(found, 2))
            for where, ink, paper in json.loads(tab.ask(INKS))
            if (found := contrast(ink, paper)) < 4.5
        }
        assert not faint, f"{name}, {'dark' if dark else 'light'}: {sorted(faint)}"
    assert tab.complaints == []
    assert {address for address in tab.requests if not address.startswith("data:")} == {page}
