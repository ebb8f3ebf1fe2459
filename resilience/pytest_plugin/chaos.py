"""`chaos`: the verbs of one test. Waits are on events; judging is afterwards, against what was recorded."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Final

from faults.model import ProxySpec
from resilience.breaker.observation import Fault, Observation
from resilience.breaker.observers.in_process.recorder import seconds_clock
from resilience.breaker.observers.in_process.registry import NotABreaker, attach
from resilience.breaker.spec import BreakerSpec
from resilience.lab.system import System
from resilience.load.model import Stream
from resilience.pytest_plugin.errors import ChaosSetupError, InvalidRun
from resilience.pytest_plugin.faulting import FaultHandle, Maker, Steering, wait_all
from resilience.pytest_plugin.following import TargetBreaker
from resilience.pytest_plugin.judging import JudgedBreaker, Run
from resilience.pytest_plugin.layers import (
    Proxy,
    admin_url_of,
    create_proxy,
    delete_proxy,
    find_proxy,
    mapped_port_of,
    proxy_of,
    reset,
)
from resilience.pytest_plugin.loading import LoadHandle, LoadVerbs
from resilience.pytest_plugin.session import ChaosSession
from resilience.pytest_plugin.specs import Spec, Written, read_spec
from resilience.pytest_plugin.targets import (
    DEFAULT_ENGINE,
    ContainerFaults,
    ProcessFaults,
    container_named,
    processes_of,
)
from resilience.pytest_plugin.timeline import draw_timeline
from resilience.pytest_plugin.toxics import Toxic
from resilience.pytest_plugin.watching import Watched

MAX_DURATION_S = 60.0
IN_PROCESS: Final = MappingProxyType({"eps_ms": 5, "delta_ms": 0.2})
"""Tolerances for breakers that are observed from inside: stamps of one process, in the order in which they were taken."""


@dataclass(slots=True, eq=False)
class ProxyBlock:
    """A proxy for as long as a `with` block lasts; one that was there before stays."""

    _chaos: Chaos
    _name: str
    _upstream: str | None
    _listen: str
    _admin_url: str
    _mapped: Callable[[int], int]

    def __enter__(self) -> Proxy:
        """The proxy."""
        if self._upstream is None:
            spec = self._chaos.session.portal.call(find_proxy(self._admin_url, self._name))
        else:
            spec = self._chaos.make_proxy(self._admin_url, self._name, self._upstream, self._listen)
        return proxy_of(spec, self._admin_url, self._mapped)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Healed, and gone if it was made here."""
        if self._upstream is not None:
            self._chaos.drop_proxy(self._admin_url, self._name)


