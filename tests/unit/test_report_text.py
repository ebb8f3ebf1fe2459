"""Console and JUnit: what a person reads in a terminal, and a machine in a nightly job."""

import io
from xml.etree import ElementTree as ET

import pytest
from report_sample import failed_run, hostile_run, passed_run
from rich.console import Console

from resilience.report.console import print_console
from resilience.report.junit import render_junit
from resilience.report.model import build_model


def printed(run, width: int = 80) -> str:
    """Print a run to something that is no terminal."""
    out = io.StringIO()
    print_console(build_model(*run), Console(file=out, width=width))
    return out.getvalue()


def test_console_names_what_fails_before_anything_else():
    """Expectation, rule, instance, time and explanation come before the list of expectations."""
    shown = printed(failed_run())
    lead = shown[: shown.index("Expectations")]
    for wanted in ("FAIL", "conforms", "R4 no leak", "pricing@gateway-2", "22.9 s", "holds if wait is in (0.08, 0.104] s",
                   "> conforms broke here"):  # fmt: skip
        assert wanted in lead
    rest = shown[shown.index("Expectations") :]
    assert rest.index("conforms") < rest.index("memory") < rest.index("steady")


def test_console_is_plain_text_at_eighty_columns():
    """No escape sequence, and no line longer than the terminal except paths and commands to copy."""
    shown = printed(failed_run())
    assert "\x1b" not in shown
    assert max(len(line) for line in shown[: shown.index("Where to look")].splitlines()) <= 80


def test_console_says_where_to_look_and_how_to_repeat():
    """Page, verdict and command are whole, each on one line."""
    lines = [line.strip() for line in printed(passed_run(), width=40).splitlines()]
    assert "page     runs/2026-03-01-checkout/report.html" in lines
    assert "verdict  runs/2026-03-01-checkout/verdict.json" in lines
    assert "again    chaos-spike run breaker.yaml --stack embedded --seed 42" in lines


def test_console_prints_markup_of_the_target_as_text():
    """A target cannot colour, hide or forge lines of the terminal."""
    shown = printed(hostile_run())
    assert "[red]" in shown
    assert "\x1b" not in shown


def test_junit_has_a_case_an_expectation_under_the_same_id():
    """Ids, failures and errors agree with the verdict."""
    suite = ET.fromstring(render_junit(build_model(*failed_run()))).find("testsuite")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == ["steady", "conforms", "recovers", "memory"]
    assert cases["conforms"].find("failure").get("message").startswith("expected R1, R4, R5, R10 hold")
    assert "pricing@gateway-2" in cases["conforms"].find("failure").text
    assert cases["memory"].find("error").get("type") == "unknown"
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "1")


@pytest.mark.parametrize("verdict", ["invalid", "aborted", "unhealed", "setup_failed", "unknown"])
def test_junit_has_an_error_for_a_run_that_was_none(verdict):
    """However the run went wrong, no reader of JUnit sees it green."""
    source, found = passed_run()
    suite = ET.fromstring(render_junit(build_model(source, found | {"verdict": verdict}))).find("testsuite")
    case = suite.findall("testcase")[-1]
    assert case.get("name") == f"run.{verdict}"
    assert case.find("error") is not None
    assert suite.get("errors") == "1"


def test_junit_is_well_formed_whatever_the_target_says():
    """Control characters and markup of the target leave the document readable."""
    suite = ET.fromstring(render_junit(build_model(*hostile_run()))).find("testsuite")
    assert "<img" in suite.get("name")
