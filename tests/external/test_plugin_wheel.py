"""The project as a user gets it: wheel and sdist, an empty environment, doctor, and the example project's tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs_blocks import blocks, commands

pytestmark = [pytest.mark.external, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def run(*command: str, cwd: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command to its end, output kept."""
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=600, check=False
    )


def install_commands() -> list[str]:
    """The commands of the page on installing, for this checkout."""
    page = ROOT / "docs" / "install.md"
    found = [command for block in blocks(page) for command in commands(block.text)]
    return [command.replace("$HOME/chaos-spike", str(ROOT)) for command in found]


def shell(command: str, environment: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """One of them, by a shell in which that environment is the active one."""
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return run("bash", "-c", command, cwd=cwd, environ={**os.environ, "PATH": path})


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment that has the wheel and nothing else of ours; `bin` is its folder of programs."""

    bin: Path
    wheel: Path
    from_sdist: Path

    def run(
        self, program: str, *words: str, cwd: Path, environ: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """One of its programs, to its end."""
        return run(str(self.bin / program), *words, cwd=cwd, environ=environ)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Sdist from the checkout, wheel from the checkout, wheel from the sdist; the second in an empty environment, as docs/install.md has it."""
    folder = tmp_path_factory.mktemp("installed")
    reach = run(sys.executable, "-m", "pip", "download", "--no-deps", "-q", "hatchling", cwd=folder)
    if reach.returncode:
        pytest.skip(f"no package index within reach: {reach.stderr.strip().splitlines()[-1:]}")
    environment, builder = folder / "empty", folder / "builder"
    for each in (environment, builder):
        venv.create(each, with_pip=True)
    steps = (
        (str(builder / "bin/python"), "-m", "pip", "install", "-q", "hatchling"),
        (str(builder / "bin/python"), "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder / "dist")),
    )
    for step in steps:
        done = run(*step, cwd=ROOT)
        assert done.returncode == 0, done.stderr
    _, build, install, _ = install_commands()
    done = shell(build, environment, folder)
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("chaos_spike-*.whl")
    (sdist,) = (folder / "dist").glob("chaos_spike-*.tar.gz")
    again = folder / "again"
    steps = (
        (str(builder / "bin/python"), "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(again), str(sdist)),
        (str(environment / "bin/python"), "-m", "pip", "install", "-q", "pybreaker", "pytest"),
    )
    for step in steps:
        done = run(*step, cwd=folder)
        assert done.returncode == 0, done.stderr
    done = shell(install, environment, folder)
    assert done.returncode == 0, done.stderr
    return Installed(environment / "bin", wheel, next(again.glob("chaos_spike-*.whl")))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nothing of this checkout may help: no path, no plugin by name."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("PYTEST_")}
    return {**kept, "CHAOS_SPIKE_STATE_DIR": str(tmp_path / "state")}


def files_of(wheel: Path) -> set[str]:
    """The files of a wheel, but for those that say how it was made."""
    with zipfile.ZipFile(wheel) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def test_sdist_holds_all_that_the_wheel_is_made_of(installed: Installed) -> None:
    """A wheel from the sdist is the wheel from the checkout; plans, templates, types and compose files are in it."""
    files = files_of(installed.wheel)
    assert files == files_of(installed.from_sdist)
    assert files >= {
        "chaos_spike_pytest.py",
        "faults/py.typed",
        "resilience/py.typed",
        "resilience/scenarios/breaker.yaml",
        "resilience/report/templates/report.html.j2",
        "resilience/compose/docker-compose.yml",
    }
    assert not [name for name in files if name.startswith(("tests/", "docs/", "bench/"))]


def test_checkout_installs_as_the_page_says(installed: Installed, tmp_path: Path) -> None:
    """With extras and without; the page lists the extras that there are. What they bring is left out: the tests here run with it."""
    with zipfile.ZipFile(installed.wheel) as opened:
        (name,) = (each for each in opened.namelist() if each.endswith(".dist-info/METADATA"))
        extras = set(re.findall(r"^Provides-Extra: (.*)$", opened.read(name).decode(), re.MULTILINE))
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == extras
    plain, _, _, with_extras = install_commands()
    assert plain == f'pip install "{ROOT}"'
    assert with_extras == f'pip install "{ROOT}[lab,report]"'
    done = shell(f"{with_extras} --dry-run --no-deps --ignore-installed", installed.bin.parent, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Would install chaos-spike-0.1.0" in done.stdout
    assert "does not provide the extra" not in done.stderr
    # What messages say works where it is said: pip asks no index for what is here, and would add what the extra brings.
    words = "pip install --dry-run --no-index --no-deps 'chaos-spike[lab]'"
    done = shell(words, installed.bin.parent, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "already satisfied: chaos-spike[lab] in " in done.stdout


def test_doctor_of_an_empty_environment_says_what_is_missing_for_which_feature(
    installed: Installed, tmp_path: Path, environ: dict[str, str]
) -> None:
    """The core is whole; lab and report name their extra; asked for, a missing feature is exit code 6; a run says the same."""
    done = installed.run("chaos-spike", "doctor", "--json", cwd=tmp_path, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["features"]["core"], found["features"]["pytest"]) == (True, True)
    missing = {
        (each["feature"], each["part"]): each["detail"] for each in found["parts"] if not each["present"]
    }
    assert "chaos-spike[report]" in missing["report", "bokeh"]
    assert "chaos-spike[lab]" in missing["lab", "asyncpg"]
    assert "chaos-spike[cluster]" in missing["cluster", "distributed"]
    asked = installed.run("chaos-spike", "doctor", "--for", "lab", cwd=tmp_path, environ=environ)
    assert asked.returncode == 6
    assert "lab: incomplete (needed)" in asked.stdout
    ran = installed.run("chaos-spike", "run", "breaker", cwd=tmp_path, environ=environ)
    assert ran.returncode == 6, ran.stdout + ran.stderr
    assert "chaos-spike[lab]" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


def test_wheel_in_an_empty_environment_runs_the_example_project(
    installed: Installed, tmp_path: Path, environ: dict[str, str]
) -> None:
    """Five tests of a user's project on its own breaker pass; with the breaker broken they fail, with a readable timeline."""
    shop = Path(shutil.copytree(ROOT / "docs/examples/pytest", tmp_path / "shop"))
    passed = installed.run("pytest", "-q", cwd=shop, environ=environ)
    assert (passed.returncode, "5 passed" in passed.stdout) == (0, True), passed.stdout + passed.stderr
    source = shop / "shop/prices.py"
    source.write_text(source.read_text().replace("fail_max=FAILURES", "fail_max=FAILURES + 2"))
    failed = installed.run("pytest", "-q", "-k", "third_failure", cwd=shop, environ=environ)
    assert failed.returncode == 1
    for words in ("R3 not late", "holds if failures = 5", "chaos timeline", "violation", "- closed  # open"):
        assert words in failed.stdout, failed.stdout