class Chaos:
    """One test's faults, loads and breakers."""

    def __init__(
        self, session: ChaosSession, target: Any = None, *, max_duration_s: float = MAX_DURATION_S
    ) -> None:
        self.session = session
        self.seed = session.options.seed
        self.max_duration_s = max_duration_s
        self._wanted = target
        self._run_id = secrets.token_hex(4)
        self._own: list[tuple[str, str]] = []
        self._proxies = 0
        self._faults: list[FaultHandle] = []
        self._loads: list[LoadHandle] = []
        self._watched: dict[str, Watched] = {}
        self._objects: list[tuple[Any, Watched, Any]] = []
        self._followed: dict[str, TargetBreaker] = {}
        self._judged: dict[str, JudgedBreaker] = {}
        self.load = LoadVerbs(self._load, self._base_url, max_duration_s, self.seed)

    @property
    def target(self) -> System:
        """The system under test, as the fixture `chaos_target` says; brought up at the first asking if it is the lab."""
        return self.session.target(self._wanted)

    def proxy(
        self,
        upstream: str | None = None,
        *,
        name: str | None = None,
        listen: str = "127.0.0.1:0",
        layer: Any = None,
    ) -> ProxyBlock:
        """A toxic proxy before `upstream` ("host:port") for a client of the test's own; gone after the block.

        It stands in the embedded server, or in `layer`: an admin URL, a toxiproxy-python client, a container. Without an
        upstream it is the proxy `name` that the layer has already, which stays.
        """
        if upstream is None and name is None:
            raise ChaosSetupError(
                "say which upstream the proxy is to stand before, or the name of one that is there"
            )
        admin_url = self.session.admin_url() if layer is None else admin_url_of(layer)
        self._proxies += 1
        called = name or f"proxy-{self._run_id}-{self._proxies}"
        return ProxyBlock(self, called, upstream, listen, admin_url, mapped_port_of(layer))

    def fault(
        self, where: Any, *toxics: Toxic, name: str | None = None, max_duration: float | None = None
    ) -> FaultHandle:
        """A fault on a proxy: one of `chaos.proxy`, one of the target by name, or a toxiproxy-python proxy.

        A context manager: in place inside the block, out and verified after it. The guardian takes it out after `max_duration`
        seconds (the marker's, or a minute) whatever happens to the test.
        """
        if not toxics:
            raise TypeError("a fault is at least one toxic, such as latency(2000) or down()")
        limit_s = self.max_duration_s if max_duration is None else max_duration
        handle = self.session.faults.make(self._proxy(where), toxics, name, limit_s)
        self._faults.append(handle)
        return handle

    def container(self, where: Any, *, engine: str = DEFAULT_ENGINE) -> ContainerFaults:
        """Faults on a container, by its name, its id, or as an object: `with chaos.container("shop-db-1").pause(): ...`."""
        return ContainerFaults(self._make_on, container_named(where), engine)

    def process(self, where: Any) -> ProcessFaults:
        """Faults on a process, by its name in the target, its pid, or as an object: `with chaos.process("redis").restart(): ...`."""
        return processes_of(self._make_on, where, lambda: self.target, self.session.portal.call)

    def watch(
        self,
        breaker: Any,
        name: str | None = None,
        *,
        spec: Mapping[str, Any] | BreakerSpec | None = None,
        clock: Callable[[], float] | None = None,
        **custom: Any,
    ) -> Watched:
        """Watch a breaker object of this process until the test ends; its behaviour stays what it is.

        Objects of pybreaker, aiobreaker, purgatory, circuitbreaker and hyx are known, and their specification is read from them
        unless `spec` is given. Any other: `method="call"`, `refuses=(MyOpenError,)`, and `spec`. `clock` (seconds) for a breaker
        that runs on a clock of its own.
        """
        for subject, watched, _ in self._objects:
            if subject is breaker:
                return watched
        called = name or str(getattr(breaker, "name", None) or f"breaker-{len(self._watched) + 1}")
        if called in self._watched:
            raise ChaosSetupError(f"a breaker named {called!r} is watched already: give another name")
        written: Written = Spec.of(breaker, called) if spec is None else spec
        if isinstance(written, Mapping):
            written = {**IN_PROCESS, **written}
        held_to = read_spec(written)
        ns = time.monotonic_ns if clock is None else seconds_clock(clock)
        try:
            observer = attach(breaker, called, clock=ns, **custom)
        except (NotABreaker, AttributeError, TypeError) as error:
            raise ChaosSetupError(f"{called}: {error}") from error
        # Faults are on the machine's clock: on any other they have no place.
        watched = Watched(called, observer, held_to, written, self._observed if clock is None else tuple)
        self._watched[called] = watched
        self._objects.append((breaker, watched, observer))
        return watched

    def breaker(
        self, name: str, spec: Mapping[str, Any] | BreakerSpec | None = None, *, proxy: str | None = None
    ) -> TargetBreaker:
        """Follow a breaker of the target from now on. `proxy` names the proxy that it stands before, if not like itself.

        Without `spec` it is the lab's own, which the lab tells.
        """
        system = self.target
        if spec is None:
            spec = json.loads(system.facts.get("breaker_spec", "null"))
            if spec is None:
                raise ChaosSetupError(
                    f"the target does not tell what {name!r} is configured to do: give spec="
                )
        found = TargetBreaker(name, read_spec(spec), spec, system, self.session.portal, proxy)
        self._followed[name] = found
        return found

    @contextlib.contextmanager
    def expect_opens(self, breaker: Watched | TargetBreaker, *, within: float) -> Iterator[None]:
        """What the block does opens the breaker, at the latest `within` seconds after its end.

        AssertionError if it does not open after the block's beginning; ChaosSetupError if it is open before it.
        """
        mark = breaker.mark("open")
        yield
        breaker.wait_for("open", within=within, after=mark)

    @contextlib.contextmanager
    def expect_recovers(self, breaker: Watched | TargetBreaker, *, within: float) -> Iterator[None]:
        """After the block the breaker is closed again, at the latest `within` seconds after its end.

        AssertionError if it does not close after the block's beginning; ChaosSetupError if it is closed before it.
        """
        mark = breaker.mark("closed")
        yield
        breaker.wait_for("closed", within=within, after=mark)

    def judge(self) -> Run:
        """End the loads and look at all that was recorded. InvalidRun if a generator did not do what it was asked to."""
        self._stop_loads()
        for load in self._loads:
            metrics = load.metrics()
            if not metrics.valid:
                raise InvalidRun(f"{load.name}: {'; '.join(metrics.validity.reasons[:2])}")
        self._judged = {
            name: JudgedBreaker(
                name, each.spec, each.written, each.history(self._loads, self._run_id, self._observed())
            )
            for name, each in self._followed.items()
        }
        return Run(self._judged, self._loads, self._watched.__getitem__)

    def timeline(self) -> str:
        """What happened so far, as text."""
        histories: dict[str, Sequence[Observation]] = {n: each.history for n, each in self._watched.items()}
        histories |= {name: each.history for name, each in self._judged.items()}
        for name, followed in self._followed.items():
            if name not in histories:
                histories[name] = followed.history(self._loads, self._run_id, ())
        broken = [v for each in self._watched.values() for v in each.violations]
        broken += [v for one in self._judged.values() for v in one.violations]
        return draw_timeline(histories, self._observed(), broken)

    @property
    def watched(self) -> Mapping[str, Watched]:
        """What is watched, by name."""
        return self._watched

    @property
    def judged(self) -> Mapping[str, JudgedBreaker]:
        """What was judged, by name."""
        return self._judged

    def close(self) -> list[str]:
        """Heal, verify, stop load, reset; give the faults that the test had left in place, and what went wrong, in words."""
        left = [
            f"the fault {fault.name} was left in place (healed now)" for fault in self._faults if fault.end()
        ]
        left += wait_all(fault.heal for fault in self._faults)
        left += wait_all([self._stop_loads])
        for each in self._followed.values():
            each.stop()
        for _, _, observer in reversed(self._objects):
            observer.detach()
        left += wait_all([lambda each=each: self.drop_proxy(*each) for each in list(self._own)])  # type: ignore[misc]
        if self.session.server_started:
            self.session.portal.call(reset(self.session.admin_url()))
        return left

    def make_proxy(self, admin_url: str, name: str, upstream: str, listen: str) -> ProxySpec:
        """A new proxy that is this test's own."""
        spec = self.session.portal.call(create_proxy(admin_url, name, upstream, listen))
        self._own.append((admin_url, name))
        return spec

    def drop_proxy(self, admin_url: str, name: str) -> None:
        """Heal whatever is on a proxy of this test's own, and take it away."""
        for fault in self._faults:
            proxy = fault.on.proxy
            if proxy is not None and (proxy.admin_url, proxy.name) == (admin_url, name):
                fault.heal()
        self.session.portal.call(delete_proxy(admin_url, name))
        self._own.remove((admin_url, name))

    def _make_on(
        self,
        on: Steering,
        made: tuple[Maker, ...],
        what: str,
        *,
        name: str | None = None,
        max_duration: float | None = None,
    ) -> FaultHandle:
        limit_s = self.max_duration_s if max_duration is None else max_duration
        handle = self.session.faults.make_on(on, made, what, name, limit_s)
        self._faults.append(handle)
        return handle

    def _observed(self) -> list[Fault]:
        return [found for fault in self._faults if (found := fault.observed()) is not None]

    def _stop_loads(self) -> None:
        for load in self._loads:
            load.stop()

    def _load(self, name: str, stream: Stream, workers: int) -> LoadHandle:
        if any(load.name == name for load in self._loads):
            raise ChaosSetupError(f"a load named {name!r} is there already: give another name")
        handle = LoadHandle(name, stream, self._run_id, workers, self.session.portal)
        self._loads.append(handle)
        return handle

    def _base_url(self, _path: str) -> str:
        return self.target.base_url

    def _proxy(self, where: Any) -> Proxy:
        if isinstance(where, Proxy):
            return where
        if isinstance(where, str):
            points = self.target.proxies
            if where not in points:
                raise ChaosSetupError(
                    f"the target has no proxy {where!r}; it has {', '.join(points) or 'none'}"
                )
            point = points[where]
            host, _, port = point.listen.rpartition(":")
            return Proxy(point.proxy, point.admin_url, host, int(port or 0), point.upstream)
        if all(hasattr(where, each) for each in ("name", "listen", "upstream")):
            return proxy_of(where, admin_url_of(where))
        raise ChaosSetupError(f"a {type(where).__qualname__} is no proxy that a fault could be put on")
