"""Faults on processes: frozen, killed and restarted by a session with a real guardian, and back as they were."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.blast_radius import BlastRadius
from faults.errors import FaultNotInjected, FaultRefused
from faults.journal import live_intents, read_journal
from faults.nemesis import FaultEvent, Nemesis, Remarking
from faults.processes import FreezeFault, KillFault, RestartFault, Revival
from faults.session import FaultSession, sweep
from faults.undo import UNDO_KINDS, Undo
from faults.undo.process_table import Entry, _read_proc, _read_ps, descendants, read_table

pytestmark = pytest.mark.integration

S = 1_000_000_000


def session(tmp_path: Path, events: list[FaultEvent], *pids: int) -> FaultSession:
    """A session that may hurt these processes."""
    allow = BlastRadius(processes=frozenset(pids))
    return FaultSession(state_dir=tmp_path / "state", target="here", allow=allow, on_event=events.append)


def stop(pid: int) -> None:
    """Freeze a process, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    while not read_table()[pid].is_stopped:
        time.sleep(0.01)


def steps(events: list[FaultEvent]) -> list[str]:
    """What happened, in order."""
    return [event.step for event in events]


async def test_freeze_stops_a_process_with_all_below_it_and_lets_it_run_on(serve, tmp_path: Path) -> None:
    """Connections are accepted by the kernel and not answered; afterwards the same process answers."""
    served = serve("--child")
    events: list[FaultEvent] = []
    fault = FreezeFault("frozen", served.pid, 30 * S)
    assert isinstance(fault, Nemesis)
    assert isinstance(fault, Remarking)
    async with session(tmp_path, events, served.pid) as faults:
        await faults.inject(fault)
        assert await asyncio.to_thread(served.says, 0.3) is None
        table = read_table()
        assert table[served.pid].is_stopped
        assert table[served.child].is_stopped
        await faults.heal("frozen")
        assert await asyncio.to_thread(served.says) == served.pid
        assert not read_table()[served.child].is_stopped
    assert steps(events) == ["journaled", "armed", "injected", "healed", "verified"]
    assert events[2].detail["processes"] == [served.pid, served.child]
    assert "remark" not in events[-1].detail


