"""Golden runs of real breaker libraries on the real clock: they keep their dialects, and fail the ideal where known to.

Each library guards a local coroutine that turns ill and well again; what is recorded is what a caller and the
guarded function saw, nothing else: no events, no knowledge of the library's inside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation
from resilience.breaker.report import Verdict
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

pytestmark = pytest.mark.integration

WAIT_S = 0.3
FAILURES = 3


class Refused(Exception):  # noqa: N818 - what a breaker says, not what went wrong
    """The breaker did not let the call pass."""


class Ill(Exception):  # noqa: N818 - as above
    """The dependency failed."""


Guard = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


async def purgatory_guard() -> Guard:
    """The library's context manager."""
    purgatory = pytest.importorskip("purgatory")
    from purgatory.domain.model import OpenedState

    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=WAIT_S)

    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        try:
            async with await factory.get_breaker("b"):
                await call()
        except OpenedState as refusal:
            raise Refused from refusal

    return guard


async def aiobreaker_guard() -> Guard:
    """`call_async`; the call that trips it comes out as the library's own error."""
    aiobreaker = pytest.importorskip("aiobreaker")
    breaker = aiobreaker.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=WAIT_S))

    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await breaker.call_async(call)
        except aiobreaker.CircuitBreakerError as error:
            raise (Ill if isinstance(error.__cause__, Ill) else Refused) from error

    return guard


async def circuitbreaker_guard() -> Guard:
    """The decorator."""
    circuitbreaker = pytest.importorskip("circuitbreaker")
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=WAIT_S, name="b")

    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        try:
            if breaker.opened:
                raise Refused
            await breaker.call_async(call)
        except circuitbreaker.CircuitBreakerError as error:
            raise Refused from error

    return guard


async def hyx_guard() -> Guard:
    """The manager behind the decorator."""
    pytest.importorskip("hyx")
    from hyx.circuitbreaker.exceptions import BreakerFailing
    from hyx.circuitbreaker.managers import ConsecutiveCircuitBreaker

    breaker = ConsecutiveCircuitBreaker((Ill,), FAILURES, WAIT_S, 1)

    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        try:
            await breaker(call)
        except BreakerFailing as refusal:
            raise Refused from refusal

    return guard


MAKERS = {
    "purgatory": purgatory_guard,
    "aiobreaker": aiobreaker_guard,
    "circuitbreaker": circuitbreaker_guard,
    "hyx": hyx_guard,
}


@dataclass
class Recorder:
    """Calls the guard and writes down what happened."""

    guard: Guard
    history: list[Observation] = field(default_factory=list)
    ill: bool = False
    took_s: float = 0.03

    async def call(self, number: int) -> None:
        """One call, its arrival, its outcome."""
        arrived: list[int] = []
        done: list[int] = []

        async def guarded() -> None:
            arrived.append(time.monotonic_ns())
            try:
                await asyncio.sleep(self.took_s)
                if self.ill:
                    raise Ill
            finally:
                done.append(time.monotonic_ns())

        start = time.monotonic_ns()
        outcome = "ok"
        try:
            await self.guard(guarded)
        except Refused:
            outcome = "rejected"
        except Ill:
            outcome = "failure"
        now = time.monotonic_ns()
        end = Interval(done[0] if done else now, now)
        made = Call(
            "b", "i", str(number), Interval(start, start), end, outcome, fallback=outcome == "rejected"
        )
        self.history.append(made)
        if arrived:
            self.history.append(Arrival("b", "i", str(number), Interval(start, arrived[0]), end))


async def record(library: str) -> list[Observation]:
    """Two seconds: well, ill through two openings, well again."""
    recorder = Recorder(await MAKERS[library]())
    began = time.monotonic_ns()
    recorder.history.append(Boot("i", Interval(began, began), "x"))
    async with asyncio.TaskGroup() as calls:
        for number in range(220):
            recorder.ill = 40 <= number < 130
            calls.create_task(recorder.call(number))
            await asyncio.sleep(0.008)
    return recorder.history


@pytest.mark.parametrize("library", MAKERS)
async def test_breaker_library_keeps_its_dialect_and_fails_the_ideal(library: str) -> None:
    """Under its dialect nothing fails and the unbounded probes are declared; under strict they fail, with a witness."""
    history = await record(library)
    spec = BreakerSpec.from_mapping(
        {"dialect": library, "failures": FAILURES, "wait_ms": WAIT_S * 1000, "permitted": 1}
    )
    (declared,) = verify(history, spec).instances
    assert [r for r in declared.rules.values() if r.verdict is Verdict.FAIL] == []
    assert declared.rules["R8"].verdict is Verdict.DECLARED
    assert declared.healthy_path, declared.states
    report = verify(history, spec, strict=True)
    assert report.verdict() == "fail"
    failing = [r for r in report.instances[0].rules.values() if r.verdict is Verdict.FAIL]
    assert "R8" in [rule.rule for rule in failing]
    assert all(rule.witness is not None and rule.witness.lines for rule in failing)
