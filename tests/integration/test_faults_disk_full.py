"""A disk that is really full (a small file system in memory), where the journal is kept and where the record is.

Mounting needs root; the same promises are tested for everybody with a limit on the size of files in test_faults_safety_session.py and
test_run_interpreter.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults_safety_stub import StubToxiproxy

from faults.blast_radius import BlastRadius
from faults.errors import JournalError
from faults.model import ToxicSpec
from faults.nemesis import ToxicFault
from faults.session import FaultSession, sweep

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

S = 1_000_000_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts small disks; they are gone after the test."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def stub() -> Iterator[StubToxiproxy]:
    """A dependency."""
    server = StubToxiproxy()
    yield server
    server.close()


def fill(place: Path) -> Path:
    """Leave not a byte."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def toxic(stub: StubToxiproxy, name: str) -> ToxicFault:
    """A latency."""
    spec = ToxicSpec(type="latency", name=name, attributes={"latency": 100})
    return ToxicFault(name, stub.admin_url, "pricing", spec, 30 * S)


async def test_full_disk_at_the_journal_means_no_fault_and_keeps_none(disk: Any, stub: StubToxiproxy) -> None:
    """What is in place is healed although nothing can be written; nothing new goes in; with space again all is well."""
    place = disk("256k")
    events: list[Any] = []
    async with FaultSession(
        state_dir=place / "state", target=stub.admin_url, allow=BlastRadius(), on_event=events.append
    ) as session:
        await session.inject(toxic(stub, "before"))
        ballast = fill(place)
        with pytest.raises(JournalError, match="nothing is injected"):  # noqa: PT012 - which of them no longer fits is the disk's to say
            for number in range(40):  # what is left of the journal's last block may hold a few lines more
                await session.inject(toxic(stub, f"full-{number}"))
                await session.heal(f"full-{number}")
        assert set(stub.toxics) == {"before"}
        assert await session.heal_all() == []
        assert not stub.toxics
        ballast.unlink()
        await session.inject(toxic(stub, "after"))
        assert set(stub.toxics) == {"after"}
    assert not stub.toxics
    assert [event.step for event in events if event.fault_id == "before"][-1] == "verified"
    assert all(fault.clean for fault in sweep(place / "state"))
    assert not list((place / "state" / "sessions").glob("*.jsonl"))


async def test_full_disk_from_the_beginning_means_no_session(disk: Any, stub: StubToxiproxy) -> None:
    """No journal can be begun: said so, and nothing was asked of the target."""
    place = disk("256k")
    fill(place)
    with pytest.raises(JournalError):
        async with FaultSession(
            state_dir=place / "state", target=stub.admin_url, allow=BlastRadius(), on_event=lambda _: None
        ):
            pass
    assert stub.requests == []


@pytest.mark.slow
def test_full_disk_for_the_record_ends_the_run_with_healed_faults(disk: Any, tmp_path: Path) -> None:
    """A run whose folder fills up while its fault is in place: stopped, healed and verified, exit 4, no traceback."""
    place = disk("4m")
    plan = Path(__file__).parents[1] / "data" / "short.yaml"
    with subprocess.Popen(
        [sys.executable, "-m", "resilience.cli.main", "run", str(plan), "--out", str(place / "out")],
        env={**os.environ, "CHAOS_SPIKE_STATE_DIR": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        until_s = time.monotonic() + 90
        while '"step":"injected"' not in "".join(p.read_text() for p in place.glob("out/*/events.jsonl")):
            assert process.poll() is None
            assert time.monotonic() < until_s, "the fault was not in place within 90 s"
            time.sleep(0.05)
        fill(place)
        said, _ = process.communicate(timeout=90)
    assert process.returncode == 4, said
    assert "Traceback" not in said
    assert "No space left" in said
    (journal,) = (tmp_path / "state" / "done").glob("*.jsonl")
    kinds = [json.loads(line)["kind"] for line in journal.read_text().splitlines()]
    assert kinds.count("intent") == kinds.count("tombstone") == 1
    assert not list((tmp_path / "state" / "sessions").glob("*.jsonl"))
