"""What the server's process says on stderr, by LOG_LEVEL in Toxiproxy's words and in either format."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration


def said(level: str, *flags: str) -> str:
    """Start a server and let it end; its log."""
    done = subprocess.run(
        [sys.executable, "-m", "faults.proxy", "-port", "0", "--die-with-parent", *flags],
        env={**os.environ, "LOG_LEVEL": level},
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["ready"] is True
    return done.stderr


def test_log_level_decides_what_is_said():
    """`info` tells where the API listens, `warn` only what is wrong, and a level that is none is complained about."""
    assert "INFO" in said("info")
    assert said("warn") == ""
    assert "unknown LOG_LEVEL value: 'loud'" in said("loud")


def test_log_lines_are_json_where_asked_for():
    """Each line an object with level, time, logger and message."""
    lines = [json.loads(line) for line in said("INFO", "--log-format", "json").splitlines()]
    assert any("admin API listens" in line["message"] for line in lines)
    assert {"level", "time", "logger", "message"} <= set(lines[0])
