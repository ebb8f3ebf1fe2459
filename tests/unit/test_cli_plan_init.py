"""`plan init`: what it writes always loads, and it never overwrites."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from resilience.cli.main import app
from resilience.plan import load_plan


def asked(*words: str) -> tuple[int, str]:
    """Run it where nobody can be asked; its exit code and what it said."""
    done = CliRunner().invoke(app, ["plan", "init", *words])
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--url", "https://shop.example:8443/", "--path", "api/quote?x={i}", "--dependency", "pricing"],
        ["--toxiproxy", "http://10.1.2.3:8474", "--path", '/a"b: c'],
    ],
)
def test_plan_init_writes_a_plan_that_loads(tmp_path: Path, words: list[str]) -> None:
    """Whatever was answered, the file is a whole plan with a fault, a spike and expectations."""
    file = tmp_path / "plan.yaml"
    code, said = asked(str(file), *words)
    assert code == 0, said
    plan = load_plan(file, environment={}).plan
    assert plan.external is not None
    assert plan.faults[0].proxy in plan.external.proxies
    assert set(plan.expect) == {"steady", "survives", "recovers"}
    if "--toxiproxy" in words:
        assert plan.allow.hosts == ("10.1.2.3",)


def test_plan_init_overwrites_nothing(tmp_path: Path) -> None:
    """A plan that is there may be the work of an afternoon."""
    file = tmp_path / "plan.yaml"
    file.write_text("mine", encoding="utf-8")
    code, said = asked(str(file))
    assert (code, file.read_text(encoding="utf-8")) == (2, "mine")
    assert "there already" in said


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--url", "shop"], "--url 'shop'"),
        (["--url", "http://[::1:8000"], "write an address such as"),
        (["--toxiproxy", "http://127.0.0.1:99999"], "--toxiproxy 'http://127.0.0.1:99999': write an address"),
        (["--dependency", "my db"], "would not be valid"),
        (["--dependency", 'x", y: "z'], "would not be valid"),
    ],
)
def test_plan_init_refuses_answers_that_make_no_plan(tmp_path: Path, words: list[str], what: str) -> None:
    """One message, exit code 2, and no file."""
    file = tmp_path / "plan.yaml"
    code, said = asked(str(file), *words)
    assert code == 2
    assert what in said
    assert not file.exists()


def test_plan_init_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The folder is not made: a typo would make one."""
    code, said = asked(str(tmp_path / "gone" / "plan.yaml"))
    assert code == 2
    assert "cannot be written" in said
