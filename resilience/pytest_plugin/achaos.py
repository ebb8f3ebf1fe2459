"""`achaos`: the same verbs, awaited. The engine runs in its own thread, so any event loop and any asyncio mode will do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

from resilience.breaker.spec import BreakerSpec
from resilience.pytest_plugin.chaos import Chaos, ProxyBlock
from resilience.pytest_plugin.judging import Run
from resilience.pytest_plugin.toxics import Toxic
from resilience.pytest_plugin.watching import Drive, Watched

T = TypeVar("T")
_WAITING = frozenset({"wait", "wait_for", "wait_steady", "inject", "heal", "stop"})


class Awaited(Generic[T]):
    """A handle whose waiting verbs are awaited, and whose `with` is `async with`; everything else is the handle's own."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.handle, name)
        if name not in _WAITING:
            return found

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(found, *args, **kwargs)

        return awaited

    def __str__(self) -> str:
        return str(self.handle)

    async def __aenter__(self) -> Any:
        """Enter it, beside the test's loop."""
        entered = await asyncio.to_thread(self.handle.__enter__)
        return self if entered is self.handle else entered

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it. Not cut short by the test's cancellation: healing goes on to its end."""
        await asyncio.shield(asyncio.to_thread(self.handle.__exit__, kind, error, trace))


class AsyncWatched(Awaited[Watched]):
    """A watched breaker whose calls are awaited."""

    async def drive(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Drive:
        """`Watched.drive` for coroutine functions, on the test's own loop; `concurrently=5` for five calls at a time."""
        found: Drive = await self.handle.drive_async(function, *args, **kwargs)
        return found


class AsyncLoadVerbs:
    """`achaos.load`."""

    def __init__(self, chaos: Chaos) -> None:
        self._load = chaos.load

    def http(self, url: str, **options: Any) -> Awaited[Any]:
        """As `chaos.load.http`."""
        return Awaited(self._load.http(url, **options))

    def request(self, request: Any, **options: Any) -> Awaited[Any]:
        """As `chaos.load.request`."""
        return Awaited(self._load.request(request, **options))


class AsyncTarget:
    """A container or a process: each of its verbs gives a fault that is awaited."""

    def __init__(self, faults: Any) -> None:
        self._faults = faults

    def __getattr__(self, verb: str) -> Any:
        made = getattr(self._faults, verb)
        return lambda *words, **options: Awaited(made(*words, **options))


class AsyncChaos:
    """One test's faults, loads and breakers, awaited."""

    def __init__(self, chaos: Chaos) -> None:
        self.sync = chaos
        self.load = AsyncLoadVerbs(chaos)

    @property
    def seed(self) -> int:
        """The session's seed."""
        return self.sync.seed

    def proxy(self, upstream: str | None = None, **options: Any) -> Awaited[ProxyBlock]:
        """As `chaos.proxy`: `async with`."""
        return Awaited(self.sync.proxy(upstream, **options))

    def fault(self, where: Any, *toxics: Toxic, **options: Any) -> Awaited[Any]:
        """As `chaos.fault`: `async with`, or awaited `inject()` and `heal()`."""
        return Awaited(self.sync.fault(getattr(where, "handle", where), *toxics, **options))

    def container(self, where: Any, **options: Any) -> AsyncTarget:
        """As `chaos.container`; what its verbs give is used with `async with`."""
        return AsyncTarget(self.sync.container(where, **options))

    def process(self, where: Any) -> AsyncTarget:
        """As `chaos.process`; likewise."""
        return AsyncTarget(self.sync.process(where))

    def watch(self, breaker: Any, name: str | None = None, **options: Any) -> AsyncWatched:
        """As `chaos.watch`; `drive` and `wait_for` of what it gives are awaited."""
        return AsyncWatched(self.sync.watch(breaker, name, **options))

    async def breaker(
        self, name: str, spec: Mapping[str, Any] | BreakerSpec | None = None, *, proxy: str | None = None
    ) -> Awaited[Any]:
        """As `chaos.breaker`."""
        return Awaited(await asyncio.to_thread(self.sync.breaker, name, spec, proxy=proxy))

    def expect_opens(self, breaker: Awaited[Any], *, within: float) -> Awaited[Any]:
        """As `chaos.expect_opens`: `async with`."""
        return Awaited(self.sync.expect_opens(breaker.handle, within=within))

    def expect_recovers(self, breaker: Awaited[Any], *, within: float) -> Awaited[Any]:
        """As `chaos.expect_recovers`: `async with`."""
        return Awaited(self.sync.expect_recovers(breaker.handle, within=within))

    async def judge(self) -> Run:
        """As `chaos.judge`."""
        return await asyncio.to_thread(self.sync.judge)
