"""A breaker of the target, in other processes: followed by its events, polls and the wire, and judged with the load's calls.

Events and polls come from the instances' admin ports, the wire from the tap before the dependency; a target that offers
neither of the first two can be judged (from the wire) but not waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from resilience.breaker.observation import Fault, Observation
from resilience.breaker.observers.poll import PollObserver
from resilience.breaker.observers.sse import SseObserver
from resilience.breaker.observers.tap import TapObserver
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.wire import from_record
from resilience.lab.system import System
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.loading import LoadHandle
from resilience.pytest_plugin.portal import Portal
from resilience.pytest_plugin.specs import Written

_POLL_S = 0.1


class TargetBreaker:
    """One breaker of the target, in all its instances."""

    def __init__(
        self,
        name: str,
        spec: BreakerSpec,
        written: Written,
        system: System,
        portal: Portal,
        proxy: str | None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.written = written
        self._portal = portal
        self._told = threading.Condition()
        self._lines: list[dict[str, Any]] = []
        self._states: dict[str, str] = {}
        self._entered: list[
            tuple[str, bool]
        ] = []  # state, and whether another one is known to have been before
        self._seen = 0
        self._tap: TapObserver | None = None
        self._running: list[Future[Any]] = []
        instances = [instance for instance in system.instances if instance.admin_url]
        self._heard = tuple(instance.name for instance in instances)
        for instance in instances:
            assert instance.admin_url is not None  # filtered above
            self._follow(SseObserver(instance.admin_url, instance.name))
            self._follow(PollObserver(instance.admin_url, instance.name, interval_s=_POLL_S))
        point = system.proxies.get(proxy or name)
        if point is not None and point.tap_url and point.tap:
            self._tap = TapObserver(point.tap_url, point.tap, proxy=point.name)
            self._follow(self._tap)
        if not self._running:
            raise ChaosSetupError(
                f"nothing tells of the breaker {name!r}: the target has neither an instance with an admin_url nor a tap "
                f"before {proxy or name!r}"
            )

    def mark(self, state: str) -> int:
        """Now, for a `wait_for` of what comes `after`; ChaosSetupError if `state` is what a wait would find already."""
        self._require_heard()
        with self._told:
            if self._all_closed() if state == "closed" else state in self._states.values():
                raise ChaosSetupError(
                    f"{self.name} is {state} before the block that is to bring it there: {self._now()}"
                )
            return len(self._entered)

    def wait_for(self, state: str, *, within: float, after: int | None = None) -> None:
        """Wait until an instance is (or has been since the last wait) in `state`; for "closed": all that tell anything.

        With `after`, a `mark`, one must have entered the state since then. AssertionError after `within` seconds.
        """
        self._require_heard()
        wanted = state.replace("-", "_")
        until_s = time.monotonic() + within
        with self._told:
            while not (self._reached(wanted) if after is None else self._changed(wanted, after)):
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    raise AssertionError(f"{self.name} was not {wanted} within {within:g} s: {self._now()}")
                self._told.wait(left_s)

    def history(self, loads: Iterable[LoadHandle], run_id: str, faults: Iterable[Fault]) -> list[Observation]:
        """What was observed of it, with the calls of the loads."""
        if self._tap is not None:
            self._portal.call(self._tap.drain(self._emit))
        with self._told:
            lines = list(self._lines)
        proxies = {line.get("proxy") for line in lines if line["kind"] == "wire"}
        return from_record(
            breaker=self.name,
            run_id=run_id,
            calls=[m for load in loads for m in load.messages if m.get("kind") == "call"],
            wire=[line for line in lines if line["kind"] == "wire"],
            transitions=[line for line in lines if line["kind"] == "breaker.transition"],
            polls=[line for line in lines if line["kind"] == "breaker.state"],
            totals=[line for line in lines if line["kind"] == "breaker.total"],
            faults=list(faults),
            gaps=[g for g in lines if g["kind"] == "gap" and g.get("proxy") in {None, *proxies}],
            timeout_ns=self.spec.timeout_ns,
        )

    def stop(self) -> None:
        """Observe no more."""
        running, self._running = self._running, []
        for future in running:
            future.cancel()

    def _follow(self, observer: Any) -> None:
        run: Callable[..., Any] = observer.run
        self._running.append(self._portal.submit(run(self._emit)))

    def _emit(self, line: Mapping[str, Any]) -> None:
        if line.get("breaker") not in {None, self.name}:
            return
        with self._told:
            self._lines.append(dict(line))
            state = {"breaker.transition": "to", "breaker.state": "state"}.get(str(line["kind"]))
            if state is not None:
                instance, now = str(line["instance"]), str(line[state])
                if self._states.get(instance) != now:
                    # The first poll of an instance tells a state, not that it was entered.
                    self._entered.append((now, state == "to" or instance in self._states))
                self._states[instance] = now
            self._told.notify_all()

    def _reached(self, state: str) -> bool:
        if state == "closed":
            found = self._all_closed()
            if found:
                self._seen = len(self._entered)
            return found
        for index, (entered, _) in enumerate(self._entered[self._seen :], start=self._seen + 1):
            if entered == state:
                self._seen = index
                return True
        return state in self._states.values()

    def _changed(self, state: str, after: int) -> bool:
        entered = (state, True) in self._entered[after:]
        return entered and (state != "closed" or self._all_closed())

    def _all_closed(self) -> bool:
        return len(self._states) == len(self._heard) and set(self._states.values()) == {"closed"}

    def _now(self) -> str:
        return ", ".join(f"{who} {what}" for who, what in sorted(self._states.items())) or "nothing heard"

    def _require_heard(self) -> None:
        if not self._heard:
            raise ChaosSetupError(
                f"no instance tells the state of {self.name}: it can be judged, but not waited for"
            )
