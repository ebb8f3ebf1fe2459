"""A breaker that may be wrong: every kind that a specification can describe, and single mistakes to switch on.

It shares no code with the product. It is told the time and answers at once; `World` plays traffic through it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """A breaker's parameters, and the ways in which it may be wrong (`bugs` empty: correct)."""

    failures: int = 3
    window: int = 0  # > 0: count window with `ratio` and `minimum`
    window_ns: int = 0  # > 0: time window
    bucket_ns: int = 0  # a time window forgets in whole buckets
    tumbling: bool = False
    ratio: float | None = 0.5  # None: `failures` within the window
    strictly_above: bool = False
    minimum: int = 0
    slow_ns: int | None = None
    slow_ratio: float | None = None
    evaluation_ns: int = 0
    wait_ns: int = S
    backoff: float = 1.0
    permitted: int | None = 1
    probes: str = "concurrent"
    dwell_ns: int | None = None
    successes: int = 1
    successes_of: int | None = None
    close_ratio: float | None = None
    stale: str = "ignored"
    entry: str = "lazy"
    cancelled_as: str = "neutral"
    excluded_as: str = "neutral"
    late_failure_restarts_wait: bool = False
    half_open_event: str = "entry"
    hand_counts: str = (
        "kept"  # what a hand does to the row of openings: "kept", "anew", or "next": it opens it once more
    )
    clock_step: tuple[int, int] = (1 << 62, 0)  # (when, by how much) the machine's wall clock is set
    bugs: frozenset[str] = frozenset()


