"""The fault session with a real guardian, against a small real HTTP server: order, refusals, failures, cancellation."""

# ruff: noqa: D103 - the tests have docstrings; what serves them is named for what it does

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from faults_safety_stub import StubToxiproxy

from faults.blast_radius import BlastRadius
from faults.errors import (
    FaultError,
    FaultNotInjected,
    FaultRefused,
    FaultUnhealed,
    GuardianLost,
    JournalError,
    TargetBusy,
)
from faults.journal import live_intents, read_journal
from faults.model import ToxicSpec
from faults.nemesis import Nemesis, ProxyDownFault, ToxicFault
from faults.session import FaultSession, sweep

pytestmark = pytest.mark.integration

S = 1_000_000_000


@pytest.fixture
def stub():
    server = StubToxiproxy()
    yield server
    server.close()


@pytest.fixture
def events():
    return []


@pytest.fixture
def open_session(stub, tmp_path, events):
    def make(*, allow=BlastRadius(), **options):  # noqa: B008 - frozen
        return FaultSession(
            state_dir=tmp_path / "state",
            target=stub.admin_url,
            allow=allow,
            on_event=events.append,
            **options,
        )

    return make


def toxic(stub, name="slow", max_duration_ns=30 * S):
    spec = ToxicSpec(type="latency", name=name, attributes={"latency": 100})
    return ToxicFault(name, stub.admin_url, "pricing", spec, max_duration_ns)


def writes(stub):
    return [(method, path) for method, path, _ in stub.requests if method != "GET"]


def steps(events, fault_id="slow"):
    return [event.step for event in events if event.fault_id == fault_id]


async def test_session_tells_every_step_in_order_with_intervals(stub, open_session, events, tmp_path):
    """The whole life of a fault; each interval is one, and they do not run backwards."""
    began_ns = time.monotonic_ns()
    async with open_session(run_dir=tmp_path) as session:
        await session.inject(toxic(stub))
        assert set(stub.toxics) == {"slow"}
        await session.heal("slow")
        assert not stub.toxics
        await session.heal("slow")
    assert steps(events) == ["journaled", "armed", "injected", "healed", "verified"]
    assert all(event.at[0] <= event.at[1] for event in events)
    starts = [event.at[0] for event in events]
    assert starts == sorted(starts)
    assert starts[0] >= began_ns
    assert json.loads(json.dumps(events[0].to_json()))["step"] == "journaled"
    kinds = [record["kind"] for record in read_journal(tmp_path / "faults.jsonl")]
    assert kinds == ["session", "intent", "step", "tombstone"]
    assert list((tmp_path / "state" / "sessions").glob("*.jsonl")) == []


async def test_session_takes_both_kinds_of_fault_out_when_it_is_left(stub, open_session, events):
    """Leaving heals what is in place, also when leaving is an exception."""
    down = ProxyDownFault("down", stub.admin_url, "pricing", 30 * S)
    assert isinstance(down, Nemesis)

    async def run():
        async with open_session() as session:
            await session.inject(toxic(stub))
            await session.inject(down)
            assert not stub.enabled
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run()
    assert stub.enabled
    assert not stub.toxics
    assert steps(events, "down")[-1] == "verified"


async def test_session_leaves_no_process_and_no_file_open(stub, open_session):
    """The guardian has ended and every descriptor is closed when the session is left."""

    def descriptors():
        return set(Path("/proc/self/fd").iterdir())

    async with open_session():
        pass
    before = descriptors()
    async with open_session() as session:
        await session.inject(toxic(stub))
        guardian = session.guardian_pid
    with pytest.raises(ProcessLookupError):
        os.kill(guardian, 0)
    assert len(descriptors()) <= len(before)


async def test_session_contacts_nobody_outside_its_blast_radius(stub, open_session, events):
    """A refused control address is not even read from; nothing is journaled."""
    fault = ToxicFault("far", "http://192.0.2.1:8474", "pricing", ToxicSpec(type="latency"), S)
    async with open_session() as session:
        with pytest.raises(FaultRefused, match="allow"):
            await session.inject(fault)
        stub.upstream = "pricing.example:80"
        with pytest.raises(FaultRefused, match=r"pricing\.example"):
            await session.inject(toxic(stub))
        stub.upstream = stub.admin_url.removeprefix("http://")
        with pytest.raises(FaultRefused, match="control plane"):
            await session.inject(toxic(stub))
    assert writes(stub) == []
    assert events == []


async def test_session_bounds_simultaneous_faults(stub, open_session):
    """One more than allowed is refused; after a heal there is room again."""
    async with open_session(allow=BlastRadius(max_simultaneous=1)) as session:
        await session.inject(toxic(stub, "one"))
        with pytest.raises(FaultRefused, match="max_simultaneous"):
            await session.inject(toxic(stub, "two"))
        await session.heal("one")
        await session.inject(toxic(stub, "two"))
    assert not stub.toxics


