"""Every way out of a run: it heals, takes the stack down exactly once, and the record says how it ended."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import interpreter_world
import pytest
from interpreter_world import World, stand_in

from faults.errors import FaultNotInjected, FaultUnhealed, GuardianLost, JournalError, TargetBusy
from resilience.lab.system import StackError
from resilience.load.engine import EngineError
from resilience.run import interpreter
from resilience.run.abort import AbortWatch
from resilience.run.record import RecordError, RunReader, RunRecorder

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A run in which everything goes well, until the test says otherwise."""
    made = World(tmp_path / "run")
    stand_in(monkeypatch, made)
    return made


def raising(error: BaseException) -> Any:
    """A script that raises."""

    def script() -> None:
        raise error

    return script


def wound_up(world: World) -> None:
    """Healed before the stack went down, and the stack went down once, last of all."""
    assert world.done.count("down") == 1, world.done
    assert world.done[-1] == "down", world.done
    if "inject" in world.done:
        assert world.done.index("heal all") > world.done.index("inject")


async def test_run_without_trouble_is_completed(world: World) -> None:
    """The steps in their order, and the record's first and last line."""
    ending = await world.run()
    assert ending.reason == "completed"
    order = ["up", "session", "prepare", "start", "inject", "heal", "heal all", "finish"]
    assert world.done == [*order, "workers gone", "session closed", "down"]
    assert world.ended["reason"] == "completed"
    assert [e["state"] for e in world.heard if e["kind"] == "stack"] == ["starting", "up", "stopping", "down"]


async def test_machine_is_described_once_and_the_system_added_when_it_is_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment of the start stays what it was: a second description would be of a machine that already works."""
    written: list[dict[str, Any]] = []
    asked = itertools.count()
    monkeypatch.setattr(
        interpreter, "describe_environment", lambda **run: {**run, "started": f"look {next(asked)}"}
    )
    monkeypatch.setattr(
        RunRecorder,
        "json",
        lambda _self, name, data: written.append(dict(data)) if name == "environment.json" else None,
    )
    assert (await world.run()).reason == "completed"
    before, after = written
    assert before["started"] == after["started"] == "look 0"
    assert "system" not in before
    assert after["system"]["base_url"].startswith("http")
    assert before.items() <= after.items()


@pytest.mark.parametrize("error", [RuntimeError("boom"), BrokenPipeError(), SystemExit(1)])
async def test_listener_that_raises_is_not_asked_again(world: World, error: BaseException) -> None:
    """A closed pipe neither stops the run nor changes its ending."""
    world.at["listen"] = raising(error)
    ending = await world.run()
    assert ending.reason == "completed"
    assert len(world.heard) == 1
    wound_up(world)
    assert world.ended["reason"] == "completed"


async def test_listener_that_raises_while_stopping_does_not_keep_the_stack_up(world: World) -> None:
    """The last moment in which a pipe may close."""
    world.at["listen stack stopping"] = raising(BrokenPipeError())
    assert (await world.run()).reason == "completed"
    wound_up(world)


@needs_full
async def test_full_disk_that_is_met_when_closing_ends_the_run(world: World) -> None:
    """All events fit into a buffer until the end: the ending is not lost, and is not "completed"."""
    world.folder.mkdir()
    (world.folder / "events.jsonl").symlink_to(FULL)
    ending = await world.run()
    assert ending.reason == "record_failed"
    assert "events.jsonl cannot be written" in ending.detail
    wound_up(world)


@needs_full
async def test_full_disk_for_samples_is_said_in_the_record(world: World) -> None:
    """What can still be written says why the rest is missing."""
    world.at["up"] = lambda: (world.folder / "samples" / "bins.jsonl").symlink_to(FULL)
    ending = await world.run()
    assert ending.reason == "record_failed"
    wound_up(world)
    assert "bins.jsonl cannot be written" in world.ended["detail"]


@needs_full
async def test_full_disk_does_not_hide_a_signal(world: World) -> None:
    """What came first stays, so that the exit code is the signal's."""
    world.folder.mkdir()
    (world.folder / "events.jsonl").symlink_to(FULL)
    world.at["up"] = world.hang_and_signal
    ending = await world.run()
    assert (ending.reason, ending.signal) == ("interrupted", 2)
    wound_up(world)


async def test_folder_that_cannot_take_the_plan_starts_nothing(world: World) -> None:
    """The only error that is raised: there is no record to put it in."""
    world.folder.mkdir()
    (world.folder / "plan.yaml.partial").mkdir()
    with pytest.raises(RecordError, match=r"plan\.yaml cannot be written"):
        await world.run()
    assert world.done == []


