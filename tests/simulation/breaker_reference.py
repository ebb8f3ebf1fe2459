"""A breaker that does all that a specification can say, on a grid of instants, and leaves to chance whatever the specification leaves open.

It shares no code with the product, and reads the same mapping: times in steps of 100 ms, a wait of three steps. What it is seen to do
is therefore explained by what it did: the verifier may find no fault, however little is seen of it. `breaker_force` asks the opposite question,
of simpler breakers: whether anything explains what was seen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

WAIT = 3
STEP_MS = 100


class Outcome(NamedTuple):
    """One outcome that was counted."""

    at: int
    failed: bool
    slow: bool


class Planned(NamedTuple):
    """A call to make: when, for how long (None: it never ends), and what it comes to."""

    at: int
    lasts: int | None
    fate: str


@dataclass(slots=True)
class Made:
    """What became of a call: `fate` is "rejected" where it was turned away."""

    fate: str
    decided: int
    ended: int | None = None


@dataclass(slots=True)
class Reference:
    """The breaker of a specification's mapping."""

    given: Mapping[str, Any]
    rng: random.Random
    state: str = "closed"
    since: int = 0  # when the state was entered, or its period began
    nth: int = 1  # openings in a row
    outcomes: list[Outcome] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # where calls are counted from their start
    flying: int = 0
    admitted: int = 0
    good: int = 0
    bad: int = 0
    slow: int = 0
    epoch: set[int] = field(default_factory=set)  # calls that began in this one
    inside: dict[int, int] = field(default_factory=dict)  # when each running call was let in
    told: list[tuple[str, str, int]] = field(default_factory=list)  # transitions that it reported
    untold: bool = False  # half-open, which is reported when a probe ends
    looked: int = -1
    phase: int = 0  # of its looks, or of its buckets

    def __post_init__(self) -> None:
        self.phase = self.rng.randrange(self._steps("evaluation_ms") or self._steps("bucket_ms") or 1)

    def _steps(self, name: str, default: int = 0) -> int:
        value = self.given.get(name)
        return default if value is None else value // STEP_MS

    @property
    def _wait(self) -> float:
        most = self._steps("wait_cap_ms", 1 << 30)
        return min(WAIT * self.given.get("backoff", 1.0) ** (self.nth - 1), most)

    # ---- changes of state

    def _to(self, state: str, now: int) -> None:
        before, self.state = self.state, state
        if state == "closed" or (state == "open" and before == "closed"):
            self.nth = 1
        elif state == "open" and self.given.get("backoff", 1.0) != 1.0:
            self.nth += 1
        self.since = now
        if not self.given.get("window_survives"):
            self.outcomes.clear()
            self.starts.clear()
        self.flying = self.admitted = self.good = self.bad = self.slow = 0
        self.epoch.clear()
        self._tell(before, state, now)

    def _tell(self, before: str, after: str, now: int) -> None:
        how = self.given.get("half_open_event", "entry")
        if how == "none":
            if after == "half_open" or (before, after) == ("half_open", "open"):
                return
            before = "open" if before == "half_open" else before
        if how == "probe_end" and after == "half_open":
            self.untold = True
        else:
            self.told.append((before, after, now))

    def _active(self, now: int) -> None:
        """Something happens: where periods begin so, one that is over gives way to the next, and its calls are of an earlier epoch."""
        periodic = self.given.get("tumbling") and self.given.get("tumbling_from") == "activity"
        if periodic and self.state == "closed" and now - self.since >= self._steps("window_ms"):
            self.since = now
            self.outcomes.clear()
            self.epoch.clear()

    def timers(self, now: int) -> list[str]:
        """What may happen of itself at this instant; "!" at the end: before the next one it must."""
        due = []
        entry = self.given.get("entry", "lazy")
        if self.state == "open" and entry != "lazy" and now >= self.since + self._wait:
            due.append("half_open!" if entry == "timer" else "half_open")
        dwell = self.given.get("dwell_ms")
        if self.state == "half_open" and dwell is not None and now >= self.since + dwell // STEP_MS:
            due.append("dwell!")
        every = self._steps("evaluation_ms")
        if every and self.looked < now and now % every == self.phase:
            due.append("look!")
        return due

    def fire(self, timer: str, now: int) -> None:
        """Let one of them happen."""
        if timer.startswith("half_open"):
            self._to("half_open", now)
        elif timer == "dwell!":
            self._to(self.given.get("dwell_leads_to", "open"), now)
        else:
            self.looked = now
            if self.state == "closed" and self._trips(now):
                self._to("open", now)

    def read(self, now: int) -> str:
        """The state, as a reader sees it; reading may move it on."""
        if self.given.get("entry") == "on_read":
            self._active(now)
            if self.state == "open" and now >= self.since + self._wait:
                self._to("half_open", now)
        return self.state

    # ---- calls

    def decide(self, call: int, now: int) -> bool:
        """Whether it lets a call in."""
        self._active(now)
        if self.state == "open":
            ready = self.since + self._wait
            if now < ready or (now == ready and self.rng.random() < 0.5):
                return self._turned_away(now)
            self._to("half_open", now)
        elif self.state == "half_open" and self._full:
            return self._turned_away(now)
        self.epoch.add(call)
        self.inside[call] = now
        if self.given.get("counted_at") == "start":
            self.starts.append(now)
        if self.state == "half_open":
            self.flying += 1
            self.admitted += 1
        return True

    @property
    def _full(self) -> bool:
        permitted = self.given.get("permitted", 1)
        taken = self.admitted if self.given.get("probes") == "total" else self.flying
        return permitted is not None and taken >= permitted

    def _turned_away(self, now: int) -> bool:
        if self.given.get("rejections_count"):
            if self.given.get("counted_at") == "start":
                self.starts.append(now)
            elif self.given.get("window_survives"):
                self.outcomes.append(Outcome(now, failed=False, slow=False))
        return False

    def end(self, call: int, fate: str, now: int) -> None:
        """A call that was let in ends: ok, failure, cancelled or excluded."""
        self._active(now)
        let_in = self.inside.pop(call)
        stale = call not in self.epoch
        self.epoch.discard(call)
        if self.untold:
            self.untold = False
            self.told.append(("open", "half_open", now))
        what = {"ok": "success", "failure": "failure"}.get(fate) or self.given.get(f"{fate}_as", "neutral")
        if what == "any":
            what = self.rng.choice(["success", "failure", "neutral"])
        if self.state == "half_open":
            if not stale:
                self.flying -= 1
                self.admitted -= what == "neutral"
            elif self.given.get("stale_frees_permit"):
                self.flying -= 1
        if stale and not self._heeds_stale(what):
            return
        if what != "neutral":
            slow = "slow_ratio" in self.given and now - let_in > self._steps("slow_ms")
            self._counts(Outcome(now, what == "failure", slow), stale=stale)

    def _heeds_stale(self, what: str) -> bool:
        if self.state == "open" and what == "failure" and self.given.get("late_failure_restarts_wait"):
            return True
        how = self.given.get("stale", "ignored")
        return how == "counted" or (how == "either" and self.rng.random() < 0.5)

    def _counts(self, one: Outcome, *, stale: bool) -> None:
        if self.state == "closed":
            self._while_closed(one, stale=stale)
            return
        if self.given.get("window_survives"):
            self.outcomes.append(one)
        if self.state == "open":
            self._while_open(one)
        else:
            self._while_half_open(one)

    def _while_closed(self, one: Outcome, *, stale: bool) -> None:
        may_open = stale and one.failed and self.given.get("late_failure_opens")
        if may_open and self.rng.random() < 0.5:
            self._to("open", one.at)
            return
        if self.given.get("tumbling") and len(self.outcomes) >= self.given.get("window", 1 << 30):
            self.outcomes.clear()
        self.outcomes.append(one)
        asked = one.failed or self.given.get("trips_on") != "failure"
        if asked and not self.given.get("evaluation_ms") and self._trips(one.at):
            self._to("open", one.at)

    def _while_open(self, one: Outcome) -> None:
        if not one.failed and self.given.get("success_while_open_closes") and self.rng.random() < 0.5:
            self._to("closed", one.at)
        elif one.failed and self.given.get("late_failure_restarts_wait"):
            surely = not self.given.get("late_failure_may_restart")
            self.since = one.at if surely or self.rng.random() < 0.5 else self.since

    def _while_half_open(self, one: Outcome) -> None:
        self.good += not one.failed
        self.bad += one.failed
        self.slow += one.slow
        wanted = self.given.get("successes", 1)
        if (of := self.given.get("successes_of")) is not None:
            to = "closed" if self.good >= wanted else "open" if self.bad > of - wanted else ""
        elif (ratio := self.given.get("close_ratio")) is not None:
            to = self._by_ratio(ratio)
        elif one.failed:
            to = "open" if self.given.get("reopen_on_failure", True) else ""
            self.good = 0
        else:
            to = "closed" if self.good >= wanted else ""
        if to:
            self._to(to, one.at)

    def _by_ratio(self, ratio: float) -> str:
        total = self.good + self.bad
        if total < (self.given.get("results") or self.given.get("permitted") or 1):
            return ""
        slow_ratio = self.given.get("slow_ratio")
        drags = slow_ratio is not None and self.slow >= slow_ratio * total - 1e-9
        return "open" if drags or self.bad >= ratio * total - 1e-9 else "closed"

    # ---- the trip condition

    @property
    def _by_window(self) -> bool:
        given = self.given
        if "trip" in given:
            return bool(given["trip"] != "consecutive")
        return "ratio" in given or "window" in given or "slow_ratio" in given

    def _trips(self, now: int) -> bool:
        given, counted = self.given, self.outcomes
        length = self._steps("window_ms")
        if given.get("tumbling") and length and given.get("tumbling_from", "closing") == "closing":
            period = (now - self.since) // length
            counted = [one for one in counted if (one.at - self.since) // length == period]
        if not self._by_window:
            last = counted[-given.get("failures", 5) :]
            return len(last) == given.get("failures", 5) and all(one.failed for one in last)
        begin = -1
        if "window" in given:
            counted = counted if given.get("tumbling") else counted[-given["window"] :]
        elif not given.get("tumbling"):
            begin = now - length
            if bucket := self._steps("bucket_ms"):
                begin = ((now - self.phase) // bucket + 1) * bucket + self.phase - length - 1
            counted = [one for one in counted if one.at > begin]
        total = len(counted)
        if given.get("counted_at") == "start":
            total = sum(start > begin for start in self.starts)
        least = max(1, given.get("minimum_calls", 0))
        if total < min(least, given.get("window", least)):
            return False
        failed, slow = sum(one.failed for one in counted), sum(one.slow for one in counted)
        if "slow_ratio" in given and self._above(slow, total, given["slow_ratio"]):
            return True
        if "ratio" not in given:
            return failed >= given.get("failures", 5)
        return self._above(failed, total, given["ratio"])

    def _above(self, bad: int, total: int, ratio: float) -> bool:
        return bad > ratio * total + 1e-9 if self.given.get("strictly_above") else bad >= ratio * total - 1e-9


def play(
    breaker: Reference, plan: Sequence[Planned], reads: Sequence[int], rng: random.Random
) -> tuple[list[Made], list[tuple[str, int]]]:
    """Make the calls and the reads; of what shares an instant chance makes the order. What became of the calls, and the states read."""
    made: dict[int, Made] = {}
    states: list[tuple[str, int]] = []
    ends: dict[int, int] = {}
    now, last = 0, max([call.at for call in plan] + [*reads]) + 1
    while now <= last or ends:
        todo = [("call", n) for n, call in enumerate(plan) if call.at == now]
        todo += [("read", n) for n, at in enumerate(reads) if at == now]
        for what, which in _in_some_order(breaker, todo, ends, now, rng):
            if what == "call":
                call = plan[which]
                let_in = breaker.decide(which, now)
                made[which] = Made(call.fate if let_in else "rejected", now)
                if let_in and call.lasts is not None:
                    ends[which] = now + call.lasts
            elif what == "end":
                del ends[which]
                breaker.end(which, plan[which].fate, now)
                made[which].ended = now
            else:
                states.append((breaker.read(now), now))
        now += 1
    return [made[n] for n in range(len(plan))], states


def _in_some_order(
    breaker: Reference, todo: list[tuple[str, int]], ends: dict[int, int], now: int, rng: random.Random
) -> Iterator[tuple[str, int]]:
    """One thing after the other until nothing is left to happen at this instant; timers in between."""
    while True:
        due: list[tuple[str, int]] = [("end", n) for n, at in ends.items() if at == now]
        timers = [timer for timer in breaker.timers(now) if timer.endswith("!") or rng.random() < 0.3]
        if not (todo or due or timers):
            return
        chosen = rng.randrange(len(todo) + len(due) + len(timers))
        if chosen < len(timers):
            breaker.fire(timers[chosen], now)
        elif (chosen := chosen - len(timers)) < len(todo):
            yield todo.pop(chosen)
        else:
            yield due[chosen - len(todo)]
