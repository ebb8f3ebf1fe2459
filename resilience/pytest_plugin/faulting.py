"""Faults of tests, through fault sessions: journaled, guarded, bounded, verified to be gone.

One session (and one guardian process) a proxy server, opened at its first fault and kept as long as the tests run. What
a test put in is told to its `Timeline`; what it leaves behind is taken out at its end, and said.

A fault is put in or taken out by one thread at a time: an injection whose awaiting test was cancelled goes on in its thread, and
healing waits for it. Once a test has ended its faults are over, and what is still on its way stops at its next toxic.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from faults.blast_radius import BlastRadius, address_of_url
from faults.errors import FaultError
from faults.model import ToxicSpec
from faults.nemesis import FaultEvent, Nemesis, ProxyDownFault, ToxicFault
from faults.session import FaultSession
from faults.toxiproxy import ToxiproxyError
from resilience.breaker.observation import Fault, Interval
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.layers import Proxy
from resilience.pytest_plugin.portal import Portal
from resilience.pytest_plugin.toxics import DOWN, Toxic

log = logging.getLogger("chaos_spike.pytest")

_LONGEST_NS = 3600 * 10**9


Maker = Callable[[str, int], Nemesis]
"""A fault of an id and a maximum duration in ns. It may raise FaultError where its target is not there any more."""


@dataclass(frozen=True, slots=True)
class Steering:
    """What a fault is on: faults with one `key` share a session, whose bounds are `radius`. `proxy` where it is on one."""

    key: str
    radius: BlastRadius
    proxy: Proxy | None = None


@dataclass(slots=True, eq=False)
class FaultHandle:
    """One fault of a test: a context manager that heals; `inject` and `heal` for those that need them apart."""

    name: str
    on: Steering
    made: tuple[Maker, ...]
    max_duration_s: float
    _faults: SessionFaults
    _ids: list[str] = field(default_factory=list)
    on_ns: tuple[int, int] | None = None
    off_ns: tuple[int, int] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _over: bool = False
    pending: Future[None] | None = None

    def __enter__(self) -> Self:
        """Put it in."""
        self.inject()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take it out and see that it is gone."""
        self.heal()

    @property
    def active(self) -> bool:
        """Whether any of it may be in place."""
        return bool(self._ids)

    def inject(self) -> None:
        """Put it in; return when the proxy shows it. Raises ChaosSetupError, with nothing left in place."""
        with self._lock:
            if self._ids:
                raise ChaosSetupError(f"the fault {self.name} is in place already")
            if self.on_ns is not None:
                raise ChaosSetupError(
                    f"the fault {self.name} is over; a second one is another `chaos.fault(...)`"
                )
            self._faults.inject(self)

    def heal(self) -> None:
        """Take it out and verify; nothing to take out is fine. Raises ChaosSetupError where it cannot be verified."""
        with self._lock:
            self._faults.heal(self)

    def end(self) -> bool:
        """Its test has ended: nothing more of it goes in. Whether any of it is in place, once nothing is on its way."""
        self._over = True  # before the lock: an injection that holds it is to see this
        with self._lock:
            return bool(self._ids)

    def require_open(self) -> None:
        """ChaosSetupError if its test has ended."""
        if self._over:
            raise ChaosSetupError(f"the fault {self.name} is not put in: its test has ended")

    def observed(self) -> Fault | None:
        """As the verifier knows faults; None for one that never was in place."""
        if self.on_ns is None:
            return None
        return Fault(
            self.name, Interval(*self.on_ns), None if self.off_ns is None else Interval(*self.off_ns)
        )

    def __str__(self) -> str:
        return self.name