@pytest.mark.parametrize("step", ["up", "prepare"])
async def test_stop_is_heeded_while_the_set_up_takes_its_time(world: World, step: str) -> None:
    """A minute of connecting, or of starting a stack, is not waited for."""
    world.at[step] = world.hang_and_signal
    ending = await world.run()
    assert (ending.reason, ending.signal) == ("interrupted", 2)
    assert "start" not in world.done
    wound_up(world)
    assert world.ended["signal"] == 2


async def test_stop_is_heeded_while_the_load_drains(world: World) -> None:
    """The workers are told to abort, and their last messages still arrive."""
    world.at["hang"] = lambda: None
    world.at["finish"] = lambda: asyncio.get_running_loop().call_later(0.01, world.signalled)
    ending = await world.run()
    assert ending.reason == "interrupted"
    assert "abort" in world.done
    assert world.heard[-3]["text"] == "the last message"
    wound_up(world)


async def test_run_whose_system_never_came_up_can_be_repeated(world: World) -> None:
    """When it began, with which seed and by which command is written down before the system is asked for."""
    world.at["up"] = raising(StackError("port 5432 is in use"))
    assert (await world.run()).reason == "setup_failed"
    environment = RunReader(world.folder).environment()
    assert (environment["command"], environment["seed"], environment["run_id"]) == ("a run", 1, "r")


@pytest.mark.parametrize(
    ("step", "error", "reason"),
    [
        ("up", StackError("port 5432 is in use"), "setup_failed"),
        ("up", KeyError("pid"), "crashed"),
        ("session", TargetBusy("held by another"), "setup_failed"),
        ("session", GuardianLost("gone"), "setup_failed"),
        ("session", JournalError("no space"), "setup_failed"),
        ("prepare", EngineError("no workers"), "setup_failed"),
        ("start", ZeroDivisionError("boom"), "crashed"),
        ("inject", FaultNotInjected("refused"), "setup_failed"),
        ("inject", TypeError("boom"), "crashed"),
        ("heal", FaultUnhealed("still there"), "unhealed"),
        ("session closed", FaultUnhealed("still there"), "unhealed"),
        ("down", StackError("container left"), "crashed"),
        ("down", OSError("boom"), "crashed"),
    ],
)
async def test_error_at_any_step_is_in_the_ending_after_winding_up(
    world: World, step: str, error: Exception, reason: str
) -> None:
    """Never raised, never a pass: the record holds reason and message."""
    world.at[step] = raising(error)
    ending = await world.run()
    assert ending.reason == reason
    assert str(error) in ending.detail
    if reason == "crashed":
        assert type(error).__name__ in ending.detail
    wound_up(world)
    assert (world.ended["reason"], world.ended["detail"]) == (reason, ending.detail)


async def test_what_came_first_stays_the_ending(world: World) -> None:
    """A stack that did not go down is in the log of a run that was stopped for another reason."""
    world.at["up"] = world.hang_and_signal
    world.at["down"] = raising(StackError("container left"))
    assert (await world.run()).reason == "interrupted"
    assert any("container left" in event.get("text", "") for event in world.heard)
    wound_up(world)


@pytest.mark.parametrize("step", ["up", "prepare", "inject", "finish"])
async def test_cancelled_run_is_wound_up_and_recorded(world: World, step: str) -> None:
    """A test that is cancelled, or a loop that closes, leaves no stack and a record with an end."""
    running = asyncio.create_task(world.run())
    world.at[step] = lambda: running.cancel() and asyncio.sleep(60)
    with pytest.raises(asyncio.CancelledError):
        await running
    wound_up(world)
    assert (world.ended["reason"], world.ended["detail"]) == ("interrupted", "the run was cancelled")


async def test_watch_that_dies_ends_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else flushes and asks the abort conditions: without it the run must not go on."""
    monkeypatch.setattr(AbortWatch, "tripped", lambda *_: 1 // 0)
    world.at["hang"] = lambda: None
    ending = await world.run()
    assert (ending.reason, ending.detail) == (
        "crashed",
        "ZeroDivisionError: integer division or modulo by zero",
    )
    wound_up(world)
    assert world.ended["reason"] == "crashed"


async def test_record_and_ending_hold_no_password_of_an_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in what the stack says of itself nor in what is said of an address that does not answer."""
    address = "http://user:s3cret@127.0.0.1:1"
    monkeypatch.setattr(interpreter_world, "SYSTEM", replace(interpreter_world.SYSTEM, base_url=address))
    monkeypatch.setattr(interpreter_world.Stack, "describe", lambda _: f"external system at {address}")
    world.at["inject"] = raising(FaultNotInjected(f"{address} refused"))
    ending = await world.run()
    assert "127.0.0.1:1 refused" in ending.detail
    assert "s3cret" not in ending.detail
    assert "127.0.0.1:1" in (world.folder / "events.jsonl").read_text()
    assert not [path for path in world.folder.rglob("*") if path.is_file() and "s3cret" in path.read_text()]
