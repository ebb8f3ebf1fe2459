"""One conformance run: a service, the built-in plan against it, and the verdicts on the one record of it.

The run is the command that anybody gives, `chaos-spike run conformance --stack external`, in a process of its own, with the
service's address and its breaker's specification laid over the plan. What was recorded is then judged twice: under the library's
own dialect, where known deviations are declared, and strictly, where they are failures.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from resilience.lab.ports import free_port
from resilience.run.judge import judge_record
from resilience.run.record import RecordError, RunReader
from tests.conformance.builds import BuildError
from tests.conformance.candidates import Asked, Candidate
from tests.conformance.services import Running, ServiceError, running

BREAKER: Final = "dependency"
ASKED: Final = Asked(timeout_ms=1500)
"""A call may last longer than the wait, so that one can begin before the opening and end while half-open."""
_LONGEST_S: Final = 240


class RunError(Exception):
    """There is no record to judge; the message says why."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one run came to."""

    candidate: Candidate
    folder: Path
    own: Mapping[str, Any]
    strict: Mapping[str, Any]

    @property
    def own_rules(self) -> Mapping[str, Any]:
        """Rule -> its verdict under the own dialect."""
        rules: Mapping[str, Any] = instance_of(self.own).get("rules", {})
        return rules

    @property
    def strict_rules(self) -> Mapping[str, Any]:
        """Rule -> its verdict without declared deviations."""
        rules: Mapping[str, Any] = instance_of(self.strict).get("rules", {})
        return rules


def instance_of(verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one instance of the one breaker in a verdict; empty where none was observed."""
    instances: list[Mapping[str, Any]] = verdict["breakers"].get(BREAKER, {}).get("instances", [])
    return instances[0] if instances else {}


def open_rules(verdict: Mapping[str, Any]) -> dict[str, str]:
    """The rules that decide (the plan requires them) and stayed open, each with the reason."""
    required: list[str] = verdict["breakers"].get(BREAKER, {}).get("required", [])
    rules = instance_of(verdict).get("rules", {})
    return {
        rule: rules[rule]["reason"] for rule in required if rules.get(rule, {}).get("verdict") == "UNKNOWN"
    }


async def conformance_run(candidate: Candidate, folder: Path, asked: Asked = ASKED) -> Judged:
    """Run the stimulus against a service of the candidate; `folder` gets the record. RunError where there is none."""
    port = free_port()
    async with AsyncExitStack() as stack:
        try:
            service = await stack.enter_async_context(running(candidate, f"http://127.0.0.1:{port}", asked))
        except (BuildError, ServiceError) as error:
            raise RunError(str(error)) from error
        overlay = _written(folder / "overlay.yaml", laid_over(candidate, asked, service, port))
        status, said = await _chaos_spike(overlay, folder)
    record = record_in(folder)
    if record is None:
        raise RunError(f"chaos-spike ended with {status} and no verdict: {said.strip()[-500:]}")
    return await asyncio.to_thread(judged, candidate, record)


async def conformance_runs(
    candidates: Iterable[Candidate], folder: Path, asked: Asked = ASKED, *, jobs: int = 4
) -> dict[str, Judged]:
    """A run of each, by name, so many at a time: more would starve each other while they start. RunError of the first that fails."""
    turns = asyncio.Semaphore(jobs)

    async def one(candidate: Candidate) -> Judged:
        async with turns:
            return await conformance_run(candidate, folder / candidate.name, asked)

    done = await asyncio.gather(*(one(candidate) for candidate in candidates))
    return {run.candidate.name: run for run in done}


def record_in(folder: Path) -> Path | None:
    """The record of the one run in a folder."""
    return next((path.parent for path in folder.glob("*/verdict.json")), None)


def _written(path: Path, value: Mapping[str, Any]) -> Path:
    """JSON is YAML, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return path


def judged(candidate: Candidate, record: Path, *, again: bool = False) -> Judged:
    """Both verdicts on a record; its own is the one that the run came to, or is judged again. RunError if it cannot be read."""
    try:
        reader = RunReader(record)
        own = judge_record(reader, strict=False) if again else reader.verdict()
        strict = judge_record(reader, strict=True)
    except RecordError as error:
        raise RunError(str(error)) from error
    return Judged(candidate, record, own, strict)


def laid_over(candidate: Candidate, asked: Asked, service: Running, port: int) -> dict[str, Any]:
    """What the built-in plan has to be told of this service."""
    return {
        "name": f"conformance-{candidate.name}",
        "external": {
            "base_url": service.url,
            "instances": [{"name": "service-1", "admin_url": service.url}],
            "proxies": {BREAKER: {"listen": f"127.0.0.1:{port}"}},
        },
        "stimulus": {"calls": {"rejected": {"header": {"X-Breaker": "rejected"}}}},
        "breakers": {
            BREAKER: {
                "spec": candidate.spec(asked),
                "observe": {"events": True, "poll": f"{candidate.poll_ms}ms", "wire": BREAKER},
            }
        },
    }


async def _chaos_spike(overlay: Path, folder: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "resilience.cli.main", "run", "conformance", "--stack", "external"),
        *("--overlay", str(overlay), "--out", str(folder), "--workers", "1", "--seed", "1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "120"},
    )
    try:
        async with asyncio.timeout(_LONGEST_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")