class SessionFaults:
    """All fault sessions of one test process. `inject` and `heal` are called with the handle's lock held."""

    def __init__(self, portal: Portal, state_dir: Path, allow: Iterable[str]) -> None:
        self._portal = portal
        self._state_dir = state_dir
        self._allow = frozenset(allow)
        self._sessions: dict[str, FaultSession] = {}
        self._opening = threading.Lock()
        self._numbers = itertools.count(1)
        self._handles: dict[str, FaultHandle] = {}

    def make(
        self, proxy: Proxy, toxics: tuple[Toxic, ...], name: str | None, max_duration_s: float
    ) -> FaultHandle:
        """A fault on a proxy that is not in place yet."""
        radius = BlastRadius(
            allow=self._allow,
            max_duration_ns=_LONGEST_NS,
            control_plane=frozenset({address_of_url(proxy.admin_url)}),
        )
        what = f"{proxy.name}-{'-'.join(toxic.type for toxic in toxics)}"
        makers = tuple(partial(self._on_proxy, proxy, toxic) for toxic in toxics)
        return self.make_on(Steering(proxy.admin_url, radius, proxy), makers, what, name, max_duration_s)

    def make_on(
        self, on: Steering, made: tuple[Maker, ...], what: str, name: str | None, max_duration_s: float
    ) -> FaultHandle:
        """A fault on anything that is not in place yet; called `what` and a number where the test gives it no name."""
        number = next(self._numbers)
        return FaultHandle(name or f"{what}-{number}", on, made, max_duration_s, self)

    def inject(self, handle: FaultHandle) -> None:
        """Put all toxics of a fault in, or none."""
        began_ns = time.monotonic_ns()
        try:
            handle.require_open()
            session = self._session(handle.on)
            for make in handle.made:
                handle.require_open()
                nemesis = make(f"{handle.name}#{next(self._numbers)}", round(handle.max_duration_s * 1e9))
                # Known before it is asked for: an interruption in the middle must find it.
                handle._ids.append(nemesis.fault_id)  # noqa: SLF001 - our own record of it
                self._handles[nemesis.fault_id] = handle
                # An exception that hits this thread here (Ctrl-C) does not end it: healing waits for it.
                handle.pending = self._portal.submit(session.inject(nemesis))
                handle.pending.result()
        except ChaosSetupError:
            self.heal(handle, quiet=True)
            raise
        except (FaultError, ToxiproxyError) as error:
            self.heal(handle, quiet=True)
            raise ChaosSetupError(f"the fault {handle.name} could not be put in: {error}") from error
        handle.on_ns = (began_ns, time.monotonic_ns())
        handle.off_ns = None

    def heal(self, handle: FaultHandle, *, quiet: bool = False) -> None:
        """Take all of a fault out. With `quiet`, what cannot be verified is logged and stays armed with the guardian."""
        session = self._sessions.get(handle.on.key)
        ids = handle._ids  # noqa: SLF001 - as above
        if session is None or not ids:
            return
        if handle.pending is not None:
            wait([handle.pending])
        began_ns = time.monotonic_ns()
        problems: list[str] = []
        for fault_id in reversed(list(ids)):
            try:
                self._portal.call(session.heal(fault_id))
            except FaultError as error:
                if "was injected in this session" not in str(error):
                    problems.append(str(error))
            ids.remove(fault_id)
        if handle.on_ns is not None and handle.off_ns is None:
            handle.off_ns = (began_ns, time.monotonic_ns())
        if problems and quiet:
            log.warning("%s", "; ".join(problems))
        elif problems:
            raise ChaosSetupError("; ".join(problems))

    def close(self) -> None:
        """Heal whatever is left and let the guardians go."""
        sessions, self._sessions = dict(self._sessions), {}
        for session in sessions.values():
            self._portal.call(session.__aexit__(None, None, None))

    def _session(self, on: Steering) -> FaultSession:
        with self._opening:
            session = self._sessions.get(on.key)
            if session is None:
                session = FaultSession(
                    state_dir=self._state_dir, target=on.key, allow=on.radius, on_event=self._on_event
                )
                self._portal.call(session.__aenter__())
                self._sessions[on.key] = session
            return session

    def _on_proxy(self, proxy: Proxy, toxic: Toxic, fault_id: str, limit_ns: int) -> Nemesis:
        if toxic.type == DOWN:
            return ProxyDownFault(fault_id, proxy.admin_url, proxy.name, limit_ns)
        name = f"chaos-{toxic.type}-{next(self._numbers)}"
        spec = ToxicSpec(toxic.type, name, toxic.stream, toxic.toxicity, dict(toxic.attributes))
        return ToxicFault(fault_id, proxy.admin_url, proxy.name, spec, limit_ns)

    def _on_event(self, event: FaultEvent) -> None:
        handle = self._handles.get(event.fault_id)
        if handle is not None and event.step == "expired" and handle.off_ns is None:
            # The guardian took it out: its maximum duration was over.
            handle.off_ns = event.at


def wait_all(work: Iterable[Callable[[], Any]]) -> list[str]:
    """Do everything, whatever fails; the failures in words."""
    problems: list[str] = []
    for each in work:
        try:
            each()
        except (ChaosSetupError, FaultError, ToxiproxyError, OSError, asyncio.CancelledError) as error:
            problems.append(f"{type(error).__name__}: {error}")
    return problems
