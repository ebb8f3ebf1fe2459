"""The page: offline, small, safe against its own contents, and readable without scripts or plots."""

import base64
import hashlib
import importlib.util
import json
import re
from html.parser import HTMLParser

import pytest
from report_sample import failed_run, hostile_run, passed_run

from resilience.report.html import GET_PLOTS, render_html
from resilience.report.model import build_model


class Page(HTMLParser):
    """Collects what a browser would make of a page: tags, attributes, scripts, visible text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self._inside = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Note a tag and its attributes."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):  # noqa: ARG002 - the parser names it
        """Note that an element ends."""
        self._inside = ""

    def handle_data(self, data):
        """Keep scripts apart from what people read."""
        if self._inside == "script":
            attrs, before = self.scripts[-1]
            self.scripts[-1] = (attrs, before + data)
        elif self._inside != "style":
            self.text += data


@pytest.fixture(scope="module")
def failed() -> str:
    """Give the page of a failed run."""
    return render_html(build_model(*failed_run()))


@pytest.fixture(scope="module")
def hostile() -> str:
    """Give the page of a run in which every text is an attack."""
    return render_html(build_model(*hostile_run()))


def test_page_says_the_verdict_in_plain_html(failed):
    """Verdict, first broken expectation, rule, instance and time are text of the page."""
    told = " ".join(Page(failed).text.split())
    assert "✘ FAIL" in told
    assert "conforms (R4 no leak on pricing@gateway-2) broke at 22.9 s" in told
    assert "holds if wait is in (0.08, 0.104] s; the spec says 1 s" in told
    assert "healed and verified" in told


def test_page_fits_two_megabytes(failed):
    """A page can be mailed and kept."""
    assert len(failed.encode()) < 2_000_000


def test_page_policy_names_each_script_by_its_hash(failed):
    """Exactly the scripts of the page may run, and nothing is loaded from anywhere."""
    page = Page(failed)
    (policy,) = [
        value for tag, name, value in page.attributes if tag == "meta" and value.startswith("default-src")
    ]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    for attrs, code in page.scripts:
        if attrs.get("type") != "application/json":
            digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy


def test_page_loads_nothing(failed):
    """No attribute of the page points outside it."""
    for tag, name, value in Page(failed).attributes:
        if name in {"src", "href", "action", "data", "poster"}:
            assert value.startswith(("#", "data:")), (tag, name, value)


def test_page_escapes_hostile_texts(hostile, failed):
    """No text of a target becomes an element, an attribute or an end of a script."""
    page = Page(hostile)
    assert "img" not in page.tags
    assert not [each for each in page.attributes if each[1].startswith("on")]
    assert len(page.scripts) == len(Page(failed).scripts)
    for attrs, code in page.scripts:
        if attrs.get("type") == "application/json":
            assert "<" not in code
            json.loads(code)


def test_page_has_no_control_characters(hostile):
    """Control and direction marks of the target do not reach the reader."""
    own = re.sub(r"<script>.*?</script>", "", hostile, flags=re.DOTALL)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", own)


def test_plots_do_not_typeset_hostile_texts(hostile):
    """Bokeh fetches a typesetter for formulas; no text of a target may look like one."""
    (data,) = [code for attrs, code in Page(hostile).scripts if attrs.get("id") == "plot-data"]
    assert "$$" not in data
    assert r"\\(" not in data


def test_page_without_bokeh_has_a_static_timeline(monkeypatch):
    """Without the plotting extra the page is whole, says how to get plots, and has no script at all."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bokeh" else found(name))
    source = render_html(build_model(*failed_run()))
    page = Page(source)
    assert page.scripts == []
    assert any("script-src 'none'" in value for _, _, value in page.attributes)
    assert "svg" in page.tags
    assert GET_PLOTS in page.text
    assert "breaker pricing@gateway-2" in page.text
    assert len(source) < 100_000


def test_page_of_a_passed_run_shows_no_breakage():
    """A passed run has a verdict, and no section on what fails."""
    page = Page(render_html(build_model(*passed_run())))
    assert "✔ PASS" in page.text
    assert "What fails first" not in page.text


def test_page_gives_up_plots_that_do_not_fit(monkeypatch):
    """A run with too much to draw still has its page, under the limit."""
    monkeypatch.setattr("resilience.report.html.PLOT_BUDGET", 10)
    source = render_html(build_model(*failed_run()))
    assert "too much data for plots" in source
    assert Page(source).scripts == []
