"""The run record: one folder, written as the run goes, read by every checker and report.

Layout: `plan.yaml`, `timeline.json`, `environment.json`, `events.jsonl`, `samples/bins.jsonl`,
`samples/workers.jsonl`, `samples/figures.jsonl`, `samples/calls-LOAD.jsonl`, `samples/notes-LOAD.jsonl`,
`samples/wire-PROXY.jsonl`, and `faults.jsonl`, the undo journal of the fault session; after judging `verdict.json`, `report.html`, `junit.xml`. JSON Lines files are append-only and reach
the operating system once a second (`RunRecorder.flush`), so that a killed run can still be judged as far as it went.

Every event is `{"v": 1, "t": ns, "kind": ...}` on CLOCK_MONOTONIC of the host that ran it; `at` in an event is an
interval `[lo, hi]` where something was observed rather than caused. `run` events mark the life of the record:
`{"kind": "run", "state": "started" | "epoch" | "ended", ...}`. A record without "ended" belongs to a run that died.

The recorder does no judging, and the reader needs nothing but the folder. A torn last line (the runner was killed
while writing) is skipped; a line that is broken elsewhere, or has not the shape that its readers rely on
(`resilience.run.shapes`), raises `RecordError` with file and line.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from resilience.run import shapes

VERSION = 1
_SAMPLES = {
    "bins": "samples/bins.jsonl",
    "figures": "samples/figures.jsonl",
    "worker": "samples/workers.jsonl",
    "end": "samples/workers.jsonl",
}
_ROWS = {"call": "calls", "note": "notes"}
"""Messages that carry rows of one load, each a line of that load's own file."""


class RecordError(Exception):
    """The folder cannot be written, or what stands in it cannot be read; the message names the file."""


def safe_name(name: str) -> str:
    """A name of a plan as part of a file name: nothing that could leave the folder."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).lstrip(".") or "_"


def write_whole(path: Path, text: str) -> Path:
    """Write a whole file, or leave the old one and raise `RecordError`."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> RecordError:
    return RecordError(f"{path} cannot be written: {error.strerror or error}")


class RunRecorder:
    """Writes one run's folder. Not thread-safe; closed by `close`, idempotent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, TextIO] = {}
        try:
            (folder / "samples").mkdir(parents=True, exist_ok=False)
        except FileExistsError as error:
            raise RecordError(f"{folder} holds a run already; choose another --out") from error
        except OSError as error:
            raise RecordError(
                f"the run directory {folder} cannot be written: {error.strerror or error}"
            ) from error

    def text(self, name: str, text: str) -> Path:
        """Write a whole file of the record, atomically."""
        return write_whole(self.folder / name, text)

    def json(self, name: str, value: Any) -> Path:
        """Write a whole JSON file of the record."""
        return self.text(name, json.dumps(value, indent=1, sort_keys=False, default=str) + "\n")

    def event(self, kind: str, /, t_ns: int | None = None, **fields: Any) -> dict[str, Any]:
        """Append one event, stamped now unless a time is given; returns it as written."""
        event = {"v": VERSION, "t": time.monotonic_ns() if t_ns is None else t_ns, "kind": kind, **fields}
        self._append("events.jsonl", event)
        return event

    def observed(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Append what an observer saw: wire records to the proxy's sample file, everything else as an event."""
        fields = dict(observation)
        kind = str(fields.pop("kind"))
        if kind == "wire":
            self._append(f"samples/wire-{safe_name(str(fields.pop('proxy')))}.jsonl", fields)
            return {"kind": kind}
        return self.event(kind, **fields)

    def message(self, message: Mapping[str, Any]) -> None:
        """Append one message of a load worker to the samples."""
        kind = str(message["kind"])
        if kind in _ROWS:
            name = f"samples/{_ROWS[kind]}-{safe_name(str(message['load']))}.jsonl"
            for row in message["rows"]:
                self._append(name, row)
            return
        self._append(_SAMPLES.get(kind, "samples/workers.jsonl"), message)

    def flush(self) -> None:
        """Hand everything to the operating system; raises `RecordError` when the disk is full."""
        for name, file in self._files.items():
            try:
                file.flush()
            except OSError as error:
                raise _unwritable(self.folder / name, error) from error

    def close(self) -> None:
        """Flush and close all files; the record can then be read. Raises `RecordError` when one could not be flushed."""
        files, self._files = self._files, {}
        failure: RecordError | None = None
        for name, file in files.items():
            try:
                file.close()  # flushes first, and gives up the descriptor also when that fails
            except OSError as error:
                failure = failure or _unwritable(self.folder / name, error)
        if failure is not None:
            raise failure

    def _append(self, name: str, value: Any) -> None:
        file = self._files.get(name)
        try:
            if file is None:
                file = self._files[name] = (self.folder / name).open("a", encoding="utf-8")
            file.write(json.dumps(value, separators=(",", ":"), default=str))
            file.write("\n")
        except OSError as error:
            raise _unwritable(self.folder / name, error) from error


