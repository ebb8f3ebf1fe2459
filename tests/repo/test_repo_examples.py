"""Every example of README and docs is run: by its page's shell session here, or by the test that the page's examples are held by.

A page's blocks carry what is done with them (docs_blocks); pages whose examples a test of their own reads are listed in `HELD`. A
block that is neither, and says no reason, fails.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from docs_blocks import ROOT, blocks, commands, script
from readme_lines import LINES
from ruamel.yaml import YAML

from resilience.history.figures import Figure
from resilience.history.store import History, StoredRun
from resilience.lab.ports import free_port
from resilience.report.prometheus import render_prometheus
from resilience.run.record import RunRecorder

PAGES = sorted([ROOT / "README.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")])
HELD = {
    "README.md": "tests/repo/test_repo_examples.py",
    "docs/breakers.md": "tests/unit/test_breaker_trace.py",
    "docs/external.md": "tests/unit/test_conformance_plan_docs.py",
    "docs/history-format.md": "tests/unit/test_breaker_trace.py",
    "docs/install.md": "tests/external/test_plugin_wheel.py",
    "docs/interpose.md": "tests/external/test_interpose_runs.py",
    "docs/lab.md": "tests/integration/test_docs_pages.py",
    "docs/load.md": "tests/unit/test_load_docs.py",
    "docs/observers.md": "tests/unit/test_conformance_plan_docs.py",
    "docs/plan.md": "tests/unit/test_plan_docs.py",
    "docs/proxy.md": "tests/integration/test_docs_pages.py",
    "docs/pytest.md": "tests/integration/test_docs_pages.py",
    "docs/safety.md": "tests/integration/test_docs_pages.py",
    "docs/examples/pytest/README.md": "tests/external/test_plugin_wheel.py",
}
"""Pages whose examples a test of their own runs."""
KNOWN = {"file", "run", "install", "shown", "held", "skip", "exit", "part"}
DRAWINGS = {"", "text", "mermaid"}
SLOW = {"docs/tutorial.md"}


def name_of(page: Path) -> str:
    """Path from the root."""
    return page.relative_to(ROOT).as_posix()


def environment(folder: Path) -> dict[str, str]:
    """What a reader's shell has: the command on its path, and a state directory of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {
        **kept,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "CHAOS_SPIKE_STATE_DIR": str(folder / "state"),
        "PYTHONDONTWRITEBYTECODE": "1",
        # An installed chaos-spike is found by pytest itself; a checkout that was never installed is not.
        "PYTEST_ADDOPTS": "-p chaos_spike_pytest -p no:asyncio",
    }


def holds(test: str, page: Path) -> bool:
    """Whether that test is there and reads the page, or the folder of examples that the page is about."""
    named = {page.name} if page.parent in (ROOT, ROOT / "docs") else {name_of(page.parent)}
    return (ROOT / test).is_file() and any(
        f'{name}"' in (ROOT / test).read_text(encoding="utf-8") for name in named
    )


