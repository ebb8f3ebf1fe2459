"""The history on the page: the runs that are shown, what the trend says, and pictures that tell the truth of them."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree as ET

from report_sample import failed_run, passed_run

from resilience.history.figures import Figure
from resilience.history.store import StoredRun
from resilience.report.html import render_html
from resilience.report.model import build_model
from resilience.report.past import SHOWN, past_of, sparkline


def night(number: int, value: float, **changed: object) -> StoredRun:
    """A run of night `number` with one figure."""
    run = StoredRun(
        run_id=f"run-{number:03}", plan="breaker", plan_hash="p", fingerprint="e",
        started=f"2026-01-01T00:{number:02}:00+00:00", verdict="pass", stack="embedded", seed="1",
        folder=f"/runs/{number}", reference_from=False, note="",
        figures=(Figure("quotes baseline p95", value, "ms", "up"),),
    )  # fmt: skip
    return replace(run, **changed)  # type: ignore[arg-type]


def worse(nights: int = 25) -> list[StoredRun]:
    """Level nights, and three that take half as long again."""
    before = [night(place, 10.0 + 0.02 * (place % 5)) for place in range(nights)]
    return [*before, *(night(nights + place, 15.0) for place in range(3))]


def test_past_says_what_the_trend_says() -> None:
    """Three slow nights after twenty-five level ones: fail, with the medians that it says so by."""
    runs = worse()
    past = past_of(runs, runs[-1])
    (figure,) = past.figures
    assert (past.state, figure.state) == ("fail", "fail")
    assert (figure.before, figure.now) == ("10 ms", "15 ms")
    assert figure.band == (10.0, 10.08)
    assert len(figure.points) == 28
    assert "fail 0.06 %" in " ".join(past.notes)


def test_past_shows_the_last_thirty_runs_and_where_the_reference_began_anew() -> None:
    """What was before an accepted change is still drawn, but no reference any more."""
    runs = worse(35)
    runs[35] = replace(runs[35], reference_from=True, note="bigger catalogue")
    past = past_of(runs, runs[-1])
    (figure,) = past.figures
    assert len(figure.points) == SHOWN
    assert [each.begins for each in figure.points].count(True) == 1
    assert past.state == "too few"
    assert past.sentence == "3 comparable runs; 8 are needed for a first word"


def test_past_of_an_invalid_run_is_without_it_and_says_so() -> None:
    """A run that measured nothing is no night."""
    runs = [*worse(25)[:25], night(25, 99.0, verdict="invalid")]
    past = past_of(runs, runs[-1])
    assert past.state == "ok"
    assert all(each.value < 20 for each in past.figures[0].points)
    assert "this run is not among them: it is invalid, and measured nothing" in past.notes


def test_past_without_a_run_that_measured_anything_shows_no_figures() -> None:
    """What an invalid run read off its clocks is no figure."""
    run = night(0, 99.0, verdict="invalid")
    assert past_of([run], run).figures == ()


def test_past_of_a_first_run_has_its_figures() -> None:
    """Nothing to compare with is said, not hidden."""
    run = night(0, 10.0)
    past = past_of([run], run)
    assert past.state == "too few"
    assert past.figures[0].now == "10 ms"


def test_sparkline_has_a_point_a_run_higher_for_more_and_on_top_for_what_was_not_seen() -> None:
    """Heights keep the order of the values; what did not come is above everything."""
    runs = [night(0, 10.0), night(1, 12.0), night(2, 11.0), night(3, math.inf)]
    (figure,) = past_of(runs, runs[-1]).figures
    circles = ET.fromstring(sparkline(figure)).findall("circle")
    heights = [float(each.get("cy", "nan")) for each in circles]
    assert len(heights) == 4
    assert heights[3] < heights[1] < heights[2] < heights[0]
    assert "not seen" in (circles[3].findtext("title") or "")


def test_page_shows_the_history_in_plain_html_and_escapes_it() -> None:
    """Verdict of the trend, figures and pictures without any script; a run's name cannot become markup."""
    runs = worse()
    runs[3] = replace(runs[3], run_id="<img src=x onerror=alert(1)>")
    page = render_html(build_model(*failed_run(), past_of(runs, runs[-1])))
    section = page[page.index('<section id="history">') : page.index('<section id="validity">')]
    assert "quotes baseline p95" in section
    assert "✘ FAIL" in section
    assert section.count('class="spark"') == 1
    assert "<img" not in section
    assert "the last 3 runs against 25 before them" in section


def test_page_without_a_history_has_no_such_section() -> None:
    """A record that is rendered elsewhere is still whole."""
    assert '<section id="history">' not in render_html(build_model(*passed_run()))