class RunReader:
    """Reads one run's folder; raises `RecordError` where it is not one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "plan.yaml").is_file() or not (path / "timeline.json").is_file():
            raise RecordError(f"{path} is not a run record: plan.yaml or timeline.json is missing")

    def plan_text(self) -> str:
        """The plan as it was run, secrets redacted."""
        try:
            return (self.path / "plan.yaml").read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RecordError(f"{self.path / 'plan.yaml'} cannot be read: {error}") from error

    def timeline(self) -> dict[str, Any]:
        """The compiled timeline."""
        return self._json("timeline.json")

    def environment(self) -> dict[str, Any]:
        """Versions, machine, seed; empty if the run died before it was written."""
        if not (self.path / "environment.json").is_file():
            return {}
        environment = self._json("environment.json")
        if wrong := shapes.environment_problem(environment):
            raise RecordError(f"{self.path / 'environment.json'}: {wrong}")
        return environment

    def verdict(self) -> dict[str, Any]:
        """The verdict, if the run was judged; else an empty mapping."""
        return self._json("verdict.json") if (self.path / "verdict.json").is_file() else {}

    def events(self) -> Iterator[dict[str, Any]]:
        """All events in the order in which they were written."""
        return self._lines("events.jsonl", shapes.event_problem)

    def bins(self) -> Iterator[dict[str, Any]]:
        """Per-second increments of the load workers."""
        return self._lines("samples/bins.jsonl", shapes.bins_problem)

    def workers(self) -> Iterator[dict[str, Any]]:
        """The load workers' own figures (`worker`) and final counts (`end`)."""
        return self._lines("samples/workers.jsonl", shapes.worker_problem)

    def calls(self, load: str) -> Iterator[list[Any]]:
        """Per-call rows of a recorded load stream."""
        return self._lines(f"samples/calls-{safe_name(load)}.jsonl", shapes.call_problem)

    def notes(self, load: str) -> Iterator[dict[str, Any]]:
        """What a load wrote down of its calls, where the plan says `record`."""
        return self._lines(f"samples/notes-{safe_name(load)}.jsonl", shapes.note_problem)

    def figures(self) -> Iterator[dict[str, Any]]:
        """Per-second increments of what only one kind of driver counts: message latencies, cache hits and the like."""
        return self._lines("samples/figures.jsonl", shapes.figures_problem)

    def wire(self, proxy: str) -> Iterator[dict[str, Any]]:
        """What the tap before a proxy recorded."""
        return self._lines(f"samples/wire-{safe_name(proxy)}.jsonl", shapes.wire_problem)

    def fault_journal(self) -> Iterator[dict[str, Any]]:
        """The undo journal: what became of the faults of a runner that died, as its guardian wrote it down."""
        return self._lines("faults.jsonl", shapes.journal_problem)

    @property
    def epoch_ns(self) -> int:
        """CLOCK_MONOTONIC of the run's offset 0 (0 when the run never got that far)."""
        for event in self.events():
            if event.get("kind") == "run" and event.get("state") == "epoch":
                return int(event["epoch_ns"])
        return 0

    @property
    def signal(self) -> int:
        """The signal that ended the run; 0 if none did."""
        found = 0
        for event in self.events():
            if event["kind"] == "run" and event["state"] == "ended":
                found = int(event.get("signal", 0))
        return found

    def _json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"{self.path / name} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise RecordError(f"{self.path / name} does not hold a JSON object")
        return value

    def _lines(self, name: str, problem: Callable[[Any], str | None]) -> Iterator[Any]:
        path = self.path / name
        if not path.is_file():
            return
        try:
            file = path.open(encoding="utf-8", errors="replace")
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror or error}") from error
        with file:
            for number, line in enumerate(file, start=1):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    if not line.endswith("\n"):
                        return  # the runner was killed while it wrote this line
                    raise RecordError(f"{path}:{number}: not JSON: {error}") from error
                if wrong := problem(value):
                    raise RecordError(f"{path}:{number}: {wrong}")
                yield value