def read_through(page: Path, folder: Path, changes: list[tuple[str, str]] | None = None) -> str:
    """Do what a reader of the page does, in `folder`; what was printed."""
    done = subprocess.run(
        ["bash", "-c", script(page, changes or [])],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    """A block without a word on it would be an example that nobody has ever tried."""
    for block in blocks(page):
        where = f"{name_of(page)}, line {block.line}"
        assert set(block.words) <= KNOWN, f"{where}: {set(block.words) - KNOWN}"
        if block.words:
            assert "skip" not in block.words or len(block.words["skip"]) > 10, f"{where}: say why"
            assert "held" not in block.words or holds(block.words["held"], page), where
        elif name_of(page) in HELD:
            assert holds(HELD[name_of(page)], page), f"{where}: {HELD[name_of(page)]} does not read this page"
        elif block.language == "json":
            assert [json.loads(line) for line in block.text.splitlines()], where
        else:
            assert block.language in DRAWINGS, f"{where}: say what is done with this block"


def test_pages_have_examples_that_run() -> None:
    """A parser that found nothing would let everything pass."""
    run = [
        command
        for page in PAGES
        for block in blocks(page)
        if "run" in block.words
        for command in commands(block.text)
    ]
    files = [block.words["file"] for page in PAGES for block in blocks(page) if "file" in block.words]
    assert len(run) >= 12
    assert len(files) >= 10


@pytest.mark.parametrize("page", [page for page in PAGES if name_of(page) not in SLOW and any(
    "install" in block.words for block in blocks(page))] or [ROOT / "docs/tutorial.md"], ids=name_of)  # fmt: skip
def test_install_commands_install_what_there_is(page: Path) -> None:
    """They are `pip install` of this project and of packages that are installed here; the test of the wheel runs them for real."""
    for block in blocks(page):
        for command in commands(block.text) if "install" in block.words else ():
            first, second, *packages = shlex.split(command)
            assert (first, second) == ("pip", "install"), command
            for package in packages:
                # No index has it: what is installed is a checkout.
                named = package.removeprefix("~/")
                assert (named != package) is (named == "chaos-spike"), package
                metadata.version(re.split(r"[\[<>=]", named)[0])


def test_extending_runs_as_it_is_written(tmp_path: Path) -> None:
    """Toxic, driver, observer and dialect of the page do what it says."""
    said = read_through(ROOT / "docs/extending.md", tmp_path)
    assert "FAIL     R5" in said


def night(number: int) -> StoredRun:
    """A run of a history."""
    return StoredRun(
        run_id=f"run-{number}", plan="breaker", plan_hash="p", fingerprint="e", started=f"2026-01-0{number}T02:17:00+00:00",
        verdict="pass", stack="embedded", seed="1", folder=f"/runs/20260101-breaker-{number}", reference_from=False, note="",
        figures=(Figure("quotes baseline p95", 10.0 + number, "ms", "up"),),
    )  # fmt: skip


def test_nightly_runs_as_it_is_written(tmp_path: Path) -> None:
    """The script runs a plan and the trend; two histories become one; the workflow calls ours with inputs that it has."""
    page = ROOT / "docs/howto-nightly.md"
    for name, numbers in (("history.sqlite", (1, 2)), ("last-night.sqlite", (2, 3))):
        with History(tmp_path / name) as history:
            history.merge(map(night, numbers))
    said = read_through(page, tmp_path)
    assert "added 1 runs" in said
    assert (tmp_path / "runs.csv").read_text().count("quotes baseline p95") == 3
    load = YAML(typ="safe").load
    job = load((tmp_path / ".github/workflows/resilience.yml").read_text())["jobs"]["resilience"]
    ours = ROOT / job["uses"].partition("chaos-spike/")[2].partition("@")[0]
    known = load(ours)["on"]["workflow_call"]["inputs"]
    assert {name for name, each in known.items() if each.get("required")} <= set(job["with"]) <= set(known)
    told = re.search(r"Names of what it takes: (.*)\.", page.read_text())
    assert told is not None
    assert set(re.findall(r"`(\w+)`", told[1])) == set(known)
    metrics = set(re.findall(r"`(chaos_spike_\w+)", page.read_text()))
    assert metrics
    assert metrics <= set(re.findall(r"^# TYPE (\w+)", render_prometheus({"verdict": "pass"}), re.MULTILINE))
    (line,) = (tmp_path / "crontab").read_text().splitlines()
    subprocess.run(["bash", "-n", "-c", line.split(maxsplit=5)[5]], check=True, timeout=20)
    assert "nightly.sh" in line


def test_history_page_runs_as_it_is_written(tmp_path: Path) -> None:
    """Every command of the page, on a history of two nights, another one, and a judged run's folder."""
    for file, numbers in (("state/history.sqlite", (1, 2)), ("last-night.sqlite", (2, 3))):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        with History(tmp_path / file) as history:
            history.merge(map(night, numbers))
    recorder = RunRecorder(tmp_path / "runs/20260104-breaker-4")
    recorder.text("plan.yaml", "version: 1\nname: breaker\n")
    recorder.json("timeline.json", {"name": "breaker", "duration_ns": 1, "phases": []})
    recorder.json("environment.json", {"run_id": "run-4", "started": "2026-01-04T02:17:00+00:00"})
    recorder.event("run", state="epoch", epoch_ns=1)
    recorder.json("verdict.json", {"verdict": "pass", "plan": "breaker", "name": "breaker"})
    recorder.close()
    said = read_through(
        ROOT / "docs/history.md",
        tmp_path,
        [("accept RUN", "accept run-2"), ("compare RUN RUN", "compare run-1 run-2")],
    )
    for words in ("8 are needed", "begins anew with run-2", "+9%", "added 1 runs", "added 1 of 1 runs"):
        assert words in said, said
    assert (tmp_path / "trend.csv").is_file()


def test_nightly_script_passes_the_worst_code_on_and_repeats_only_what_may_be_repeated(
    tmp_path: Path,
) -> None:
    """3 and 6 are tried once more, 1, 4 and 5 never; a trend that got worse is red although the runs were green, and hides no 4 or 5."""
    page = ROOT / "docs/howto-nightly.md"
    (tmp_path / "nightly.sh").write_text(
        next(block.text for block in blocks(page) if block.words.get("file") == "nightly.sh")
    )
    # What chaos-spike answers is written into a file, a code a line; the real one is tried by the test above.
    (tmp_path / "chaos-spike").write_text(
        '#!/bin/sh\ncase "$1 $2" in\n'
        '"history plans") test "$3" = --since && test -n "$4" && echo breaker ;;\n"history trend") exit "$(cat trend)" ;;\n'
        '*) code=$(head -n 1 codes); sed -i.old 1d codes; echo run >>calls; exit "$code" ;;\nesac\n'
    )
    (tmp_path / "chaos-spike").chmod(0o755)
    for codes, trend, ended, runs in (
        ((0,), 0, 0, 1), ((1, 0), 0, 1, 1), ((3, 0), 0, 0, 2), ((6, 6), 0, 6, 2), ((5, 0), 0, 5, 1), ((0,), 1, 1, 1),
        ((5,), 1, 5, 1), ((4,), 1, 4, 1), ((3, 3), 1, 1, 2),
    ):  # fmt: skip
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        (tmp_path / "trend").write_text(str(trend))
        (tmp_path / "calls").unlink(missing_ok=True)
        environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "nightly.sh", "plan.yaml"], cwd=tmp_path, env=environ, timeout=20, check=False
        )
        assert (done.returncode, (tmp_path / "calls").read_text().count("run")) == (ended, runs), codes


