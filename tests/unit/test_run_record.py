"""The run record: what is written can be read, also when the writer was killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from resilience.run.record import RecordError, RunReader, RunRecorder, safe_name


def written(folder: Path) -> RunRecorder:
    """A record with a little of everything, not closed."""
    recorder = RunRecorder(folder)
    recorder.text("plan.yaml", "version: 1\n")
    recorder.json("timeline.json", {"name": "demo"})
    recorder.event("run", state="epoch", epoch_ns=5)
    recorder.message({"kind": "bins", "load": "a", "s": 0, "n": {}})
    recorder.message({"kind": "worker", "worker": 0})
    recorder.message({"kind": "call", "load": "a", "rows": [[0, 1], [1, 2]]})
    recorder.observed({"kind": "wire", "proxy": "pricing", "what": "arrival", "id": "x"})
    recorder.observed({"kind": "breaker.state", "breaker": "b", "state": "open"})
    return recorder


def test_record_reads_back_what_was_written(tmp_path: Path) -> None:
    """Events, bins, calls and wire records land in their files and come back."""
    recorder = written(tmp_path / "run")
    recorder.close()
    reader = RunReader(tmp_path / "run")
    assert [event["kind"] for event in reader.events()] == ["run", "breaker.state"]
    assert reader.epoch_ns == 5
    assert [row["s"] for row in reader.bins()] == [0]
    assert list(reader.calls("a")) == [[0, 1], [1, 2]]
    assert [record["id"] for record in reader.wire("pricing")] == ["x"]
    assert [message["worker"] for message in reader.workers()] == [0]
    assert reader.verdict() == {}


def test_record_survives_a_torn_last_line(tmp_path: Path) -> None:
    """A runner that was killed while writing leaves a record that can be read as far as it went."""
    written(tmp_path / "run").close()
    with (tmp_path / "run" / "events.jsonl").open("a") as file:
        file.write('{"v":1,"kind":"phase","na')
    assert len(list(RunReader(tmp_path / "run").events())) == 2


def test_record_broken_in_the_middle_names_file_and_line(tmp_path: Path) -> None:
    """A line that is no JSON and is not the last is damage, and is said to be."""
    written(tmp_path / "run").close()
    path = tmp_path / "run" / "events.jsonl"
    path.write_text("garbage\n" + path.read_text())
    with pytest.raises(RecordError, match=r"events\.jsonl:1"):
        list(RunReader(tmp_path / "run").events())


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
