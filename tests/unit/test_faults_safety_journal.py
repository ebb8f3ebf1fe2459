"""The undo journal: its lines, its locks, its refusals."""

# ruff: noqa: D103 - the tests have docstrings; what serves them is named for what it does

import json
import os
import subprocess
import sys

import pytest

from faults.errors import JournalError
from faults.journal import (
    Journal,
    default_state_dir,
    live_intents,
    open_target_lock,
    parse_lines,
    target_lock_path,
    try_lock,
)

UNDO = {"kind": "toxiproxy.toxic", "args": {"admin_url": "http://127.0.0.1:1", "proxy": "p", "toxic": "t"}}


@pytest.fixture
def journal(tmp_path):
    made = Journal.create(tmp_path, "s1", {"target": "t"})
    yield made
    made.close()


def intend(journal, ticket=1, fault_id="slow"):
    journal.append("intent", ticket=ticket, fault_id=fault_id, undo=UNDO, deadline_ns=5)


def test_journal_writes_one_versioned_object_a_line(journal):
    """Every line stands for itself."""
    intend(journal)
    lines = journal.path.read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["session", "intent"]
    assert all(json.loads(line)["v"] == 1 for line in lines)
    assert journal.path.stat().st_mode & 0o077 == 0


def test_journal_syncs_before_append_returns(journal, monkeypatch):
    """What was appended is on the disk."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(fd), real(fd)))
    intend(journal)
    assert synced == [journal.fd]


@pytest.mark.parametrize("cut", [2, 10, 40])
def test_journal_survives_a_torn_last_line(journal, cut):
    """A kill in the middle of a line costs that line only, for readers and for the next append."""
    intend(journal)
    with journal.path.open("r+b") as file:
        file.truncate(journal.path.stat().st_size - cut)
    assert live_intents(journal.records()) == []
    intend(journal, 2, "after")
    assert [intent.fault_id for intent in live_intents(journal.records())] == ["after"]


def test_journal_torn_at_every_byte_never_raises():
    """No prefix of a journal is unreadable, and a complete intent is never lost."""
    intent = json.dumps(
        {"v": 1, "kind": "intent", "ticket": 1, "fault_id": "é", "undo": UNDO, "deadline_ns": 5}
    )
    data = (intent + "\n" + json.dumps({"v": 1, "kind": "tombstone", "ticket": 1}) + "\n").encode()
    for cut in range(len(data)):
        live = live_intents(parse_lines(data[:cut].decode(errors="replace")))
        complete = len(intent.encode()) <= cut < len(data) - 1
        assert len(live) == int(complete)


def test_live_intents_are_those_without_a_tombstone():
    """Steps and failed healings end nothing; an id may come again under a new ticket."""
    intent = {"v": 1, "kind": "intent", "fault_id": "a", "undo": UNDO, "deadline_ns": 5}
    records = [
        {**intent, "ticket": 1},
        {"v": 1, "kind": "tombstone", "ticket": 1},
        {**intent, "ticket": 2},
        {"v": 1, "kind": "step", "ticket": 2, "step": "injected"},
        {"v": 1, "kind": "unhealed", "ticket": 2},
    ]
    assert [live.ticket for live in live_intents(records)] == [2]
    assert live_intents([*records, {"v": 1, "kind": "tombstone", "ticket": 2}]) == []


def test_parse_skips_what_is_no_record_of_this_version():
    """Foreign lines are no reason to leave a fault in place."""
    text = '[1]\nnull\n{"v":2,"kind":"intent"}\n{"v":1,"kind":"session"}\n"x'
    assert parse_lines(text) == [{"v": 1, "kind": "session"}]


def test_journal_redacts_secrets_and_keeps_undos_exact(journal):
    """Descriptions lose their secrets; an undo that would is refused, because it must stay exact."""
    journal.append(
        "step", detail={"headers": {"Authorization": "Bearer abcdefgh"}, "url": "http://u:p@h/?token=x1"}
    )
    text = journal.path.read_text()
    assert "abcdefgh" not in text
    assert "u:p" not in text
    assert "x1" not in text
    with pytest.raises(JournalError, match="secret"):
        journal.append("intent", ticket=1, undo={"kind": "k", "args": {"admin_url": "http://u:p@h"}})


def test_journal_is_held_until_its_last_holder_is_gone(journal):
    """A sweep gets a journal only when nobody, not even an inheritor, has it open."""
    assert Journal.open_dead(journal.path) is None
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=(journal.fd,)
    ) as heir:
        journal.close()
        assert Journal.open_dead(journal.path) is None
        heir.stdin.close()
        heir.wait()
    dead = Journal.open_dead(journal.path)
    assert dead is not None
    dead.close()


def test_journal_that_cannot_be_created_is_a_clear_error(tmp_path):
    """A file where the directory should be: no journal, and the message says that nothing is injected."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="nothing is injected"):
        Journal.create(tmp_path / "file", "s", {})


