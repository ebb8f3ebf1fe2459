"""JUnit XML: a test case an expectation, under the same ids as everywhere else.

A broken expectation is a failure. One without enough evidence is an *error*, because a nightly job must not read it as
passed; so is a run that was invalid, aborted, left unhealed or never set up, as a test case of its own. The reader of
JUnit is a machine: messages are one line, details follow in the body.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from resilience.report.values import Expectation, ReportModel

RUN_ERRORS = {
    "invalid": "the measurement was not fit to judge by",
    "aborted": "the run was aborted",
    "unhealed": "a fault could not be verified as healed",
    "setup_failed": "the system under test could not be set up",
}


def render_junit(model: ReportModel) -> str:
    """Give the whole XML document."""
    suite = ET.Element("testsuite", name=f"chaos-spike.{model.name}", time=f"{model.duration_s:.3f}")
    if model.started:
        suite.set("timestamp", model.started)
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("verdict", model.verdict),
        ("seed", model.seed),
        ("stack", model.stack),
        ("reproduce", model.reproduce),
    ):
        ET.SubElement(properties, "property", name=name, value=value)
    failures = errors = 0
    for each in model.expectations:
        verdict = _case(suite, model, each)
        failures += verdict == "fail"
        errors += verdict not in {"fail", "pass"}
    if model.verdict in RUN_ERRORS or (model.verdict != "pass" and not failures + errors):
        why = RUN_ERRORS.get(model.verdict, f"the verdict is {model.verdict}")
        case = ET.SubElement(suite, "testcase", classname=model.name, name=f"run.{model.verdict}", time="0")
        details = ET.SubElement(case, "error", type=model.verdict, message=f"{why}: {model.sentence}")
        details.text = "\n".join([*model.validity.reasons, *_faults_left(model)])
        errors += 1
    cases = len(suite.findall("testcase"))
    for name, count in (("tests", cases), ("failures", failures), ("errors", errors), ("skipped", 0)):
        suite.set(name, str(count))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, model: ReportModel, each: Expectation) -> str:
    """Add the test case of one expectation; gives its verdict."""
    case = ET.SubElement(suite, "testcase", classname=model.name, name=each.id, time="0")
    told = f"expected {each.expected or 'it to hold'}, observed {each.observed or 'nothing'}"
    if each.verdict == "fail":
        details = ET.SubElement(case, "failure", type="expectation", message=told)
    elif each.verdict == "pass":
        details = ET.SubElement(case, "system-out")
    else:
        details = ET.SubElement(case, "error", type=each.verdict, message=f"not judged: {told}")
    details.text = "\n".join(_details(model, each))
    return each.verdict


def _details(model: ReportModel, each: Expectation) -> list[str]:
    rows = [f"expected: {each.expected}", f"observed: {each.observed}"]
    rows += [f"margin: {each.margin}"] if each.margin else []
    rows += [f"at: {each.at_s:.3f} s"] if each.at_s is not None else []
    rows += each.evidence
    if model.breakage and model.breakage.expectation == each.id:
        rows += [*model.breakage.explanations, *model.breakage.proof]
        rows += [f"{moment.at_s:9.3f} s  {moment.text}" for moment in model.breakage.witness]
    return rows


def _faults_left(model: ReportModel) -> list[str]:
    return [f"fault {each.id}: {each.note}" for each in model.faults if not each.verified]
