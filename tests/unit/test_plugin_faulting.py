"""Faults of a test whose injection is interrupted: nothing may go in behind the back of the test's end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from faults.errors import FaultError
from faults.nemesis import Nemesis
from resilience.pytest_plugin.achaos import AsyncChaos
from resilience.pytest_plugin.chaos import Chaos
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.layers import Proxy
from resilience.pytest_plugin.session import ChaosOptions, ChaosSession
from resilience.pytest_plugin.toxics import latency

PROXY = Proxy("p", "http://127.0.0.1:1", "127.0.0.1", 2, "127.0.0.1:3")
PATIENCE_S = 20


class SlowSession:
    """A fault session of which each injection is under way until the test lets it go on."""

    def __init__(self) -> None:
        self.live: set[str] = set()
        self.asked = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.interrupts = False

    async def inject(self, nemesis: Nemesis) -> None:
        """In place once it may go on."""
        self.asked += 1
        self.begun.set()
        if self.interrupts:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(5000):  # meanwhile the loop serves whoever heals too early
                await asyncio.sleep(0)
        else:
            await asyncio.to_thread(self.go_on.wait, PATIENCE_S)
        self.live.add(nemesis.fault_id)

    async def heal(self, fault_id: str) -> None:
        """As the real one: what never went in is not known here."""
        if fault_id not in self.live:
            raise FaultError(f"no fault {fault_id!r} was injected in this session")
        self.live.remove(fault_id)

    async def __aexit__(self, *_: object) -> None:
        assert not self.live


class TellingLock:
    """A re-entrant lock that tells when somebody has to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.wanted = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self.wanted.set()
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.fixture
def slow() -> SlowSession:
    """The session of the one proxy server."""
    return SlowSession()


@pytest.fixture
def chaos(slow: SlowSession) -> Iterator[Chaos]:
    """The verbs, with no server, guardian or proxy behind them."""
    session = ChaosSession(ChaosOptions(seed=7))
    session.faults._sessions[PROXY.admin_url] = slow  # type: ignore[assignment]
    yield Chaos(session)
    assert session.close() == []


async def test_cancelled_injection_stops_when_its_test_ends(chaos: Chaos, slow: SlowSession) -> None:
    """Cancelled in the first of two toxics: the end of the test waits for that one and heals it; the second never goes in."""
    fault: Any = AsyncChaos(chaos).fault(PROXY, latency(1), latency(2))
    lock = fault.handle._lock = TellingLock()
    entering = asyncio.create_task(fault.__aenter__())
    assert await asyncio.to_thread(slow.begun.wait, PATIENCE_S)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    closing = asyncio.create_task(asyncio.to_thread(chaos.close))
    assert await asyncio.to_thread(lock.wanted.wait, PATIENCE_S)
    slow.go_on.set()
    assert await closing == []  # withdrawn by the injection itself
    assert (slow.live, slow.asked, fault.active) == (set(), 1, False)


def test_ended_test_puts_nothing_in(chaos: Chaos, slow: SlowSession) -> None:
    """A thread that comes late is refused, and what it would have put in is never asked for."""
    fault = chaos.fault(PROXY, latency(1))
    assert chaos.close() == []
    with pytest.raises(ChaosSetupError, match="its test has ended"):
        fault.inject()
    assert slow.asked == 0


def test_fault_in_place_at_the_end_is_healed_and_said(chaos: Chaos, slow: SlowSession) -> None:
    """Forgotten, not interrupted: the test is told."""
    slow.go_on.set()
    fault = chaos.fault(PROXY, latency(1), latency(2), name="slow")
    fault.inject()
    assert len(slow.live) == 2
    assert chaos.close() == ["the fault slow was left in place (healed now)"]
    assert (slow.live, fault.active) == (set(), False)


def test_interrupted_injection_is_awaited_before_healing(chaos: Chaos, slow: SlowSession) -> None:
    """Ctrl-C while the engine is at it: healing too early would find nothing, and the fault would go in after it."""
    slow.interrupts = True
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        fault = chaos.fault(PROXY, latency(1), name="slow")
        with pytest.raises(KeyboardInterrupt):
            fault.inject()
    finally:
        signal.signal(signal.SIGINT, before)
    assert chaos.close() == ["the fault slow was left in place (healed now)"]
    assert (slow.live, slow.asked) == (set(), 1)
