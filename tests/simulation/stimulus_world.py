"""Plays the active stimulus against a model breaker on virtual time, and keeps what callers and tap would have recorded."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from breaker_world import MS, Model, ModelBreaker

from resilience.breaker.history import Arrival, Boot, Call, Interval, Observation, Transition
from resilience.load.stimulus import CLOSE_EVERY_NS
from resilience.load.stimulus_actions import Action, Ended, Now, Part, Rest, Script, Seen, Send

HOP_NS = MS // 2


@dataclass(slots=True)
class Stage:
    """One breaker, its dependency and its caller; `play` runs a script to its end."""

    model: Model
    timeout_ns: int | None = None
    cancels: bool = True  # the service gives up its own call when its caller goes away
    seed: int = 0
    jitter_ns: int = 0
    dies_after: int | None = None  # so many parts: from then on nothing of the service answers
    standstills: int = 0  # so often the machine stands still just as the end of a wait comes near
    now: int = 0
    log: list[Observation] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    sent: int = 0
    _rng: random.Random = field(default_factory=random.Random)
    _events: list[tuple[str, str, int]] = field(default_factory=list)
    _breaker: ModelBreaker = field(init=False)
    _ends: dict[int, tuple[int, Seen]] = field(default_factory=dict)
    _due: list[tuple[int, int, int, str, int, int]] = field(default_factory=list)
    _near: bool = False

    def play(self, script: Script[None]) -> list[Observation]:
        """The observations of the whole script."""
        self._rng = random.Random(self.seed)
        self._breaker = ModelBreaker(self.model, lambda a, b, t: self._events.append((a, b, t)))
        self.log.append(Boot("i1", Interval(0, 0), "b1"))
        resume: Any = None
        while True:
            try:
                action = script.send(resume)
            except StopIteration:
                break
            resume = self._do(action)
        self._until(self.now + 10**10)
        for before, after, at in self._events:
            self.log.append(Transition("b", "i1", before, after, Interval(at, at), "b1"))
        return self.log

    def _do(self, action: Action) -> Any:
        match action:
            case Send():
                self._until(self.now + self._rng.randint(0, self.jitter_ns))
                return self._send(action)
            case Ended(number):
                while number not in self._ends or self._ends[number][0] > self.now:
                    self._until(self._ends[number][0] if number in self._ends else self._due[0][0])
                return self._ends[number][1]
            case Rest(for_ns):
                self._until(self.now + for_ns + self._standstill(for_ns))
            case Now():
                return self.now
            case Part():
                self.parts.append(action)
        return None

    def _standstill(self, for_ns: int) -> int:
        came_near, self._near = for_ns == CLOSE_EVERY_NS and not self._near, for_ns == CLOSE_EVERY_NS
        if not came_near or not self.standstills:
            return 0
        self.standstills -= 1
        return 100 * MS

    def _until(self, at: int) -> None:
        """Let every outcome that is due reach the breaker."""
        while self._due and self._due[0][0] <= at:
            told, number, permit, kind, began, arrived = heapq.heappop(self._due)
            self._breaker.tick(told)
            self._breaker.outcome(permit, kind, began, told)
            self._breaker.flush(told)
            self._finish(number, kind, began, arrived, told)
        self.now = max(self.now, at)

    def _send(self, send: Send) -> int:
        number, began = self.sent, self.now
        self.sent += 1
        if self.dies_after is not None and len(self.parts) > self.dies_after:
            # No connection, no call: the driver writes none down.
            self._ends[number] = began + HOP_NS, Seen(arrived=False, outcome="failed")
            return number
        self._breaker.tick(began)
        permit = self._breaker.admit(began + HOP_NS // 2)
        if permit is None:
            end = Interval(began + HOP_NS, began + HOP_NS)
            self.log.append(
                Call("b", "i1", str(number), Interval(began, began), end, "rejected", fallback=True)
            )
            self._ends[number] = began + HOP_NS, Seen(arrived=False, outcome="rejected")
            return number
        lasts, kind = send.answer.after_ns, "failure" if send.answer.kind == "hang" else send.answer.kind
        if self.timeout_ns is not None and lasts > self.timeout_ns:
            lasts, kind = self.timeout_ns, "timeout"
        if send.give_up_ns is not None and send.give_up_ns < lasts:
            self._ends[number] = began + send.give_up_ns, Seen(arrived=True, outcome="gone")
            if self.cancels:
                lasts, kind = send.give_up_ns, "cancelled"
        arrived = began + HOP_NS
        heapq.heappush(self._due, (arrived + lasts, number, permit, kind, began, arrived))
        return number

    def _finish(self, number: int, kind: str, began: int, arrived: int, told: int) -> None:
        end = told + HOP_NS
        finish = Interval(told, end)
        self.log.append(Arrival("b", "i1", str(number), Interval(arrived, arrived), finish))
        self.log.append(
            Call(
                "b",
                "i1",
                str(number),
                Interval(began, began),
                Interval(end, end),
                kind,
                fallback=kind != "ok",
                finish=finish,
            )
        )
        outcome = "ok" if kind == "ok" else "failed"
        self._ends.setdefault(number, (end, Seen(arrived=True, outcome=outcome)))