async def test_session_never_takes_away_what_was_there_before(stub, open_session):
    """A toxic of the same name, or a proxy that is down already, belongs to somebody else."""
    stub.toxics["slow"] = {
        "name": "slow",
        "type": "latency",
        "stream": "downstream",
        "toxicity": 1.0,
        "attributes": {},
    }
    stub.enabled = False
    async with open_session() as session:
        with pytest.raises(FaultNotInjected, match="not ours"):
            await session.inject(toxic(stub))
        with pytest.raises(FaultNotInjected, match="not ours"):
            await session.inject(ProxyDownFault("down", stub.admin_url, "pricing", S))
        with pytest.raises(FaultNotInjected, match="no proxy"):
            await session.inject(ProxyDownFault("down", stub.admin_url, "other", S))
    assert set(stub.toxics) == {"slow"}
    assert not stub.enabled
    assert writes(stub) == []


async def test_session_refuses_a_fault_that_is_in_place(stub, open_session):
    """Two faults with one inverse could not be told apart when one is healed."""
    async with open_session() as session:
        await session.inject(toxic(stub))
        with pytest.raises(FaultRefused):
            await session.inject(toxic(stub))
        assert set(stub.toxics) == {"slow"}
        with pytest.raises(FaultError, match="no fault"):
            await session.heal("unheard-of")


async def test_session_injects_nothing_that_it_cannot_journal(stub, open_session):
    """A full disk at journal time: a clear error, and no request."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_session() as session:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            with pytest.raises(JournalError, match="nothing is injected"):
                await session.inject(toxic(stub))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert writes(stub) == []
        await session.inject(toxic(stub))
    assert not stub.toxics


async def test_session_heals_although_the_disk_is_full(stub, open_session, tmp_path):
    """A tombstone that cannot be written keeps nothing in place; the next sweep repeats the healing, harmlessly."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_session() as session:
        await session.inject(toxic(stub))
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
        try:
            assert await session.heal_all() == []
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not stub.toxics
    assert [(fault.fault_id, fault.clean) for fault in sweep(tmp_path / "state")] == [("slow", True)]


async def test_session_undoes_a_request_whose_fate_is_unknown(stub, open_session, events):
    """A cancelled injection whose request is carried out later leaves nothing behind."""
    stub.create_delay_s = 0.5
    async with open_session() as session:
        injecting = asyncio.create_task(session.inject(toxic(stub)))
        await asyncio.sleep(0.25)
        injecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await injecting
        assert await session.heal_all() == []
    await asyncio.sleep(0.6)
    assert ("POST", "/proxies/pricing/toxics") in writes(stub)
    assert not stub.toxics
    assert steps(events) == ["journaled", "armed", "healed", "verified"]


async def test_session_heals_a_request_that_was_under_way_when_the_guardian_died(stub, open_session):
    """Healing waits for the request's answer: what it overtook would come back."""
    stub.create_delay_s = 1.2
    async with open_session() as session:
        injecting = asyncio.create_task(session.inject(toxic(stub)))
        await asyncio.sleep(0.4)
        os.kill(session.guardian_pid, signal.SIGKILL)
        with pytest.raises(GuardianLost):
            await injecting
        assert not stub.toxics
    assert not stub.toxics


async def test_session_survives_a_listener_that_raises(stub, tmp_path):
    """Reporting is not allowed to get in the way of healing."""

    def on_event(event):
        raise ZeroDivisionError(event.step)

    session = FaultSession(state_dir=tmp_path, target="t", allow=BlastRadius(), on_event=on_event)
    async with session:
        await session.inject(toxic(stub))
    assert not stub.toxics


async def test_session_says_what_it_could_not_verify_and_heals_it_later(
    stub, open_session, monkeypatch, events
):
    """A frozen admin API: named as unhealed, still armed, and gone once the API answers."""
    monkeypatch.setattr("faults.live._GIVE_UP_NS", S)
    async with open_session() as session:
        await session.inject(toxic(stub))
        stub.frozen.set()
        with pytest.raises(FaultUnhealed):
            await session.heal("slow")
        assert await session.heal_all() == ["slow"]
        stub.frozen.clear()
    assert not stub.toxics
    assert steps(events)[-3:] == ["unhealed", "healed", "verified"]


async def test_session_does_not_start_on_a_target_with_a_fault_left(stub, open_session, tmp_path):
    """What a dead session left, and a sweep could not undo, would spoil every measurement."""
    folder = tmp_path / "state" / "sessions"
    folder.mkdir(parents=True)
    undo = {"kind": "later.kind", "args": {}}
    records = [
        {"v": 1, "kind": "session", "session": "old", "target": stub.admin_url},
        {"v": 1, "kind": "intent", "ticket": 1, "fault_id": "odd", "undo": undo, "deadline_ns": 1},
    ]
    (folder / "old.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(TargetBusy, match="odd"):
        async with open_session():
            pass
    assert [intent.fault_id for intent in live_intents(read_journal(folder / "old.jsonl"))] == ["odd"]


async def test_session_without_a_place_for_its_journal_does_not_start(stub, tmp_path):
    """No state directory, no session; the target's lock is free again."""
    (tmp_path / "file").write_text("")
    session = FaultSession(
        state_dir=tmp_path / "file", target="t", allow=BlastRadius(), on_event=lambda _: None
    )
    with pytest.raises(JournalError):
        async with session:
            pass


async def test_session_finds_its_own_package_whatever_the_working_directory_holds(
    stub, open_session, tmp_path, monkeypatch
):
    """A user's folder named `faults` must not become the guardian."""
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "__init__.py").write_text("raise SystemExit('not the one')")
    monkeypatch.chdir(tmp_path)
    async with open_session() as session:
        await session.inject(toxic(stub))
    assert not stub.toxics
