"""The plugin as a user gets it: built as a wheel, installed in an empty environment, with the example project's tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.external, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command to its end, output kept."""
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False
    )


def test_wheel_in_an_empty_environment_runs_the_example_project(tmp_path: Path) -> None:
    """Build, install with nothing but the wheel and pybreaker, and run five tests; then break the breaker and see it fail."""
    reach = run(sys.executable, "-m", "pip", "download", "--no-deps", "-q", "hatchling", cwd=tmp_path)
    if reach.returncode:
        pytest.skip(f"no package index within reach: {reach.stderr.strip().splitlines()[-1:]}")
    built = run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-q",
        "-w",
        str(tmp_path / "dist"),
        str(ROOT),
        cwd=tmp_path,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("chaos_spike-*.whl")
    environment = tmp_path / "empty"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin/python")
    installed = run(python, "-m", "pip", "install", "-q", str(wheel), "pybreaker", "pytest", cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    shop = Path(shutil.copytree(ROOT / "docs/examples/pytest", tmp_path / "shop"))
    # Nothing of this checkout may help: no path, no plugin by name.
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("PYTEST_")}
    environ["CHAOS_SPIKE_STATE_DIR"] = str(tmp_path / "state")
    passed = run(python, "-m", "pytest", "-q", cwd=shop, environ=environ)
    assert (passed.returncode, "5 passed" in passed.stdout) == (0, True), passed.stdout + passed.stderr
    source = shop / "shop/prices.py"
    source.write_text(source.read_text().replace("fail_max=FAILURES", "fail_max=FAILURES + 2"))
    failed = run(python, "-m", "pytest", "-q", "-k", "third_failure", cwd=shop, environ=environ)
    assert failed.returncode == 1
    assert "R3 not late" in failed.stdout
    assert "chaos timeline" in failed.stdout
