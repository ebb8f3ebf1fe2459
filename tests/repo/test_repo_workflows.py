"""The workflows that run where we cannot: what can be wrong with them without running is held by these tests."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from resilience.cli.main import app
from resilience.cli.place import Place, StackKind, check_stack
from resilience.cli.scenarios import expanded, load_or_exit

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def jobs(path: Path) -> Iterator[dict[str, Any]]:
    """The jobs of a workflow."""
    yield from YAML(typ="safe").load(path)["jobs"].values()


def scripts(path: Path) -> Iterator[str]:
    """Every shell script in a workflow."""
    for job in jobs(path):
        for step in job.get("steps", ()):
            if "run" in step:
                yield step["run"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_scripts_are_shell(path: Path) -> None:
    """A script with a syntax error would be found at two in the morning."""
    for script in scripts(path):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=30)
        assert "${{" not in script, "values of callers go through env, where no shell reads them as code"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_calls_commands_and_files_that_are_there(path: Path) -> None:
    """A renamed command or workflow is noticed here."""
    command = typer.main.get_command(app)
    for script in scripts(path):
        for first, second in re.findall(r"chaos-spike (?:--log-format json )?([a-z-]+) ?([a-z-]*)", script):
            assert first in command.commands, first  # type: ignore[attr-defined]
            group = command.commands[first]  # type: ignore[attr-defined]
            assert not hasattr(group, "commands") or second in group.commands, f"{first} {second}"
    for job in jobs(path):
        used = job.get("uses", "")
        assert not used.startswith("./") or (ROOT / used).is_file(), used
    assert all(
        (ROOT / word).is_file() for script in scripts(path) for word in re.findall(r"^\.ci/\S+", script)
    )


def test_reusable_workflow_takes_what_nightly_gives() -> None:
    """An input that is misspelt would fail the call, and with it the night."""
    load = YAML(typ="safe").load
    # YAML 1.1 would read the key `on` as true; this loader is 1.2.
    known = load(ROOT / ".github" / "workflows" / "chaos.yml")["on"]["workflow_call"]["inputs"]
    for job in jobs(ROOT / ".github" / "workflows" / "nightly.yml"):
        assert set(job["with"]) <= set(known)


@pytest.mark.parametrize(
    "job", list(jobs(ROOT / ".github" / "workflows" / "nightly.yml")), ids=lambda job: job["with"]["stack"]
)
def test_nightly_plans_can_be_run_where_they_are_sent(job: dict[str, Any]) -> None:
    """A plan that its stack can never run would make every night red, and nobody would look any more."""
    inputs = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "chaos.yml")["on"]["workflow_call"][
        "inputs"
    ]
    given = {name: each["default"] for name, each in inputs.items()} | job["with"]
    place = Place(StackKind(given["stack"]))
    names = expanded(
        given["plans"].split(),
        external=place.stack is StackKind.EXTERNAL,
        compose=place.stack is StackKind.COMPOSE,
    )
    assert names
    for name in names:
        check_stack(load_or_exit(name), place)