def test_compose_page_shows_a_plan(tmp_path: Path) -> None:
    """It is checked and compiled by the commands of the page."""
    said = read_through(ROOT / "docs/howto-compose.md", tmp_path)
    assert "pricing-down" in said


@pytest.mark.scenario
@pytest.mark.timeout(200)
def test_tutorial_leads_from_nothing_to_a_verified_breaker(tmp_path: Path) -> None:
    """Each step in its order: a test that passes, fails when the breaker is broken, and a verdict from outside."""
    pytest.importorskip("pybreaker")
    ports = [("8080", str(free_port())), ("9100", str(free_port()))]
    dependency = f"--set external.proxies.dependency.listen=127.0.0.1:{ports[1][1]} --overlay agreed.yaml"
    said = read_through(ROOT / "docs/tutorial.md", tmp_path, [*ports, ("--overlay agreed.yaml", dependency)])
    assert "1 passed" in said
    assert "R3 not late" in said
    assert "holds if failures = 5" in said
    assert re.search(r"^PASS conformance", said, re.MULTILINE), said
    assert list((tmp_path / "runs").glob("*/report.html"))


def yaml_of(page: str, *, starts: str) -> str:
    """The YAML block of a page that begins so."""
    (found,) = (block.text for block in blocks(ROOT / page) if block.text.startswith(starts))
    return found


def test_plans_of_the_readme_are_plans(tmp_path: Path) -> None:
    """The whole plan, and the same plan against a system of one's own."""
    from resilience.plan import load_text

    plan = yaml_of("README.md", starts="version: 1")
    assert load_text(plan, source="README", environment={}).plan.name == "checkout"
    external = yaml_of("README.md", starts="external:")
    other = plan.replace("lab: {}\n", external).replace(
        "observe: {wire: pricing}", "spec: {dialect: strict, failures: 3, wait_ms: 1000}"
    )
    assert load_text(other, source="README", environment={}).plan.external is not None


def test_command_lines_of_the_readme_are_those_that_are_run() -> None:
    """Each is run as it stands there by a test in tests/e2e (`readme_lines`); a line that is added or changed has to be, too."""
    lines = [command.strip() for block in blocks(ROOT / "README.md") for command in commands(block.text)]
    assert lines == list(LINES)
    run = "".join(
        (ROOT / "tests/e2e" / name).read_text(encoding="utf-8")
        for name in ("test_e2e_run.py", "test_e2e_readme.py")
    )
    for name in ("RUN", "TEST", "WITHOUT_BREAKER", "STRICT"):
        assert re.search(rf"readme_lines\.{name}\b", run), name
