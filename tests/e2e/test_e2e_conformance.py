"""`chaos-spike run conformance`, as a user runs it: against the lab, and against a service that knows nothing of this project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from resilience.lab.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

COMMAND = (sys.executable, "-m", "resilience.cli.main")
SERVICE = Path(__file__).with_name("breaker_service.py")
INVALID_OR_UNKNOWN = 3
QUICK = {"CHAOS_SPIKE_LAB_BREAKER_WAIT_MS": "500"}
"""A shorter wait: half the time."""


def conformance(
    folder: Path, *words: str, **extra: str
) -> tuple[subprocess.CompletedProcess[str], dict[str, Any], Path]:
    """How the run ended, its verdict, its record. A run that a busy machine left open (exit 3) is tried again, as a job would."""
    environment = {**os.environ, "CHAOS_SPIKE_STATE_DIR": str(folder / "state"), **extra}
    for attempt in range(3):
        out = folder / f"out-{attempt}"
        done = subprocess.run(
            [*COMMAND, "run", "conformance", "--out", str(out), *words],
            capture_output=True,
            text=True,
            env=environment,
            timeout=150,
            check=False,
        )
        if done.returncode != INVALID_OR_UNKNOWN:
            break
    (record,) = out.iterdir()
    return done, json.loads((record / "verdict.json").read_text()), record


@contextmanager
def service(bug: str = "") -> Iterator[tuple[str, ...]]:
    """The service of somebody else, and the settings that lead to it."""
    port, upstream = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, str(SERVICE), str(port), f"http://127.0.0.1:{upstream}", bug],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield (
            *("--stack", "external", "--set", f"external.base_url=http://127.0.0.1:{port}"),
            *("--set", f"external.proxies.dependency.listen=127.0.0.1:{upstream}"),
            *(
                "--set",
                "breakers.dependency.spec={dialect: strict, failures: 3, wait_ms: 400, timeout_ms: 900}",
            ),
        )
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def rules_of(verdict: dict[str, Any], breaker: str, outcome: str) -> set[str]:
    """Rules with that verdict in any instance."""
    instances = verdict["breakers"][breaker]["instances"]
    return {rule for i in instances for rule, found in i["rules"].items() if found["verdict"] == outcome}


def test_conformance_of_the_lab_passes_and_declares_then_fails_strictly(tmp_path: Path) -> None:
    """Exit 0 with the library's known deviations declared; judged again with --strict, exit 1: R8, with a witness."""
    done, verdict, record = conformance(tmp_path, **QUICK)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"R8", "R13"} <= rules_of(verdict, "pricing", "DECLARED")
    assert {f"R{n}" for n in (2, 3, 4, 5, 6, 7, 10, 11, 12, 15, 16)} <= rules_of(verdict, "pricing", "PASS")
    strict = subprocess.run(
        [*COMMAND, "judge", str(record), "--strict"], capture_output=True, text=True, timeout=60, check=False
    )
    assert strict.returncode == 1, strict.stdout + strict.stderr
    again = json.loads((record / "verdict-strict.json").read_text())
    assert "R8" in rules_of(again, "pricing", "FAIL")
    (instance,) = again["breakers"]["pricing"]["instances"]
    assert instance["rules"]["R8"]["witness"]["lines"]


def test_conformance_of_the_lab_without_a_breaker_fails(tmp_path: Path) -> None:
    """What is not there keeps no promise: it never opens."""
    done, verdict, _ = conformance(tmp_path, CHAOS_SPIKE_LAB_BREAKER="none", **QUICK)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "R3" in rules_of(verdict, "pricing", "FAIL")


def test_conformance_of_a_service_of_others_passes(tmp_path: Path) -> None:
    """A correct breaker behind a URL, seen from the wire alone: exit 0, every rule that the wire can show exercised."""
    with service() as settings:
        done, verdict, _ = conformance(tmp_path, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {f"R{n}" for n in (2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15)} <= rules_of(
        verdict, "dependency", "PASS"
    )


def test_conformance_of_a_service_of_others_names_what_is_wrong(tmp_path: Path) -> None:
    """Too many probes at once: exit 1, that rule and no other, with a witness; nothing but the wire to see it by."""
    with service("unlimited") as settings:
        done, verdict, _ = conformance(tmp_path, *settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert rules_of(verdict, "dependency", "FAIL") == {"R8", "R17"}, verdict["reason"]
    (instance,) = verdict["breakers"]["dependency"]["instances"]
    assert instance["rules"]["R8"]["witness"]["lines"]


def test_conformance_says_when_the_service_calls_somebody_else(tmp_path: Path) -> None:
    """Nothing arrives at the address that was given: exit 6, and what to set."""
    with service() as settings:
        astray = [word.replace("listen=127.0.0.1:", "listen=127.0.0.1:0#") for word in settings]
        done, verdict, _ = conformance(tmp_path, *[word.partition("#")[0] for word in astray])
    assert done.returncode == 6, done.stdout + done.stderr
    assert "nothing arrived at its dependency: the service must call http://127.0.0.1:" in verdict["reason"]