class ModelBreaker:
    """The breaker of a Model; `emit(before, after, when)` is its listener."""

    def __init__(self, model: Model, emit: Callable[[str, str, int], None]) -> None:
        self.model = model
        self._emit = emit
        self.state = "closed"
        self.count = 0
        self.last_failure_ns = -S
        self.window: list[tuple[int, bool, bool]] = []
        self.period_ns = 0
        self.next_look_ns = model.evaluation_ns
        self.opened_ns = 0
        self.entered_ns = 0
        self.wait_ns = model.wait_ns
        self.in_row = 0
        self.epoch = 0
        self.flying = 0
        self.admitted = 0
        self.results: list[tuple[bool, bool]] = []
        self.good = 0
        self.leaked = False
        self.pending_half_open: int | None = None
        self.last_start_ns = 0

    def bug(self, name: str) -> bool:
        """Whether this mistake is switched on."""
        return name in self.model.bugs

    @property
    def _by_window(self) -> bool:
        """Whether it looks at a window; else at a row of failures (which may begin anew each period)."""
        if self.model.tumbling and self.model.ratio is None:
            return False
        return self.model.window > 0 or self.model.window_ns > 0

    # ---- changes of state

    def _to(self, state: str, now: int, *, by_hand: bool = False) -> None:
        before, self.state = self.state, state
        self.epoch += 1
        self.entered_ns = now
        if state == "half_open":
            if not self.bug("successes_survive"):
                self.good = 0
            self.flying = self.admitted = 0
            self.results = []
            if self.model.half_open_event == "probe_end" and not by_hand:
                self.pending_half_open = now
                return
        self._emit(before, state, now)

    def by_hand(self, state: str, now: int) -> None:
        """Somebody switches it."""
        self._clear(now)
        opens = state == "open"
        if state == "closed" or self.model.hand_counts == "anew":
            self.in_row = int(opens)
        elif opens:
            self.in_row = max(1, self.in_row + (self.model.hand_counts == "next"))
        self.opened_ns = now
        self.wait_ns = round(self.model.wait_ns * self.model.backoff ** (max(1, self.in_row) - 1))
        self._to(state, now, by_hand=True)

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
        if self.bug("backoff_twice"):
            factor *= factor
        wait = self.model.wait_ns * factor
        wait *= 0.8 if self.bug("wait_short") else 1.3 if self.bug("wait_long") else 1
        self.wait_ns = round(wait)
        self.opened_ns = self._clock(self.last_start_ns if self.bug("wait_from_call_start") else now)
        self.leaked = False
        if not self.bug("window_survives"):
            self._clear(now)
        self._to("open", now)

    def _close(self, now: int) -> None:
        self.in_row = 0
        survives = self.bug("window_survives")
        if not survives:
            self._clear(now)
        self.count = self.model.failures - 1 if self.bug("count_survives") else 0
        self._to("closed", now)

    def _clear(self, now: int) -> None:
        self.count = 0
        self.window.clear()
        self.period_ns = now

    def _clock(self, now: int) -> int:
        when, by = self.model.clock_step
        return now + by if self.bug("wall_clock") and now >= when else now

    # ---- time

    def tick(self, now: int) -> None:
        """Timers that have run out by now."""
        model = self.model
        timed = model.entry == "timer" or self.bug("timer_entry")
        if self.state == "open" and timed and now > self.opened_ns + self.wait_ns:
            self._to("half_open", self.opened_ns + self.wait_ns)
        if self.state == "half_open" and model.dwell_ns is not None and not self.bug("dwell_forgotten"):
            until = self.entered_ns + model.dwell_ns
            if now > until:
                self._open(until, fresh=False)
                self.tick(now)
        while model.evaluation_ns and self.next_look_ns <= now:
            at = self.next_look_ns
            self.next_look_ns += model.evaluation_ns
            if self.state == "closed" and self._trips(at):
                self._open(at, fresh=True)

    # ---- decisions

    def admit(self, now: int) -> int | None:
        """The epoch of the permit, or None: rejected."""
        self.tick(now)
        if self.state in {"disabled", "forced_open"}:
            return self.epoch if self.state == "disabled" else None
        if self.state == "open":
            if self.bug("leaks") and now - self.opened_ns > self.wait_ns // 2 and not self.leaked:
                self.leaked = True
                return self.epoch
            if self.bug("rejection_restarts_wait"):
                over = now - self.opened_ns > self.wait_ns
                self.opened_ns = self.opened_ns if over else now
            if self.bug("never_half_opens") or self._clock(now) <= self.opened_ns + self.wait_ns:
                return None
            if self.bug("open_to_closed"):
                self._clear(now)
                self._to("closed", now)
                return self.epoch
            self._to("half_open", now)
        if self.state == "half_open" and not self._probe(now):
            return None
        return self.epoch

    def _probe(self, now: int) -> bool:
        cap = self.model.permitted
        if cap is not None:
            cap += self.bug("one_probe_more")
        total = self.model.probes == "total" and not self.bug("permits_come_back")
        racing = self.bug("race_at_expiry") and now - self.entered_ns < 2 * MS
        full = cap is not None and (self.admitted if total else self.flying) >= cap
        if full and not racing and not self.bug("unlimited_probes"):
            return False
        self.flying += 1
        self.admitted += 1
        return True

    # ---- outcomes

    def outcome(  # noqa: C901 - every mistake about an outcome stands here
        self, permit: int, kind: str, started_ns: int, now: int, let_in_ns: int = 0
    ) -> None:
        """kind: ok | failure | timeout | cancelled | excluded."""
        self.last_start_ns = started_ns
        model = self.model
        verdict = {"ok": "success", "cancelled": model.cancelled_as, "excluded": model.excluded_as}.get(
            kind, "failure"
        )
        for what in ("cancel", "exclude"):
            if kind.startswith(what):
                verdict = "failure" if self.bug(f"{what}_is_failure") else verdict
                verdict = "success" if self.bug(f"{what}_is_success") else verdict
        slow = model.slow_ns is not None and now - let_in_ns > model.slow_ns and not self.bug("slow_ignored")
        stale = permit != self.epoch
        if self.state == "half_open" and not stale:
            self.flying -= 0 if self.bug("slot_leaks") or self.bug(f"slot_leaks_on_{kind}") else 1
            self.admitted -= verdict == "neutral"  # a call without a result gives its permit back
        if self.state in {"disabled", "forced_open"}:
            return
        if kind == "timeout" and self.bug("hung_probe_sticks") and self.state == "half_open":
            self.flying += 1
            return
        if stale and model.stale == "ignored" and not self._bad_stale(verdict):
            return
        if verdict == "neutral":
            return
        if self.state == "closed":
            self._closed(verdict, slow, now)
        elif self.state == "half_open":
            self._half_open(verdict, slow, now)
        elif verdict == "failure" and (
            model.late_failure_restarts_wait or self.bug("late_failure_restarts_wait")
        ):
            self.opened_ns = now
        elif verdict == "success" and self.bug("stale_success_closes"):
            self._close(now)

    def _bad_stale(self, verdict: str) -> bool:
        return (verdict == "success" and self.bug("stale_success_closes")) or (
            verdict == "failure"
            and (
                self.bug("stale_failure_reopens")
                or (self.bug("late_failure_restarts_wait") and self.state == "open")
            )
        )

    def _closed(self, verdict: str, slow: bool, now: int) -> None:
        model, failed = self.model, verdict == "failure"
        if self.bug("never_opens"):
            return
        if model.tumbling and model.window_ns and not self.bug("period_forgotten"):
            periods = (now - self.period_ns) // model.window_ns
            if periods:
                self.count = 0
                self.window.clear()
                self.period_ns += periods * model.window_ns
        if self._by_window:
            if model.window and model.tumbling and len(self.window) >= model.window:
                self.window.clear()
            self.window.append((now, failed, slow))
            del self.window[: -model.window if model.window else 0]
        elif not failed:
            if not self.bug("cumulative"):
                self.count = 0
        else:
            again = self.bug("retries_count_once") and now - self.last_failure_ns < 40 * MS
            self.count += not again
            self.last_failure_ns = now
        if not model.evaluation_ns and self._trips(now):
            self._open(now, fresh=True)

    def _trips(self, now: int) -> bool:
        model = self.model
        if not self._by_window:
            return self.count >= model.failures + self.bug("opens_late") - self.bug("opens_early")
        inside = self.window
        if model.window_ns and not model.tumbling and not self.bug("never_forgets"):
            begin = now - model.window_ns
            if model.bucket_ns:
                begin = (now // model.bucket_ns + 1) * model.bucket_ns - model.window_ns - 1
            inside = self.window = [entry for entry in self.window if entry[0] > begin]
        need = 1 if self.bug("ignores_minimum") else max(1, model.minimum)
        if len(inside) < need:
            return False
        failed, slow = sum(e[1] for e in inside), sum(e[2] for e in inside)
        if model.slow_ratio is not None and self._above(slow, len(inside), model.slow_ratio):
            return True
        if model.ratio is None:
            return failed >= model.failures + self.bug("opens_late") - self.bug("opens_early")
        return self._above(failed, len(inside), model.ratio)

    def _above(self, bad: int, total: int, ratio: float) -> bool:
        if self.bug("ratio_off"):
            ratio = min(1.0, ratio * 1.5)
        strictly = self.model.strictly_above != self.bug("strictness_off")
        return bad > ratio * total if strictly else bad >= ratio * total

    def _half_open(self, verdict: str, slow: bool, now: int) -> None:
        model, failed = self.model, verdict == "failure"
        if model.close_ratio is not None or model.successes_of is not None:
            self.results.append((failed, slow))
            self._by_results(now)
        elif failed:
            if not self.bug("failure_ignored"):
                self._open(now, fresh=False)
        else:
            self.good += 1
            needed = model.successes + self.bug("closes_late") - self.bug("closes_early")
            if self.good >= needed and not self.bug("never_closes"):
                self._close(now)

    def _by_results(self, now: int) -> None:
        model, total = self.model, len(self.results)
        failed, slow = sum(f for f, _ in self.results), sum(s for _, s in self.results)
        if model.successes_of is not None:
            if total - failed >= model.successes:
                self._close(now)
            elif failed > model.successes_of - model.successes:
                self._open(now, fresh=False)
            return
        if total < (model.permitted or 1) - self.bug("closes_early"):
            return
        assert model.close_ratio is not None
        dragging = model.slow_ratio is not None and slow >= model.slow_ratio * total
        if dragging or failed >= model.close_ratio * total:
            self._open(now, fresh=False)
        else:
            self._close(now)
