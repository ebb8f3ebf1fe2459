"""Breakers of real libraries in this process, each as one awaitable guard, and a dependency that turns ill and well again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

FAILURES = 3
WAIT_S = 0.3
TOOK_S = 0.03


class Ill(Exception):  # noqa: N818 - what the dependency is, not what went wrong
    """The dependency failed."""


Guard = Callable[[Callable[[], Awaitable[None]]], Awaitable[Any]]


def purgatory_breaker() -> tuple[Any, Guard]:
    """A factory, asked for its breaker at each call, as its documentation has it."""
    purgatory = pytest.importorskip("purgatory")
    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=FAILURES, default_ttl=WAIT_S)

    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        async with await factory.get_breaker("b"):
            await call()

    return factory, guard


def aiobreaker_breaker() -> tuple[Any, Guard]:
    """The decorator's way in: `call_async`."""
    aiobreaker = pytest.importorskip("aiobreaker")
    breaker = aiobreaker.CircuitBreaker(fail_max=FAILURES, timeout_duration=timedelta(seconds=WAIT_S))
    # Looked up at each call: observing puts a method of its own in its place.
    return breaker, lambda call: breaker.call_async(call)  # noqa: PLW0108 - see above


def circuitbreaker_breaker() -> tuple[Any, Guard]:
    """A decorated function."""
    circuitbreaker = pytest.importorskip("circuitbreaker")
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=WAIT_S, name="b")

    @breaker
    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        await call()

    return breaker, guard


def hyx_breaker() -> tuple[Any, Guard]:
    """The context manager."""
    hyx = pytest.importorskip("hyx.circuitbreaker")
    breaker = hyx.consecutive_breaker(
        exceptions=Ill, failure_threshold=FAILURES, recovery_time_secs=WAIT_S, recovery_threshold=1
    )

    async def guard(call: Callable[[], Awaitable[None]]) -> None:
        async with breaker:
            await call()

    return breaker, guard


MAKERS: dict[str, Callable[[], tuple[Any, Guard]]] = {
    "purgatory": purgatory_breaker,
    "aiobreaker": aiobreaker_breaker,
    "circuitbreaker": circuitbreaker_breaker,
    "hyx": hyx_breaker,
}


async def spike(guard: Guard, *, calls: int = 220, ill: range = range(40, 130), gap_s: float = 0.008) -> None:
    """Dense calls through a guard, each long enough to overlap the next few; from `ill` on they fail.

    The dependency is well again once `ill` is over *and* nothing is under way, which is so only while the breaker is open: else a
    probe that fails and one that succeeds could overlap, and a late success would close what half-open was to close.
    """
    under_way = 0
    well = False

    async def one(number: int) -> None:
        async def function() -> None:
            nonlocal under_way
            fails = number >= ill.start and not well
            under_way += 1
            try:
                await asyncio.sleep(TOOK_S)
            finally:
                under_way -= 1
            if fails:
                raise Ill

        with contextlib.suppress(Exception):  # refusals and failures alike are the observer's to tell
            await guard(function)

    async with asyncio.TaskGroup() as group:
        for number in range(calls):
            well = well or (number >= ill.stop and not under_way)
            group.create_task(one(number))
            await asyncio.sleep(gap_s)


def threads_through(
    call: Callable[[Callable[[], None]], Any], *, threads: int = 4, for_s: float = 1.6
) -> None:
    """The same for a breaker of threads: well, ill from a quarter to half of the time, well again."""
    from concurrent.futures import ThreadPoolExecutor

    began = time.monotonic()

    def function() -> None:
        time.sleep(0.004)
        if 0.25 < (time.monotonic() - began) / for_s < 0.5:
            raise Ill

    def one() -> None:
        while time.monotonic() - began < for_s:
            try:
                call(function)
            except Exception:  # noqa: BLE001 - as above
                time.sleep(0.002)

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(one) for _ in range(threads)]:
            future.result()