def test_journal_on_a_full_disk_is_a_clear_error(journal):
    """A write that does not fit raises; what stood there before stays readable."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 20, hard))
    try:
        with pytest.raises(JournalError, match="cannot be written"):
            intend(journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert live_intents(journal.records()) == []
    intend(journal, 2)
    assert [intent.ticket for intent in live_intents(journal.records())] == [2]


def test_journal_retires_into_the_archive_only_without_live_faults(journal, tmp_path):
    """A journal with a live fault stays where sweeps look."""
    intend(journal)
    assert not journal.retire(tmp_path)
    assert journal.path.exists()
    journal.append("tombstone", ticket=1)
    assert journal.retire(tmp_path)
    assert not journal.path.exists()
    assert (tmp_path / "faults.jsonl").exists()
    assert (tmp_path / "done" / "s1.jsonl").exists()


def test_archive_keeps_the_newest_only(tmp_path):
    """The archive does not grow for ever."""
    for number in range(55):
        made = Journal.create(tmp_path, f"s{number:03}", {})
        made.archive()
        made.close()
    kept = sorted(path.stem for path in (tmp_path / "done").iterdir())
    assert len(kept) == 50
    assert kept[0] == "s005"


def test_target_locks_exclude_each_other_and_hide_secrets(tmp_path):
    """One lock a target; targets that look alike have different ones; no password in a file's name."""
    first, second = (open_target_lock(tmp_path, "http://h:1") for _ in range(2))
    other = open_target_lock(tmp_path, "http:/h:1")
    try:
        assert try_lock(first)
        assert not try_lock(second)
        assert try_lock(other)
    finally:
        for fd in (first, second, other):
            os.close(fd)
    assert "hunter2" not in str(target_lock_path(tmp_path, "http://me:hunter2@h"))


def test_default_state_dir_follows_the_environment(monkeypatch, tmp_path):
    """Our own variable, then XDG, then the home directory."""
    monkeypatch.setenv("CHAOS_SPIKE_STATE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state_dir() == tmp_path / "own"
    monkeypatch.delenv("CHAOS_SPIKE_STATE_DIR")
    assert default_state_dir() == tmp_path / "xdg" / "chaos-spike"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_state_dir() == tmp_path / ".local" / "state" / "chaos-spike"
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    assert default_state_dir().name == f"chaos-spike-{os.getuid()}"


def test_journal_line_that_is_nested_without_end_hides_no_fault() -> None:
    """A line that no parser can follow is skipped like a torn one: a sweep must come to the others."""
    intent = '{"v":1,"kind":"intent","ticket":1,"fault_id":"f","undo":{"kind":"k","args":{}},"deadline_ns":5}'
    lines = ["[" * 100_000, intent, '{"v":' * 100_000]
    assert [each.fault_id for each in live_intents(parse_lines("\n".join(lines)))] == ["f"]
