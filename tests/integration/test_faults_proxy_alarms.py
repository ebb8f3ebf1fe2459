"""Alarms ring once, in order, never early; with the kernel's timer and with the loop's."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest
import uvloop

from faults.proxy import alarms as module
from faults.proxy.alarms import TURN_NS, Alarms

pytestmark = pytest.mark.integration

MS_NS = 1_000_000


@pytest.fixture(params=["kernel", "loop"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use one kind of timer."""
    if request.param == "loop":
        monkeypatch.setattr(module, "_timer", module._LoopTimer)
    elif sys.platform != "linux":
        pytest.skip("there is no timerfd here")


async def scenario() -> None:
    """Set in disorder, some cancelled, some past, some from within an alarm."""
    alarms = Alarms()
    rung: list[tuple[str, int]] = []
    start_ns = time.monotonic_ns()

    def ring(name: str) -> None:
        rung.append((name, time.monotonic_ns()))

    def ring_and_set() -> None:
        ring("c")
        alarms.set(time.monotonic_ns() + 2 * MS_NS, lambda: ring("e"))

    alarms.set(start_ns + 20 * MS_NS, ring_and_set)
    alarms.set(start_ns + 5 * MS_NS, lambda: ring("b"))
    alarms.set(start_ns - MS_NS, lambda: ring("a"))
    cancelled = alarms.set(start_ns + 7 * MS_NS, lambda: ring("never"))
    alarms.set(start_ns + 21 * MS_NS, lambda: ring("d"))
    cancelled.cancel()
    async with asyncio.timeout(5):
        while len(rung) < 5:  # noqa: ASYNC110 - alarms are what is tested
            await asyncio.sleep(0.005)
    assert [name for name, _ in rung] == ["a", "b", "c", "d", "e"]
    for (_, at_ns), due_ms in zip(rung, (0, 5, 20, 21, 22), strict=True):
        assert at_ns >= start_ns + due_ms * MS_NS
    alarms.set(time.monotonic_ns() + MS_NS, lambda: ring("never"))
    alarms.close()
    await asyncio.sleep(0.01)
    assert len(rung) == 5


def descriptors() -> int:
    """Count what is open."""
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.exists() else 0


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_alarms_ring_once_in_order_and_never_early(runner):
    """On both loops; nothing is left open."""
    runner(asyncio.sleep(0))  # a loop's first run opens what stays
    before = descriptors()
    runner(scenario())
    assert descriptors() <= before


async def crowd() -> None:
    """Alarms that are all due at once, each busy for a whole turn; somebody else wants a turn all the while."""
    alarms = Alarms()
    loop = asyncio.get_running_loop()
    order: list[str] = []

    def busy() -> None:
        until_ns = time.monotonic_ns() + TURN_NS
        while time.monotonic_ns() < until_ns:
            pass
        order.append("alarm")

    def other() -> None:
        order.append("other")
        if order.count("alarm") < 5:
            loop.call_soon(other)

    due_ns = time.monotonic_ns()
    for _ in range(5):
        alarms.set(due_ns, busy)
    loop.call_soon(other)
    async with asyncio.timeout(5):
        while order.count("alarm") < 5:  # noqa: ASYNC110 - alarms are what is tested
            await asyncio.sleep(0)
    alarms.close()
    assert "alarm alarm" not in " ".join(order)


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_alarms_that_are_due_together_let_others_have_a_turn(loop_of):
    """However many ring, the loop goes round between them."""
    with asyncio.Runner(loop_factory=loop_of) as runner:
        runner.run(crowd())
