"""testcontainers' Toxiproxy as the proxy layer: the example of docs/howto-pytest.md, on a Docker engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_projects import run_project, write_project

pytestmark = [pytest.mark.external, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]


def test_example_with_testcontainers_puts_its_faults_into_the_container(
    require: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block of the page, as it stands there, in a project of its own; nothing is left on the engine."""
    require("docker")
    pytest.importorskip("testcontainers", reason="testcontainers is not installed")

    page = (ROOT / "docs/howto-pytest.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python held=\S+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    # Its reaper is an image of its own that would have to be pulled; the test takes its container away itself.
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    ended = run_project(write_project(tmp_path, test_container=example), "-q")
    assert (ended.code, "1 passed" in ended.output) == (0, True), ended.output