async def test_freeze_is_lifted_by_the_guardian_when_its_time_is_over(serve, tmp_path: Path) -> None:
    """The runner does nothing; the process runs on all the same."""
    served = serve()
    events: list[FaultEvent] = []
    told = asyncio.Event()

    def tell(event: FaultEvent) -> None:
        events.append(event)
        if event.step == "verified":
            told.set()

    allow = BlastRadius(processes=frozenset([served.pid]))
    async with FaultSession(
        state_dir=tmp_path / "state", target="here", allow=allow, on_event=tell
    ) as faults:
        await faults.inject(FreezeFault("frozen", served.pid, S // 2))
        assert await asyncio.to_thread(served.says, 20) == served.pid
        await asyncio.wait_for(told.wait(), 20)
    assert steps(events) == ["journaled", "armed", "injected", "expired", "healed", "verified"]


async def test_freeze_is_refused_where_it_would_not_be_ours(serve, tmp_path: Path) -> None:
    """A process that stands still already, none at all, one that is not named, and this very process or its parent."""
    served, other = serve(), serve()
    events: list[FaultEvent] = []
    own = (os.getpid(), os.getppid())
    async with session(tmp_path, events, served.pid) as faults:
        with pytest.raises(FaultRefused, match="not one of the system"):
            await faults.inject(FreezeFault("foreign", other.pid, S))
    async with session(tmp_path, events, served.pid, *own, 2**22 + 1) as faults:
        for pid in own:
            with pytest.raises(FaultRefused, match="is this process"):
                await faults.inject(FreezeFault("own", pid, S))
        with pytest.raises(FaultNotInjected, match="no process"):
            await faults.inject(FreezeFault("nobody", 2**22 + 1, S))
        stop(served.pid)
        with pytest.raises(FaultNotInjected, match="stopped already"):
            await faults.inject(FreezeFault("twice", served.pid, S))
        assert read_table()[served.pid].is_stopped
    assert events == []


async def test_freeze_of_a_process_that_ends_meanwhile_is_healed_with_a_remark(serve, tmp_path: Path) -> None:
    """Somebody kills it while it is frozen: reported, not fatal."""
    served = serve()
    events: list[FaultEvent] = []
    async with session(tmp_path, events, served.pid) as faults:
        await faults.inject(FreezeFault("frozen", served.pid, 30 * S))
        os.kill(served.pid, signal.SIGKILL)
        await asyncio.to_thread(served._process.wait)
        await faults.heal("frozen")
    assert steps(events)[-1] == "verified"
    assert "has ended" in events[-1].detail["remark"]


async def test_kill_ends_a_process_and_starts_it_again(serve, tmp_path: Path) -> None:
    """Connections are refused; afterwards another process answers on the same port, and only one was started."""
    served = serve()
    events: list[FaultEvent] = []
    async with session(tmp_path, events, served.pid) as faults:
        await faults.inject(KillFault("killed", served.pid, 30 * S, revival=served.revival))
        assert served.says() is None
        assert events[-1].detail["destructive"]
        undo = faults._tickets[1].undo  # of a live fault: what has ended is let go of
        await faults.heal("killed")
        back = served.says()
        assert back not in {None, served.pid}
    assert steps(events) == ["journaled", "armed", "injected", "healed", "verified"]
    assert UNDO_KINDS[undo.kind].undo(undo) is False
    assert served.says() == back
    assert not os.path.exists(undo.args["note"])  # noqa: ASYNC240, PTH110 - one look


async def test_restart_replaces_a_process_at_once(serve, tmp_path: Path) -> None:
    """Without healing another process answers soon; healing finds it there."""
    served = serve()
    events: list[FaultEvent] = []
    async with session(tmp_path, events, served.pid) as faults:
        await faults.inject(RestartFault("again", served.pid, 30 * S, revival=served.revival))
        back = await asyncio.to_thread(served.says_soon)
        assert back not in {None, served.pid}
        await faults.heal("again")
        assert served.says() == back
    assert events[2].detail["kind"] == "restart"


async def test_kill_needs_a_process_that_can_be_seen_to_be_back(serve, tmp_path: Path) -> None:
    """Where nobody accepts connections before, nobody could tell that it is back."""
    served = serve()
    events: list[FaultEvent] = []
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        revival = Revival(served.revival.command, f"127.0.0.1:{unused.getsockname()[1]}")
        async with session(tmp_path, events, served.pid) as faults:
            with pytest.raises(FaultNotInjected, match="accepts no connections"):
                await faults.inject(KillFault("killed", served.pid, 30 * S, revival=revival))
    assert served.says() == served.pid


RUNNER = """
import asyncio, os, sys
from pathlib import Path
from faults.blast_radius import BlastRadius
from faults.processes import FreezeFault
from faults.session import FaultSession

async def main(pid, state):
    allow = BlastRadius(processes=frozenset([pid]))
    async with FaultSession(state_dir=Path(state), target="here", allow=allow, on_event=lambda event: None) as session:
        await session.inject(FreezeFault("frozen", pid, 60_000_000_000))
        print("in", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


def test_freeze_does_not_outlive_a_killed_runner(serve, tmp_path: Path) -> None:
    """The guardian lets the process run on; a sweep finds nothing left to do."""
    served = serve()
    state = str(tmp_path / "state")
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(served.pid), state], stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"in\n"
        assert served.says(0.3) is None
        runner.kill()
    assert served.says(20) == served.pid
    [journal] = (tmp_path / "state" / "sessions").glob("*.jsonl")
    until_s = time.monotonic() + 20
    while live_intents(read_journal(journal)) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert sweep(tmp_path / "state") == []


def test_process_table_is_the_same_from_proc_and_from_ps() -> None:
    """Two ways to the same processes: parents agree, and so do states of what does not change meanwhile."""
    command = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            tables = [_read_ps()] + ([_read_proc()] if Path("/proc/self/stat").exists() else [])
            for table in tables:
                assert table[child.pid].parent == os.getpid()
                assert table[child.pid].state == "S"
                assert [entry.pid for entry in descendants(table, [child.pid])] == [child.pid]
                assert child.pid in {entry.pid for entry in descendants(table, [os.getpid()])}
        finally:
            child.kill()


def test_resume_leaves_a_reused_pid_alone(serve) -> None:
    """The same number with another start is somebody else: not touched, and nothing to undo."""
    served = serve()
    stop(served.pid)
    now = read_table()[served.pid]
    stranger = Entry(now.pid, now.parent, now.state, now.start + "0")
    undo = Undo("process.resume", json.loads(json.dumps({"processes": [[stranger.pid, stranger.start]]})))
    assert UNDO_KINDS["process.resume"].undo(undo) is False
    assert UNDO_KINDS["process.resume"].is_clean(undo) is True
    assert read_table()[served.pid].is_stopped


NOTICES = """
import signal, sys
signal.signal(signal.SIGCONT, lambda *_: print("continued", flush=True))
print("ready", flush=True)
signal.pause()
signal.pause()
"""


def test_resume_reaches_a_process_whose_stop_is_still_on_its_way() -> None:
    """SIGSTOP lands late in a process that waits for a disk: only a SIGCONT that is sent to one that runs takes it back."""
    with subprocess.Popen([sys.executable, "-c", NOTICES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            start = read_table()[process.pid].start
            undo = Undo("process.resume", {"processes": [[process.pid, start]]})
            assert UNDO_KINDS["process.resume"].undo(undo) is False  # none stood still
            assert process.stdout.readline() == "continued\n"
        finally:
            process.kill()


def holding(listener: socket.socket) -> subprocess.Popen[bytes]:
    """A process that has inherited the listening socket, and does nothing with it."""
    program = "import sys, time; print(flush=True); time.sleep(60)"
    return subprocess.Popen(
        [sys.executable, "-c", program], pass_fds=[listener.fileno()], stdout=subprocess.PIPE
    )


async def test_kill_is_refused_where_another_process_serves_the_same_port(serve, tmp_path: Path) -> None:
    """Processes may share one listening socket: whoever accepts afterwards says nothing of the one that was killed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        sharing = [holding(listener) for _ in range(2)]
        try:
            for each in sharing:
                assert each.stdout is not None
                each.stdout.readline()
            listener.close()  # only they have it now: of several that do, any may be named
            revival = Revival(("false",), f"127.0.0.1:{port}")
            fault = KillFault("gone", sharing[0].pid, 10 * S, revival=revival)
            async with session(tmp_path, [], sharing[0].pid) as faults:
                with pytest.raises(FaultNotInjected, match=f"process {sharing[1].pid}"):
                    await faults.inject(fault)
            assert sharing[0].poll() is None
        finally:
            for each in sharing:
                each.kill()
                each.communicate()
