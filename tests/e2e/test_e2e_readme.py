"""The lines of README.md that no other run stands for: run as they are written there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import readme_lines

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
A_FEW = (
    "unit/test_plan_units.py",
    "property/test_metrics_histogram_property.py",
    "simulation/test_analysis_queueing.py",
    "repo/test_repo_imports.py",
    "integration/test_load_tls.py",
    "external/test_plugin_wheel.py",
    "integration/test_load_spike_generator.py",
    "e2e/test_e2e_run.py",
)
"""A file of each tier of `make test`."""


def test_strict_run_fails_on_what_the_library_gets_wrong(tmp_path: Path) -> None:
    """Without declared deviations the library's unlimited probes break R8, in the run's own verdict; the same run without the word passes."""
    short = (ROOT / "tests/data/short.yaml").read_text(encoding="utf-8")
    plan = tmp_path / "judged.yaml"
    plan.write_text(short + "  conforms: {breaker: pricing, require: [R4]}\n", encoding="utf-8")
    record, done = readme_lines.valid_run(readme_lines.STRICT, tmp_path, PLAN=str(plan))
    assert readme_lines.code_of(done) == 1, done.stdout + done.stderr
    verdict = json.loads((record / "verdict.json").read_text())
    assert verdict["strict"] is True
    assert "R8" in verdict["reason"]
    assert {each["id"]: each["verdict"] for each in verdict["expectations"]} == {
        "protected": "pass",
        "conforms": "fail",
    }


def test_make_test_runs_every_tier(tmp_path: Path) -> None:
    """The line and the Makefile as they are, on a checkout with few tests: each tier finds one or more, and they pass."""
    helpers = (
        "conftest.py",
        "docs_blocks.py",
        "healthy_path.py",
        "readme_lines.py",
        "integration/conftest.py",
        "integration/served_process.py",
        "simulation/analysis_queue.py",
        "data/short.yaml",
    )
    tree = readme_lines.checkout(tmp_path / "checkout", (*helpers, *A_FEW))
    chosen = "margin or bucket_holds or short_watch or http_driver_speaks_tls or dry_run or drives_a_spike"
    done = readme_lines.run_line(readme_lines.TEST, tree, PYTEST_ADDOPTS=f"-p no:cacheprovider -k '{chosen}'")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert done.stdout.count(" passed") == 4, done.stdout
