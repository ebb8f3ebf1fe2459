"""The run record: what is written can be read, also when the writer was killed, the disk full or the text edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resilience.run.record import RecordError, RunReader, RunRecorder, safe_name, write_whole

ROW = [0, 1, 1, 1, None, 2, 200, "ok", "gateway-1"]
FULL = Path("/dev/full")


def written(folder: Path) -> RunRecorder:
    """A record with a little of everything, not closed."""
    recorder = RunRecorder(folder)
    recorder.text("plan.yaml", "version: 1\n")
    recorder.json("timeline.json", {"name": "demo"})
    recorder.event("run", state="epoch", epoch_ns=5)
    recorder.message({"kind": "bins", "load": "a", "phase": "p", "s": 0, "first": 0, "n": {}})
    recorder.message({"kind": "worker", "worker": 0, "t": 1, "cpu": 0.1, "fds": 3, "in_flight": {"a": 1}})
    recorder.message({"kind": "call", "load": "a", "rows": [ROW, [1, *ROW[1:]]]})
    recorder.observed(
        {"kind": "wire", "proxy": "pricing", "what": "arrival", "n": 1, "id": "x", "at": [1, 2]}
    )
    recorder.observed({"kind": "breaker.state", "breaker": "b", "instance": "i", "state": "open"})
    return recorder


def read_all(reader: RunReader) -> None:
    """Read every line of every file."""
    for lines in (reader.events(), reader.bins(), reader.workers(), reader.calls("a")):
        list(lines)
    list(reader.wire("pricing"))
    list(reader.fault_journal())


def test_record_reads_back_what_was_written(tmp_path: Path) -> None:
    """Events, bins, calls and wire records land in their files and come back."""
    recorder = written(tmp_path / "run")
    recorder.close()
    reader = RunReader(tmp_path / "run")
    assert [event["kind"] for event in reader.events()] == ["run", "breaker.state"]
    assert reader.epoch_ns == 5
    assert [row["s"] for row in reader.bins()] == [0]
    assert [row[0] for row in reader.calls("a")] == [0, 1]
    assert [record["id"] for record in reader.wire("pricing")] == ["x"]
    assert [message["worker"] for message in reader.workers()] == [0]
    assert reader.verdict() == {}
    assert reader.signal == 0


def test_record_knows_the_signal_that_ended_the_run(tmp_path: Path) -> None:
    """So that judging it again exits as the run did."""
    recorder = written(tmp_path / "run")
    recorder.event("run", state="ended", reason="interrupted", detail="stopped by SIGINT", signal=2)
    recorder.close()
    assert RunReader(tmp_path / "run").signal == 2


def test_record_survives_a_torn_last_line(tmp_path: Path) -> None:
    """A runner that was killed while writing leaves a record that can be read as far as it went."""
    written(tmp_path / "run").close()
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write('{"v":1,"kind":"phase","na')
    assert len(list(RunReader(tmp_path / "run").events())) == 2


@pytest.mark.parametrize("damage", ["garbage", "[" * 100_000], ids=["garbage", "nested"])
def test_record_broken_in_the_middle_names_file_and_line(tmp_path: Path, damage: str) -> None:
    """A line that is no JSON and is not the last is damage, and is said to be."""
    written(tmp_path / "run").close()
    path = tmp_path / "run" / "events.jsonl"
    path.write_text(damage + "\n" + path.read_text())
    with pytest.raises(RecordError, match=r"events\.jsonl:1"):
        list(RunReader(tmp_path / "run").events())


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("events.jsonl", [], "not a JSON object"),
        ("events.jsonl", {"kind": "run", "state": "started"}, "'t' is missing"),
        ("events.jsonl", {"t": 1, "kind": "run"}, "'state' is missing"),
        ("events.jsonl", {"t": "soon", "kind": "log"}, "'t' cannot be 'soon'"),
        ("events.jsonl", {"t": 1, "kind": "run", "state": "epoch"}, "'epoch_ns' is missing"),
        ("events.jsonl", {"t": 1, "kind": "fault", "id": "x", "step": "healed", "at": [2]}, "'at'"),
        ("events.jsonl", {"t": 1, "kind": "gap", "source": "sse", "at": [9, 2]}, "'at'"),
        ("events.jsonl", {"t": 1, "kind": "run", "state": "ended", "reason": "x", "signal": "INT"}, "signal"),
        ("samples/bins.jsonl", {"kind": "bins", "s": 0, "n": {}}, "'load' is missing"),
        ("samples/bins.jsonl", {"load": "a", "phase": "p", "s": 0, "n": {"ok": "x"}, "first": 0}, "'n'"),
        (
            "samples/bins.jsonl",
            {"load": "a", "phase": "p", "s": 0, "n": {}, "first": 0, "r": {"x": 1}},
            "'r'",
        ),
        ("samples/workers.jsonl", {"kind": "worker", "worker": 0, "t": 1}, "is missing"),
        ("samples/workers.jsonl", 7, "not a JSON object"),
        ("samples/calls-a.jsonl", [1, 2], "at least 9 values"),
        ("samples/calls-a.jsonl", [*ROW[:7], None, None], "value 7"),
        ("samples/wire-pricing.jsonl", {"what": "arrival", "n": 2}, "'at' is missing"),
        ("faults.jsonl", [], "not a JSON object"),
    ],
)
def test_record_with_a_line_of_another_shape_names_file_and_line(
    tmp_path: Path, name: str, line: Any, wrong: str
) -> None:
    """Edited by hand: said with its place, before any reader trips over it."""
    written(tmp_path / "run").close()
    path = tmp_path / "run" / name
    before = path.read_text() if path.exists() else ""
    path.write_text(before + json.dumps(line) + "\n")
    reader = RunReader(tmp_path / "run")
    with pytest.raises(RecordError) as caught:
        read_all(reader)
    assert f"{path}:{len(before.splitlines()) + 1}: " in str(caught.value)
    assert wrong in str(caught.value)


def test_record_whose_plan_is_not_text_says_so(tmp_path: Path) -> None:
    """A plan that is not UTF-8 is an unreadable record, not a traceback."""
    written(tmp_path / "run").close()
    (tmp_path / "run" / "plan.yaml").write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(RecordError, match=r"plan\.yaml cannot be read"):
        RunReader(tmp_path / "run").plan_text()


def test_record_whose_environment_was_edited_says_so(tmp_path: Path) -> None:
    """The system in it is what the load's addresses are taken from."""
    written(tmp_path / "run").close()
    (tmp_path / "run" / "environment.json").write_text('{"system": []}')
    with pytest.raises(RecordError, match=r"environment\.json: 'system' cannot be \[\]"):
        RunReader(tmp_path / "run").environment()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_record_on_a_full_disk_is_a_record_error_also_when_closing(tmp_path: Path) -> None:
    """Closing flushes: what it cannot write is said in the record's own words, and every file is closed."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "events.jsonl").symlink_to(FULL)
    recorder = RunRecorder(folder)
    recorder.event("log", text="kept in the buffer")
    recorder.message({"kind": "worker", "worker": 0})
    with pytest.raises(RecordError, match=r"events\.jsonl cannot be written"):
        recorder.flush()
    with pytest.raises(RecordError, match=r"events\.jsonl cannot be written"):
        recorder.close()
    recorder.close()
    assert (folder / "samples" / "workers.jsonl").read_text()


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_whole_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    """One message, no half of a file, nothing left beside it."""
    path = write_whole(tmp_path / "verdict.json", "old")
    (tmp_path / "verdict.json.partial").symlink_to(FULL)
    with pytest.raises(RecordError, match=r"verdict\.json cannot be written: No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_record_refuses_a_folder_that_holds_a_run(tmp_path: Path) -> None:
    """No run overwrites another."""
    written(tmp_path / "run").close()
    with pytest.raises(RecordError, match="holds a run already"):
        RunRecorder(tmp_path / "run")


def test_record_in_an_unwritable_place_says_so(tmp_path: Path) -> None:
    """A file where the folder should be is one clear message."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot be written"):
        RunRecorder(tmp_path / "file" / "run")


def test_reader_refuses_a_folder_without_a_run(tmp_path: Path) -> None:
    """Any other folder is not a record."""
    with pytest.raises(RecordError, match="not a run record"):
        RunReader(tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "", "\x00"])
def test_names_of_a_plan_never_leave_the_folder(name: str) -> None:
    """A load may be called anything; its file stays where it belongs."""
    safe = safe_name(name)
    assert safe
    assert "/" not in safe
    assert not safe.startswith(".")
