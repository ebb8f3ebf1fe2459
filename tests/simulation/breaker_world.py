"""A world on virtual time: callers, a breaker that may be wrong, a dependency that may be ill, and witnesses to it all.

Nothing sleeps. `World.run` plays a schedule of calls through a `ModelBreaker` and gives the observations that a tap,
callers, an event stream and polls would have made, with the jitter that a busy machine adds. Which of them are
handed to the verifier is the test's choice: that is how "caught by which evidence" is measured.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter as Tally
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from breaker_model import MS, Model, ModelBreaker, S

from resilience.breaker.history import (
    Arrival,
    Boot,
    Call,
    Counter,
    Interval,
    Observation,
    State,
    Transition,
)
from resilience.breaker.observation import COUNTERS

__all__ = ["MS", "Answer", "Model", "ModelBreaker", "S", "World", "only"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the dependency does with a call: after `ns`, "ok" or "failure"; `cancel_ns`: the caller gives up."""

    ns: int
    kind: str = "ok"
    cancel_ns: int | None = None


@dataclass(slots=True)
class World:
    """One breaker instance and its surroundings; see `run`."""

    model: Model
    dependency: Callable[[int, int], Answer]  # (call number, arrival ns) -> answer
    calls: Sequence[int]  # when each call is sent
    timeout_ns: int | None = None
    seed: int = 0
    hop_ns: tuple[int, int] = (0, 0)  # caller to breaker, breaker to tap, breaker back to caller
    stamp_ns: int = 0  # greatest lateness of an event's stamp
    poll_ns: int | None = None
    instance: str = "i1"
    slow_rejection_ns: int = 0
    drop_events: frozenset[int] = frozenset()
    double_events: frozenset[int] = frozenset()
    late_events: dict[int, int] = field(
        default_factory=dict
    )  # number of the event -> ns that its stamp is late
    by_hand: tuple[tuple[int, str], ...] = ()  # (when, state): somebody switches it
    fallback_missing: bool = False
    totals: bool = False  # the metrics show how many calls were turned away
    counts: str | None = (
        None  # they show all that a breaker counts, of these calls ("own") or, for all that is known, others ("others")
    )
    total_wrong: bool = False
    stalls: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # of the breaker, tap or caller
    log: list[Observation] = field(default_factory=list)

    def run(self) -> list[Observation]:  # noqa: C901, PLR0912 - one loop over what happens
        """All observations, with intervals as wide as the jitter made them."""
        rng = random.Random(self.seed)
        events: list[tuple[str, str, int]] = []
        breaker = ModelBreaker(self.model, lambda a, b, t: events.append((a, b, t)))
        queue: list[tuple[int, int, str, int]] = []
        hop = lambda: rng.randint(*self.hop_ns)  # noqa: E731 - three uses of one line
        sent: dict[int, int] = {}
        for number, at in enumerate(self.calls):
            sent[number] = at
            heapq.heappush(queue, (at + hop(), number, "ask", number))
        if self.poll_ns:
            last = max(self.calls, default=0)
            for k in range(last // self.poll_ns + 2):
                heapq.heappush(queue, (k * self.poll_ns, -1, "poll", k))
        order = len(self.calls)
        permits: dict[int, tuple[int, int, Answer, int]] = {}
        hands = sorted(self.by_hand)
        manual: set[int] = set()
        counted: Tally[str] = Tally()
        self.log.append(Boot(self.instance, Interval(0, 0), "b1"))
        while queue:
            now, _, what, number = heapq.heappop(queue)
            if (later := self._stalled("breaker", now)) > now:
                heapq.heappush(queue, (later, order, what, number))  # the whole process stands still
                order += 1
                continue
            while hands and hands[0][0] <= now:
                at, state = hands.pop(0)
                breaker.tick(at)
                if breaker.state != state:
                    breaker.by_hand(state, at)
                    manual.add(len(events) - 1)
            breaker.tick(now)
            order += 1
            if what == "poll":
                read = Interval(now, now + 2 * MS)
                self.log.append(State("b", self.instance, self._gauge(breaker), read, "b1"))
                if self.totals:
                    turned_away = sum(1 for e in self.log if isinstance(e, Call) and e.outcome == "rejected")
                    value = turned_away // 2 if self.total_wrong else turned_away
                    self.log.append(Counter("b", self.instance, "rejected", value, read, "b1"))
                elif self.counts is not None:
                    counted["opened"] = sum(after == "open" for _, after, _ in events)
                    for name in COUNTERS:
                        total = Counter("b", self.instance, name, counted[name], read, "b1")
                        self.log.append(replace(total, others=self.counts == "others"))
            elif what == "ask":
                permit = breaker.admit(now)
                counted["rejected" if permit is None else "admitted"] += 1
                if permit is None:
                    self._rejected(number, sent[number], now + hop() + self.slow_rejection_ns)
                    continue
                arrived = now + hop()
                answer = self._bounded(self.dependency(number, arrived))
                permits[number] = (permit, arrived, answer, now)
                if answer.ns < 1 << 60:
                    heapq.heappush(queue, (max(arrived, now) + answer.ns, order, "end", number))
                else:
                    self._running(number, sent[number], arrived)
            else:
                permit, arrived, answer, let_in = permits.pop(number)
                breaker.outcome(permit, answer.kind, sent[number], now, let_in)
                breaker.flush(now)
                counted[self._counted_as(answer.kind)] += 1
                self._ended(number, sent[number], arrived, answer.kind, now, now + hop())
        self._report(events, manual, rng)
        return self.log

    def _stalled(self, who: str, at: int) -> int:
        """When somebody who may be standing still gets to see what happens at `at`: after the last of stalls that overlap."""
        for begin, until in sorted(self.stalls.get(who, [])):
            if begin <= at < until:
                at = until
        return at

    def _counted_as(self, kind: str) -> str:
        """The total that an outcome adds to, or none of them."""
        by_choice = {
            "cancelled": self.model.cancelled_as,
            "excluded": self.model.excluded_as,
            "ok": "success",
        }
        return {"success": "succeeded", "failure": "failed"}.get(by_choice.get(kind, "failure"), "neither")

    def _gauge(self, breaker: ModelBreaker) -> str:
        return "closed" if breaker.bug("gauge_wrong") else breaker.state

    def _bounded(self, answer: Answer) -> Answer:
        if answer.cancel_ns is not None and answer.cancel_ns < answer.ns:
            return Answer(answer.cancel_ns, "cancelled")
        if self.timeout_ns is not None and answer.ns > self.timeout_ns:
            return Answer(self.timeout_ns, "timeout")
        return answer

    def _call(self, number: int, sent: int, end: Interval | None, outcome: str, **more: object) -> None:
        call = Call("b", self.instance, str(number), Interval(sent, sent), end, outcome)
        self.log.append(replace(call, **more))

    def _rejected(self, number: int, sent: int, end: int) -> None:
        end = self._stalled("caller", end)
        self._call(number, sent, Interval(end, end), "rejected", fallback=not self.fallback_missing)

    def _running(self, number: int, sent: int, arrived: int) -> None:
        seen = Interval(arrived, self._stalled("tap", arrived))
        self.log.append(Arrival("b", self.instance, str(number), seen))
        self._call(number, sent, None, "unknown")

    def _ended(self, number: int, sent: int, arrived: int, kind: str, told: int, end: int) -> None:
        end = self._stalled("caller", end)
        done = Interval(told, end)
        seen = Interval(arrived, self._stalled("tap", arrived))
        self.log.append(Arrival("b", self.instance, str(number), seen, done))
        self._call(number, sent, Interval(end, end), kind, finish=done, fallback=kind != "ok")

    def _report(self, events: list[tuple[str, str, int]], manual: set[int], rng: random.Random) -> None:
        for seq, (before, after, at) in enumerate(events):
            if seq in self.drop_events:
                continue
            stamp = at + rng.randint(0, self.stamp_ns) + self.late_events.get(seq, 0)
            event = Transition("b", self.instance, before, after, Interval(stamp, stamp), "b1")
            event = replace(event, manual=seq in manual)
            self.log.extend([event] * (2 if seq in self.double_events else 1))


def only(history: Sequence[Observation], *kinds: type) -> list[Observation]:
    """The part of a history that some kinds of evidence give."""
    return [entry for entry in history if isinstance(entry, (Boot, *kinds))]
