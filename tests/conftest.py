"""What all tests share: parts that may be missing on a machine, and a state directory of their own.

`require("docker")` skips a test, with the reason, where a part is missing; where `CHAOS_SPIKE_REQUIRE` names the part (CI
does), the test fails instead, so that a missing part cannot pass for a tested one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Require = Callable[[str], str]

PROGRAMS = {
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "toxiproxy": ("toxiproxy-server",),
    "docker": ("docker",),
    "node": ("node",),
    "npm": ("npm",),
    "go": ("go",),
    "java": ("java",),
    "javac": ("javac",),
    "mvn": ("mvn",),
    "wrk": ("wrk",),
    "nginx": ("nginx",),
}


def _engine_answers(program: str) -> bool:
    """A client without an engine is no Docker."""
    asked = [program, "version", "--format", "{{.Server.Version}}"]
    return subprocess.run(asked, capture_output=True, timeout=30, check=False).returncode == 0


@pytest.fixture(scope="session")
def require() -> Require:
    """Path of the program that a part needs; skips, or fails where the part is required."""

    def find(part: str) -> str:
        reason = f"{part} is not on this machine (looked for {', '.join(PROGRAMS[part])} on PATH)"
        for program in PROGRAMS[part]:
            if found := shutil.which(program):
                if part != "docker" or _engine_answers(found):
                    return found
                reason = f"no Docker engine answers {found}"
        if part in os.environ.get("CHAOS_SPIKE_REQUIRE", "").split(","):
            pytest.fail(f"CHAOS_SPIKE_REQUIRE names {part}, but {reason}")
        pytest.skip(reason)

    return find


@pytest.fixture(autouse=True)
def _own_state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Journals and locks of a test are its own; a developer's are never swept by tests."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "state"))
