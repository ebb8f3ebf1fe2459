"""User projects for the pytest plugin: written to a folder, run by a pytest of their own, with the plugin and nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_ASYNCIO = ("-o", "asyncio_default_fixture_loop_scope=function")
PLUGIN = ("-p", "chaos_spike_pytest", "-p", "no:cacheprovider")


def command(*arguments: str, asyncio: bool = False) -> list[str]:
    """A pytest run with our plugin. pytest-asyncio is a guest that not every project has."""
    return [
        sys.executable,
        "-m",
        "pytest",
        *PLUGIN,
        *(_ASYNCIO if asyncio else ("-p", "no:asyncio")),
        *arguments,
    ]


def environment(state_dir: Path) -> dict[str, str]:
    """What such a run sees: our packages on the path, as an installation would have them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**kept, "PYTHONPATH": str(ROOT), "CHAOS_SPIKE_STATE_DIR": str(state_dir)}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run of a project's tests ended."""

    code: int
    output: str


def run_project(folder: Path, *arguments: str, asyncio: bool = False) -> Ended:
    """Run a project's tests to their end."""
    done = subprocess.run(
        command(*arguments, asyncio=asyncio),
        cwd=folder,
        env=environment(folder / "state"),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return Ended(done.returncode, done.stdout + done.stderr)


def write_project(folder: Path, **files: str) -> Path:
    """A project of the given test files, by module name."""
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder
