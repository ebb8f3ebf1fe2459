"""Stand-ins for all that the interpreter joins: a stack, load workers and a fault session that do as a test tells them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from run_sample import PLAN, bins

from resilience.lab.system import Instance, ProxyPoint, System
from resilience.plan import load_text
from resilience.run import interpreter
from resilience.run.ending import Ending
from resilience.run.interpreter import RunOptions, run_plan
from resilience.run.record import RunReader
from resilience.run.stop import Stop

SYSTEM = System(
    "embedded",
    "http://127.0.0.1:1",
    {"db": ProxyPoint("db", "http://127.0.0.1:2", "db", "127.0.0.1:3", "127.0.0.1:4")},
)
Script = Callable[[], Any]


@dataclass
class World:
    """What happens at which step (`at`): a script that raises, waits or stops the run. `done` is what happened."""

    folder: Path
    at: dict[str, Script] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    heard: list[dict[str, Any]] = field(default_factory=list)
    stop: Stop = field(default_factory=Stop)

    async def step(self, name: str) -> None:
        """Note a step and do what the test wants there."""
        self.done.append(name)
        result = self.at.get(name, lambda: None)()
        if asyncio.iscoroutine(result):
            await result

    def listen(self, event: dict[str, Any]) -> None:
        """The run's listener."""
        self.heard.append(event)
        self.at.get(f"listen {event['kind']} {event.get('state', '')}".strip(), lambda: None)()
        self.at.get("listen", lambda: None)()

    async def run(self) -> Ending:
        """The whole run, against the stand-ins."""
        options = RunOptions(self.folder, self.folder / "state", seed=1, run_id="r", command="a run")
        loaded = load_text(PLAN, source="plan.yaml", environment={})
        async with asyncio.timeout(20):
            return await run_plan(loaded, Stack(self), options, stop=self.stop, listen=self.listen)

    def signalled(self) -> None:
        """As the command does on SIGINT."""
        self.stop.request(Ending("interrupted", "stopped by SIGINT", signal=2))

    async def hang_and_signal(self) -> None:
        """A step that would take for ever, and a signal while it does."""
        asyncio.get_running_loop().call_later(0.01, self.signalled)
        await asyncio.sleep(60)

    @property
    def ended(self) -> dict[str, Any]:
        """The record's last line."""
        lines = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        assert lines[-1]["kind"] == "run"
        assert lines[-1]["state"] == "ended"
        assert list(RunReader(self.folder).events()) == lines
        return lines[-1]


@dataclass
class Stack:
    """A stack without a system."""

    world: World

    async def up(self) -> System:
        """As told."""
        await self.world.step("up")
        return SYSTEM

    async def down(self) -> None:
        """As told."""
        await self.world.step("down")

    async def instances(self) -> tuple[Instance, ...]:
        """None."""
        return ()

    def describe(self) -> str:
        """One line."""
        return "a stand-in"


class Engine:
    """Load workers that are none: one second of load is reported, and nothing is left to drain."""

    world: World

    def __init__(self, *_: Any, on_message: Callable[[dict[str, Any]], None], **__: Any) -> None:
        self._on_message = on_message
        self._aborted = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.step("workers gone")

    async def prepare(self) -> None:
        """As told."""
        await self.world.step("prepare")

    async def start(self, _: int) -> None:
        """Report one second."""
        self._on_message(bins(0))
        await self.world.step("start")

    async def finish(self, _: float) -> None:
        """As told; "hang" waits until it is aborted."""
        await self.world.step("finish")
        if "hang" in self.world.at:
            await self._aborted.wait()
        self._on_message({"kind": "log", "text": "the last message"})

    async def abort(self) -> None:
        """Let `finish` return."""
        await self.world.step("abort")
        self._aborted.set()


class Session:
    """A fault session without faults."""

    world: World

    def __init__(self, **_: Any) -> None:
        pass

    async def __aenter__(self) -> Self:
        await self.world.step("session")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.step("session closed")

    async def inject(self, _: Any) -> None:
        """As told."""
        await self.world.step("inject")

    async def heal(self, _: str) -> None:
        """As told."""
        await self.world.step("heal")

    async def heal_all(self) -> list[str]:
        """As told."""
        await self.world.step("heal all")
        return []


def stand_in(monkeypatch: Any, world: World) -> None:
    """Put the stand-ins in place, and let time pass at once."""
    Engine.world = Session.world = world

    async def at_once(_: int) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(interpreter, "LoadEngine", Engine)
    monkeypatch.setattr(interpreter, "FaultSession", Session)
    monkeypatch.setattr(interpreter, "sleep_until", at_once)
    monkeypatch.setattr(interpreter, "TICK_S", 0.01)
    monkeypatch.setattr(interpreter, "describe_environment", lambda **run: dict(run))
