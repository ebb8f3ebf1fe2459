"""A world on virtual time: callers, a breaker that may be wrong, a dependency that may be ill, and witnesses to it all.

Nothing sleeps. `World.run` plays a schedule of calls through a `ModelBreaker` and gives the observations that a tap,
callers, an event stream and polls would have made, with the jitter that a busy machine adds. Which of them are
handed to the verifier is the test's choice: that is how "caught by which evidence" is measured.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from resilience.breaker.history import (
    Arrival,
    Boot,
    Call,
    Interval,
    Observation,
    State,
    Transition,
)

MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """A breaker's parameters, and the ways in which it may be wrong (every `bug` flag False or None: correct)."""

    failures: int = 3
    window: int = 0  # > 0: count window with `ratio` and `minimum`
    ratio: float = 0.5
    minimum: int = 0
    wait_ns: int = S
    backoff: float = 1.0
    permitted: int | None = 1
    successes: int = 1
    stale: str = "ignored"
    entry: str = "lazy"
    cancelled_as: str = "neutral"
    late_failure_restarts_wait: bool = False
    half_open_event: str = "entry"
    bugs: frozenset[str] = frozenset()


class ModelBreaker:
    """A consecutive or count-window breaker with lazy or timer entry; `bugs` switch single mistakes on."""

    def __init__(self, model: Model, emit: Callable[[str, str, int], None]) -> None:
        self.model = model
        self._emit = emit
        self.state = "closed"
        self.count = 0
        self.window: list[bool] = []
        self.opened_ns = 0
        self.wait_ns = model.wait_ns
        self.in_row = 0
        self.epoch = 0
        self.flying = 0
        self.good = 0
        self.pending_half_open: int | None = None
        self.last_start_ns = 0

    def bug(self, name: str) -> bool:
        """Whether this mistake is switched on."""
        return name in self.model.bugs

    def _to(self, state: str, now: int) -> None:
        before, self.state = self.state, state
        self.epoch += 1
        if state == "half_open":
            if not self.bug("successes_survive"):
                self.good = 0
            self.flying = 0
            if self.model.half_open_event == "probe_end":
                self.pending_half_open = now
                return
        self._emit(before, state, now)

    def flush(self, now: int) -> None:
        """A purgatory-like breaker reports half-open only when some call leaves it."""
        if self.pending_half_open is not None:
            self.pending_half_open = None
            self._emit("open", "half_open", now)

    def _open(self, now: int, *, fresh: bool) -> None:
        self.in_row = 1 if fresh else self.in_row + 1
        factor = self.model.backoff ** (self.in_row - 1)
        if self.bug("backoff_forgotten"):
            factor = 1.0
        wait = self.model.wait_ns * factor
        if self.bug("wait_short"):
            wait *= 0.8
        if self.bug("wait_long"):
            wait *= 1.3
        self.wait_ns = round(wait)
        self.opened_ns = self.last_start_ns if self.bug("wait_from_call_start") else now
        self._to("open", now)

    def tick(self, now: int) -> None:
        """Timers that have run out by now."""
        timed = self.model.entry == "timer" or self.bug("timer_entry")
        if self.state == "open" and timed and now > self.opened_ns + self.wait_ns:
            self._to("half_open", self.opened_ns + self.wait_ns)

    def admit(self, now: int) -> int | None:
        """The epoch of the permit, or None: rejected."""
        self.tick(now)
        if self.state == "open":
            if self.bug("leaks") and now - self.opened_ns > self.wait_ns // 2 and self.count != -1:
                self.count = -1
                return self.epoch
            if self.bug("rejection_restarts_wait"):
                over = now - self.opened_ns > self.wait_ns
                self.opened_ns = self.opened_ns if over else now
            if self.bug("never_half_opens") or now <= self.opened_ns + self.wait_ns:
                return None
            if self.bug("open_to_closed"):
                self.count = 0
                self._to("closed", now)
                return self.epoch
            self._to("half_open", now)
        if self.state == "half_open":
            cap = self.model.permitted
            if self.bug("one_probe_more") and cap is not None:
                cap += 1
            if self.bug("unlimited_probes"):
                cap = None
            if cap is not None and self.flying >= cap:
                return None
            self.flying += 1
        return self.epoch

    def outcome(self, permit: int, kind: str, started_ns: int, now: int) -> None:
        """kind: ok | failure | timeout | cancelled."""
        self.last_start_ns = started_ns
        verdict = {"ok": "success", "cancelled": self.model.cancelled_as}.get(kind, "failure")
        if self.bug("cancel_is_failure") and kind == "cancelled":
            verdict = "failure"
        if self.bug("cancel_is_success") and kind == "cancelled":
            verdict = "success"
        stale = permit != self.epoch
        if self.state == "half_open" and not stale:
            leak = self.bug("slot_leaks") or (self.bug("slot_leaks_on_cancel") and kind == "cancelled")
            self.flying -= 0 if leak else 1
        if stale and self.model.stale == "ignored" and not self._bad_stale(verdict):
            return
        if verdict == "neutral":
            return
        if self.state == "closed":
            self._closed(verdict, now)
        elif self.state == "half_open":
            self._half_open(verdict, now)
        elif verdict == "failure" and (
            self.model.late_failure_restarts_wait or self.bug("late_failure_restarts_wait")
        ):
            self.opened_ns = now
        elif verdict == "success" and self.bug("stale_success_closes"):
            self._close(now)

    def _bad_stale(self, verdict: str) -> bool:
        return (verdict == "success" and self.bug("stale_success_closes")) or (
            verdict == "failure"
            and (self.bug("stale_failure_reopens") or self.bug("late_failure_restarts_wait"))
        )

    def _closed(self, verdict: str, now: int) -> None:
        if self.bug("never_opens"):
            return
        if self.model.window:
            self.window.append(verdict == "failure")
            del self.window[: -self.model.window]
            need = 0 if self.bug("ignores_minimum") else self.model.minimum
            if len(self.window) >= max(need, 1) and sum(self.window) / len(self.window) >= self.model.ratio:
                self.window.clear()
                self._open(now, fresh=True)
            return
        if verdict == "success":
            if not self.bug("cumulative"):
                self.count = 0
            return
        self.count += 1
        threshold = self.model.failures + self.bug("opens_late") - self.bug("opens_early")
        if self.count >= threshold:
            self.count = 0
            self._open(now, fresh=True)

    def _half_open(self, verdict: str, now: int) -> None:
        if verdict == "failure":
            if not self.bug("failure_ignored"):
                self._open(now, fresh=False)
            return
        self.good += 1
        needed = self.model.successes + self.bug("closes_late") - self.bug("closes_early")
        if self.good >= needed and not self.bug("never_closes"):
            self._close(now)

    def _close(self, now: int) -> None:
        self.window.clear()
        self.count = self.model.failures - 1 if self.bug("count_survives") else 0
        self._to("closed", now)


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
    fallback_missing: bool = False
    stalls: dict[str, list[tuple[int, int]]] = field(default_factory=dict)  # of the breaker, tap or caller
    log: list[Observation] = field(default_factory=list)

    def run(self) -> list[Observation]:
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
        permits: dict[int, tuple[int, int, Answer]] = {}
        self.log.append(Boot(self.instance, Interval(0, 0), "b1"))
        while queue:
            now, _, what, number = heapq.heappop(queue)
            if (later := self._stalled("breaker", now)) > now:
                heapq.heappush(queue, (later, order, what, number))  # the whole process stands still
                order += 1
                continue
            breaker.tick(now)
            order += 1
            if what == "poll":
                self.log.append(
                    State("b", self.instance, self._gauge(breaker), Interval(now, now + 2 * MS), "b1")
                )
            elif what == "ask":
                permit = breaker.admit(now)
                if permit is None:
                    self._rejected(number, sent[number], now + hop() + self.slow_rejection_ns)
                    continue
                arrived = now + hop()
                answer = self._bounded(self.dependency(number, arrived))
                permits[number] = (permit, arrived, answer)
                if answer.ns < 1 << 60:
                    heapq.heappush(queue, (max(arrived, now) + answer.ns, order, "end", number))
                else:
                    self._running(number, sent[number], arrived)
            else:
                permit, arrived, answer = permits.pop(number)
                breaker.outcome(permit, answer.kind, sent[number], now)
                breaker.flush(now)
                self._ended(number, sent[number], arrived, answer.kind, now, now + hop())
        self._report(events, rng)
        return self.log

    def _stalled(self, who: str, at: int) -> int:
        """When somebody who may be standing still gets to see what happens at `at`."""
        return max([until for begin, until in self.stalls.get(who, []) if begin <= at < until], default=at)

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

    def _report(self, events: list[tuple[str, str, int]], rng: random.Random) -> None:
        for seq, (before, after, at) in enumerate(events):
            if seq in self.drop_events:
                continue
            stamp = at + rng.randint(0, self.stamp_ns)
            instant = Interval(stamp, stamp)
            self.log.append(Transition("b", self.instance, before, after, instant, "b1"))


def only(history: Sequence[Observation], *kinds: type) -> list[Observation]:
    """The part of a history that some kinds of evidence give."""
    return [entry for entry in history if isinstance(entry, (Boot, *kinds))]
