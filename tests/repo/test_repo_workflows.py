"""The workflows that run where we cannot: what can be wrong with them without running is held by these tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from resilience.cli.main import app
from resilience.cli.place import Place, StackKind, check_stack
from resilience.cli.scenarios import expanded, load_or_exit
from resilience.history.store import History, StoredRun

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
    asked = {name for name, each in known.items() if each.get("required")}
    for job in jobs(ROOT / ".github" / "workflows" / "nightly.yml"):
        assert asked <= set(job["with"]) <= set(known)


@pytest.mark.parametrize(
    "job", list(jobs(ROOT / ".github" / "workflows" / "nightly.yml")), ids=lambda job: job["with"]["stack"]
)
def test_nightly_plans_can_be_run_where_they_are_sent(job: dict[str, Any]) -> None:
    """A plan that its stack can never run would make every night red, and nobody would look any more."""
    inputs = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "chaos.yml")["on"]["workflow_call"][
        "inputs"
    ]
    given = {name: each.get("default", "") for name, each in inputs.items()} | job["with"]
    place = Place(StackKind(given["stack"]))
    names = expanded(given["plans"].split(), external=place.stack is StackKind.EXTERNAL)
    assert names
    for name in names:
        check_stack(load_or_exit(name), place)


def test_workflow_carries_the_history_on_and_merges_what_was_saved_meanwhile(tmp_path: Path) -> None:
    """The shell of these steps, run here on two histories that grew apart from one, with what the cache would restore in between."""
    steps = {
        step.get("name"): step for job in jobs(ROOT / ".github/workflows/chaos.yml") for step in job["steps"]
    }
    names = list(steps)
    aside, newest, both = (
        names.index(each)
        for each in (
            "This run's history, aside",
            "The newest history, of a run that has ended meanwhile",
            "Both as one",
        )
    )
    assert names.index("Run") < aside < newest < both
    assert steps[names[newest]]["with"] == steps["History so far"]["with"]
    ours = tmp_path / ".chaos-spike/history.sqlite"
    environ = {
        **os.environ,
        "CHAOS_SPIKE_HISTORY": str(ours),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def shell(name: str, **variables: str) -> None:
        script = steps[name]["run"]
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={**environ, **variables}, check=True, timeout=60)  # fmt: skip

    with History(ours) as history:
        history.merge([night("first"), night("ours")])
    shell("Accept a change", ACCEPT="ours", NOTE="a bigger catalogue")
    shell(names[aside])
    assert not ours.exists()
    with History(ours) as history:  # what the cache restores: a run beside this one has saved its own
        history.merge([night("first"), night("theirs")])
    shell(names[both])
    with History(ours) as history:
        assert {run.run_id: run.note for run in history.runs()} == {
            "first": "",
            "ours": "a bigger catalogue",
            "theirs": "",
        }


def test_workflow_judges_the_trend_of_the_plans_it_ran(tmp_path: Path) -> None:
    """A plan that nobody runs any more, and that was bad when it was last run, would make every night red."""
    steps = {
        step.get("name"): step for job in jobs(ROOT / ".github/workflows/chaos.yml") for step in job["steps"]
    }
    variables = tmp_path / "github"
    fake = tmp_path / "chaos-spike"
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    environ = {**os.environ, "CHAOS_SPIKE_HISTORY": str(tmp_path / "history.sqlite"), "GITHUB_ENV": str(variables), "PYTHONPATH": str(ROOT)}  # fmt: skip
    script = ["bash", "-eo", "pipefail", "-c"]
    path = {"PATH": f"{tmp_path}{os.pathsep}{environ['PATH']}"}
    given = {"PLANS": "new", "STACK": "embedded", "MORE": ""}
    subprocess.run([*script, steps["Run"]["run"]], cwd=tmp_path, env={**environ, **path, **given}, check=True, timeout=60)  # fmt: skip
    begun = variables.read_text().strip().partition("=")[2]
    with History(tmp_path / "history.sqlite") as history:
        history.merge([replace(night("a"), plan="old"), replace(night("b"), plan="new", started=begun)])
    real = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}", "BEGUN": begun}
    subprocess.run([*script, steps["Trend"]["run"]], cwd=tmp_path, env={**environ, **real}, check=True, timeout=60)  # fmt: skip
    trend = (tmp_path / "trend.txt").read_text()
    assert trend.startswith("new: ")
    assert "old: " not in trend


def test_workflow_takes_no_history_for_another_whose_name_it_begins() -> None:
    """The cache gives the newest key that begins with what is asked for: `checkout` must not be carried on from `checkout-staging`."""
    caches = [
        step["with"]
        for job in jobs(ROOT / ".github/workflows/chaos.yml")
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/cache/")
    ]

    def named(text: str, history: str) -> str:
        return text.replace("${{ inputs.history }}", history).strip()

    keys = [
        named(cache["key"], other)
        for cache in caches
        for other in ("checkout-staging", "checkout-7", "checkout2")
    ]
    asked = [named(cache["restore-keys"], "checkout") for cache in caches if "restore-keys" in cache]
    assert len(asked) == 2
    assert not [(key, prefix) for key in keys for prefix in asked if key.startswith(prefix)]
    for prefix in asked:
        assert all(named(cache["key"], "checkout").startswith(prefix) for cache in caches)


def night(name: str) -> StoredRun:
    """A run of a history."""
    return StoredRun(
        run_id=name, plan="breaker", plan_hash="p", fingerprint="e", started="2026-01-01T02:17:00+00:00", verdict="pass",
        stack="embedded", seed="1", folder=f"/runs/{name}", reference_from=False, note="", figures=(),
    )  # fmt: skip
