"""What is asked for and cannot be: exit code 2 and what there is instead, before anything is started."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from resilience.cli.labs import KNOWN
from resilience.cli.main import app


def test_run_refuses_a_cluster_for_a_plan_without_load() -> None:
    """It would be left unused, without a word: a script is played from this machine."""
    asked = CliRunner().invoke(
        app, ["run", "breaker", "conformance", "--cluster", "tcp://10.0.0.5:8786", "--dry-run"]
    )
    assert asked.exit_code == 2
    assert "conformance.yaml has none" in asked.stderr
    assert "breaker.yaml" not in asked.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--live",), "--live shows one run; leave it or --jobs out"),
        (("--stack", "compose"), "with --stack compose there is one"),
    ],
)
def test_jobs_that_would_share_one_thing_are_refused_by_a_dry_run_too(
    words: tuple[str, ...], said: str
) -> None:
    """Who tries a command out beforehand wants to know whether it will be taken."""
    asked = CliRunner().invoke(app, ["run", "breaker", "db-pool", "--jobs", "2", "--dry-run", *words])
    assert asked.exit_code == 2, asked.output
    assert said in asked.stderr
    alone = CliRunner().invoke(app, ["run", "breaker", "--jobs", "2", "--dry-run", *words])
    assert alone.exit_code == 0, alone.output


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BREAKER", "foo", "'foo' is not one of purgatory, aiobreaker, circuitbreaker, hyx, none"),
        ("BREAKER_SUCCESSES", "2", "purgatory closes at the first success"),
        ("BROKEN", "everything", "everything is not one of no-fallback"),
        ("DB_POOL", "few", "CHAOS_SPIKE_LAB_DB_POOL='few' is not a whole number"),
        ("PRICING_QUEUE", "0", "CHAOS_SPIKE_LAB_PRICING_QUEUE=0 is below 1"),
        ("BRAKER", "none", "the lab has no setting CHAOS_SPIKE_LAB_BRAKER; did you mean 'CHAOS_SPIKE_LAB_BREAKER'?"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("words", [("run", "breaker", "--dry-run"), ("lab", "up")])
def test_setting_of_the_lab_that_there_is_not_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], name: str, value: str, said: str
) -> None:
    """Before anything is started, also where nothing would be: a dry run that lets it pass is believed."""
    monkeypatch.setenv(f"CHAOS_SPIKE_LAB_{name}", value)
    asked = CliRunner().invoke(app, [*words])
    assert asked.exit_code == 2, asked.output
    assert said in asked.stderr


def test_settings_of_the_lab_do_not_matter_to_a_system_of_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are of the lab that a run starts; one that is up has its own."""
    monkeypatch.setenv("CHAOS_SPIKE_LAB_BREAKER", "foo")
    monkeypatch.setenv("CHAOS_TARGET", "http://127.0.0.1:1")
    asked = CliRunner().invoke(app, ["run", "conformance", "--stack", "external", "--dry-run"])
    assert asked.exit_code == 0, asked.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--breaker", "foo"), "'foo' is not one of purgatory"),
        (("--port", "gatway=8000"), "no port of the lab is called 'gatway'"),
        (("--port", "gateway=99999"), "gateway cannot listen on port 99999"),
    ],
)
def test_lab_that_there_is_not_is_a_usage_error(words: tuple[str, ...], said: str) -> None:
    """What was typed is wrong, not the machine: 2, and not the 6 that a job tries again."""
    asked = CliRunner().invoke(app, ["lab", "up", *words])
    assert asked.exit_code == 2, asked.output
    assert said in asked.stderr


def test_settings_of_the_lab_are_those_that_its_page_lists() -> None:
    """A variable that the page has and the command refuses would be nobody's."""
    page = (Path(__file__).parents[2] / "docs" / "lab.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"`(CHAOS_SPIKE_LAB_[A-Z0-9_]+)`", page))
    assert listed <= KNOWN
    assert KNOWN - listed == {"CHAOS_SPIKE_LAB_DB_PASSWORD"}, "which compose alone is given"


def test_plan_check_finds_the_form_that_a_plan_has_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """`run conformance --stack external` runs `conformance-external`: who checks it beforehand is led there."""
    monkeypatch.setenv("CHAOS_TARGET", "http://127.0.0.1:1")
    here = CliRunner().invoke(app, ["plan", "check", "conformance"])
    assert here.stdout.startswith("conformance: ")
    assert "chaos-spike plan check conformance --stack external" in here.stdout
    there = CliRunner().invoke(app, ["plan", "check", "conformance", "--stack", "external"])
    assert there.stdout.startswith("conformance-external: ")
    assert "plan check" not in there.stdout
    assert CliRunner().invoke(app, ["plan", "check", "breaker", "--stack", "external"]).exit_code == 2


def test_beginning_of_several_names_is_answered_by_all_of_them() -> None:
    """The nearest of them would be a guess."""
    asked = CliRunner().invoke(app, ["plan", "check", "metastable-"])
    assert asked.exit_code == 2
    assert "did you mean one of metastable-good, metastable-placebo?" in asked.stderr


@pytest.mark.parametrize("words", [("run",), ("plan", "check"), ("interpose",)])
def test_folder_in_the_place_of_a_file_is_called_one(tmp_path: Path, words: tuple[str, ...]) -> None:
    """It is there, so that "no such file" would send people looking for a slip of the pen."""
    asked = CliRunner().invoke(app, [*words, str(tmp_path)])
    assert asked.exit_code == 2, asked.output
    assert f"{tmp_path}" in asked.stderr
    assert "is a folder: name a" in asked.stderr


def test_folder_with_a_plan_beside_a_compose_file_names_the_plan(tmp_path: Path) -> None:
    """A compose file is no plan, though it comes first in the alphabet."""
    for name in ("compose.yaml", "docker-compose.yml", "on-compose.yaml"):
        (tmp_path / name).touch()
    asked = CliRunner().invoke(app, ["plan", "check", str(tmp_path)])
    assert asked.exit_code == 2
    assert f"such as {tmp_path / 'on-compose.yaml'}" in " ".join(asked.stderr.split())


@pytest.mark.parametrize("words", [("run", "--dry-run"), ("plan", "check")])
def test_empty_name_is_not_taken_for_the_folder_in_which_one_stands(words: tuple[str, ...]) -> None:
    """`run "$PLAN"` without PLAN: the message shows what is wrong, not a folder without a name."""
    asked = CliRunner().invoke(app, [*words, ""])
    assert asked.exit_code == 2, asked.output
    assert "the name of the plan is empty" in asked.stderr


def test_folder_with_plans_names_one_of_them(tmp_path: Path) -> None:
    """The first by name, as a path that can be typed."""
    for name in ("b.yaml", "a.yml", "c.txt"):
        (tmp_path / name).touch()
    assert f"such as {tmp_path / 'a.yml'}" in CliRunner().invoke(app, ["run", str(tmp_path)]).stderr


def test_interpose_takes_up_or_prove(tmp_path: Path) -> None:
    """One of them would be left out without a word, and a project that was to be brought up would not be."""
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    asked = CliRunner().invoke(app, ["interpose", str(tmp_path / "docker-compose.yml"), "--up", "--prove"])
    assert asked.exit_code == 2, asked.output
    assert "give one of them" in asked.stderr
