"""The breaker as a one-clock automaton, stepped purely: a configuration and something that happens give configurations.

                    the trip condition                        first call after the wait (lazy), or a timer
        closed ───────────────────────────▶ open ◀──────────────────────────────────▶ half_open
          ▲                                        a failing probe leads back                │
          └──────────────────────── the S-th successful probe ──────────────────────────────┘

    forced_open (turns everything away) and disabled (lets everything pass) are entered and left by hand only

A configuration is split in two. `Key` is discrete and hashable: the state, what was counted, the probes, which
running calls were begun in an earlier epoch, how many reported transitions have been used up, and which of the
tokens whose order is still open have happened. `Clock` holds intervals: the earliest possible present, and when the
present state began. Two configurations with one key are merged by the hull of their clocks: that only ever admits more.

Every guard carries the id of the rule that it is; a relaxed guard admits both what the rule allows and what it
forbids. That is how an inexplicable history is blamed on a rule. Where a guard compares intervals (a time window's
edge, a period's end), both answers are followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from resilience.breaker import counting, starts
from resilience.breaker.configuration import VAGUE, Clock, Key, Reported, Result, Running
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.window import Timed, Window, empty, unknown

__all__ = ["Automaton", "Clock", "Key", "Reported", "Result", "relax"]

HABITS = (
    "rejection_restarts_wait",
    "slot_kept",  # an ended probe keeps its slot
    "count_survives",  # closing does not empty the count
    "cumulative",  # a success does not break the row of failures
    "success_fails",  # a success counts as a failure
)
_BY_HAND = frozenset({"forced_open", "disabled"})


@dataclass(frozen=True, slots=True)
class Automaton:
    """The transition relation for one specification; `reported` None: the breaker reports nothing."""

    spec: BreakerSpec
    reported: tuple[Reported, ...] | None = None
    relaxed: frozenset[str] = frozenset()
    habit: str = ""  # a mistake to assume, one of HABITS

    @property
    def anonymous(self) -> bool:
        """Whether it does not matter whose outcome it is: every outcome counts and nobody holds a slot."""
        counted = self.spec.stale == "counted" and not self.spec.late_failure_opens
        return counted and self.spec.permitted is None and "R13" not in self.relaxed

    @property
    def timed(self) -> bool:
        """Whether something can happen between observations, by a timer or by hand."""
        spec = self.spec
        return (
            spec.entry != "lazy"
            or spec.dwell_ns is not None
            or spec.evaluation_ns > 0
            or any(report.manual for report in self.reported or ())
        )

    def fresh(self, at: Interval) -> Iterator[tuple[Key, Clock]]:
        """A breaker that has just been made, at some instant of `at`: closed, and nothing counted."""
        yield Key("closed", window=empty(self.spec)), Clock(at.lo_ns, at.lo_ns, at.hi_ns)

    def anything(self, at_ns: int) -> Iterator[tuple[Key, Clock]]:
        """Every configuration that a breaker may be in at `at_ns`, as a set that covers them."""
        return starts.anything(self.spec, self.reported, at_ns)

    # ---- decisions

    def admit(  # noqa: C901 - one case a state reads better than a method a state
        self, key: Key, clock: Clock, by: Interval, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        """The breaker lets a call pass at some instant of `by`."""
        at = max(clock.now_ns, by.lo_ns)
        if at > by.hi_ns:
            return
        clock = clock._replace(now_ns=at)
        if key.state == "closed":
            for active, began in self._active(key, clock, by, running):
                if began.now_ns <= began.due_ns or "R3" in self.relaxed:
                    yield active, began
        elif key.state == "open":
            if "R4" in self.relaxed:
                yield key, clock
            for half_open, then in self._enter_half_open(key, clock, by, running):
                yield half_open._replace(flying=1, admitted=1) if self._counts else half_open, then
        elif key.state == "half_open":
            if not self._counts or key.good == VAGUE:
                yield key, clock
            elif not self._saturated(key) or "R8" in self.relaxed:
                yield key._replace(flying=key.flying + 1, admitted=key.admitted + 1), clock
        elif key.state == "disabled":
            yield key, clock

    def reject(self, key: Key, clock: Clock, by: Interval) -> Iterator[tuple[Key, Clock]]:
        """The breaker turns a call away at some instant of `by`."""
        at = max(clock.now_ns, by.lo_ns)
        if at > by.hi_ns:
            return
        clock = clock._replace(now_ns=at)
        spec = self.spec
        if spec.rejections_count and isinstance(key.window, Timed) and spec.window_survives:
            key = key._replace(window=key.window.push(spec, by, at, failed=False, slow=False))
        if key.state == "open":
            _, most = spec.wait_of(key.nth)
            if at - clock.since_hi <= most + spec.eps_ns or "R6" in self.relaxed:
                restarted = self.habit == "rejection_restarts_wait"
                yield key, Clock(at, at, by.hi_ns) if restarted else clock
            if "R7" in self.relaxed:
                yield key, Clock(at, at, by.hi_ns)
        elif key.state == "half_open":
            stays = spec.dwell_ns is None or at <= clock.since_hi + spec.dwell_ns + spec.eps_ns
            full = key.good == VAGUE or (self._saturated(key) and spec.excess == "rejects" and stays)
            if full or "R9" in self.relaxed or spec.probes == "probabilistic":
                yield key, clock
        elif key.state == "forced_open" or (spec.trip == "never" and "R2" in self.relaxed):
            yield key, clock

    def timer(self, key: Key, clock: Clock, by_ns: int, running: Running) -> Iterator[tuple[Key, Clock]]:
        """What happens without a call, by `by_ns`: the breaker's timers, a reader, or somebody's hand."""
        spec = self.spec
        by = Interval(clock.now_ns, max(by_ns, clock.now_ns))
        if self.reported is not None and key.used < len(self.reported):
            report = self.reported[key.used]
            if report.manual and report.before == key.state:
                for nth in counting.openings_after_a_hand(spec, key, report.after):
                    before = key._replace(nth=nth)
                    yield from self._change(before, clock, by, report.after, running, by_hand=True)
        if key.state == "open" and spec.entry != "lazy":
            yield from self._enter_half_open(key, clock, by, running)
        elif key.state == "half_open" and spec.dwell_ns is not None:
            earliest = clock.since_lo + spec.dwell_ns - spec.eps_ns
            if earliest <= by.hi_ns:
                begun = clock._replace(now_ns=max(clock.now_ns, earliest))
                after = self._reopened(key) if spec.dwell_leads_to == "open" else key
                yield from self._change(after, begun, by, spec.dwell_leads_to, running)
        elif key.state == "closed":
            yield from self._timer_while_closed(key, clock, by, running)

    def _timer_while_closed(
        self, key: Key, clock: Clock, by: Interval, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        spec = self.spec
        if spec.evaluation_ns:
            looked = Interval(clock.opens_from_ns, max(clock.opens_from_ns, by.hi_ns))
            if counting.holds(spec, key, looked)[0]:
                yield from self._change(key, clock, looked, "open", running)
        if self.by_activity and spec.entry == "on_read":
            yield from (step for step in self._active(key, clock, by, running) if step[0] is not key)

    @property
    def _counts(self) -> bool:
        return self.spec.permitted is not None

    @property
    def by_activity(self) -> bool:
        """Whether a period begins with the first thing that happens after the last one was over."""
        return self.spec.tumbling and self.spec.tumbling_from == "activity" and self.spec.window_ns > 0

    def _active(self, key: Key, clock: Clock, by: Interval, running: Running) -> Iterator[tuple[Key, Clock]]:
        """A closed breaker to which something happens at some instant of `by`: another key where that begins a period.

        A period that begins so is an epoch: calls that are running belong to an earlier one.
        """
        if not self.by_activity:
            yield key, clock
            return
        for after, then in counting.active(self.spec, key, clock, by):
            began = after is not key and not self.anonymous
            yield (after._replace(old=running()) if began else after), then

    def _saturated(self, key: Key) -> bool:
        limit = self.spec.permitted
        if limit is None:
            return False
        return (key.admitted if self.spec.probes == "total" else key.flying) >= limit

    def _enter_half_open(
        self, key: Key, clock: Clock, by: Interval, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        least, _ = self.spec.wait_of(key.nth)
        earliest = clock.since_lo + least - self.spec.eps_ns
        if "R5" in self.relaxed:
            earliest = clock.now_ns
        if earliest <= by.hi_ns:
            begun = clock._replace(now_ns=max(clock.now_ns, earliest))
            yield from self._change(key, begun, by, "half_open", running)

    # ---- outcomes

    def outcome(
        self,
        key: Key,
        clock: Clock,
        by: Interval,
        result: Result,
        *,
        stale: bool,
        running: Running,
        unseen: int = 0,
    ) -> Iterator[tuple[Key, Clock]]:
        """An outcome reaches the breaker at some instant of `by`; `unseen` calls are running that count from their start."""
        at = max(clock.now_ns, by.lo_ns)
        if at > by.hi_ns:
            return
        clock = clock._replace(now_ns=at)
        if key.state == "closed" and at > clock.due_ns and "R3" not in self.relaxed:
            return
        if key.state == "closed" and self.by_activity:
            for active, began in self._active(key, clock, by, running):
                earlier = stale or active is not key
                yield from self._taken(active, began, by, result, earlier, running, unseen)
            return
        if key.state == "half_open" and self._counts and self.habit != "slot_kept":
            for freed in self._freed(key, result.what, stale=stale):
                yield from self._taken(freed, clock, by, result, stale, running, unseen)
            return
        yield from self._taken(key, clock, by, result, stale, running, unseen)

    def _freed(self, key: Key, what: str, *, stale: bool) -> Iterator[Key]:
        """The permit that an ended call gives back; where all are counted, only a call without a result does."""
        spec = self.spec
        neutral = what == "neutral"
        if not stale:
            admitted = max(0, key.admitted - 1) if neutral and spec.probes == "total" else key.admitted
            yield key._replace(
                flying=key.flying - (key.flying > 0 or spec.stale_frees_permit), admitted=admitted
            )
            return
        if spec.stale_frees_permit:
            key = key._replace(flying=key.flying - 1)
        yield key
        if neutral and spec.probes == "total" and spec.stale != "ignored":
            yield key._replace(admitted=max(0, key.admitted - 1))

    def _taken(  # noqa: C901 - the guards about stale, neutral and late outcomes belong side by side
        self, key: Key, clock: Clock, by: Interval, result: Result, stale: bool, running: Running, unseen: int
    ) -> Iterator[tuple[Key, Clock]]:
        spec, what = self.spec, result.what
        late = key.state == "open" and what == "failure" and spec.late_failure_restarts_wait
        if stale and spec.stale != "counted" and not late:
            yield from counting.unheeded(spec, key, clock, result)
            if spec.stale == "ignored" and "R13" not in self.relaxed:
                return
        elif stale and "R13" in self.relaxed:
            yield from counting.unheeded(spec, key, clock, result)
        if what == "neutral":
            yield from counting.unheeded(spec, key, clock, result)
            if "R14" not in self.relaxed:
                return
        for kind in ("success", "failure") if what == "neutral" else (what,):
            taken = result if kind == what else result._replace(what=kind)
            if spec.window_survives and isinstance(key.window, Timed) and key.state != "closed":
                key = counting.pushed(spec, key, clock, taken)
            if key.state == "closed":
                if stale and kind == "failure" and spec.late_failure_opens:
                    yield from self._change(key._replace(nth=1), clock, by, "open", running)
                yield from self._while_closed(key, clock, by, taken, running, unseen)
            elif key.state == "half_open":
                yield from self._while_half_open(key, clock, by, taken, running)
            elif key.state == "open":
                yield from self._while_open(key, clock, by, kind, running)
            else:
                yield key, clock

    def _while_closed(
        self, key: Key, clock: Clock, by: Interval, result: Result, running: Running, unseen: int
    ) -> Iterator[tuple[Key, Clock]]:
        spec = self.spec
        failed = result.what == "failure"
        options = (
            (before, began, within, begun)
            for then, within in counting.before_or_after(clock, by)
            for before, began in counting.periods(spec, key, then, within)
            for begun in counting.starts_counted(spec, began, result)
        )
        for before, began, within, begun in options:
            after, may, must = counting.tally(
                spec, before, began, within, result, unseen=unseen, begun=begun, habit=self.habit
            )
            if spec.trips_on == "failure" and not failed:
                may = must = False
            if spec.evaluation_ns:
                yield after, began._replace(due_ns=counting.due_by(spec, after, began, within, must=must))
                continue
            if (may or ("R2" in self.relaxed and failed)) and began.now_ns >= began.unopened_ns:
                yield from self._change(after._replace(nth=1), began, within, "open", running)
            if not must or "R3" in self.relaxed:
                yield after, began

    def _while_half_open(
        self, key: Key, clock: Clock, by: Interval, result: Result, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        spec = self.spec
        failed = result.what == "failure"
        if key.good == VAGUE:
            yield key, clock
            yield from self._change(self._reopened(key), clock, by, "open", running)
            yield from self._change(key, clock, by, "closed", running)
            return
        good, bad = key.good + (not failed), key.failures + failed
        if spec.close_ratio is not None or spec.successes_of is not None:
            after = key._replace(good=good, failures=bad, slow=key.slow + result.slow)
            to = counting.resolved(spec, good, bad, after.slow)
            if not to:
                yield after, clock
            else:
                before = self._reopened(after) if to == "open" else after
                yield from self._change(before, clock, by, to, running)
        elif failed:
            if spec.reopen_on_failure:
                yield from self._change(self._reopened(key), clock, by, "open", running)
            if not spec.reopen_on_failure or "R11" in self.relaxed:
                yield key._replace(good=0), clock
        else:
            if good >= spec.successes or "R10" in self.relaxed:
                yield from self._change(key, clock, by, "closed", running)
            if good < spec.successes or "R10" in self.relaxed:
                yield key._replace(good=min(good, spec.successes)), clock

    def _reopened(self, key: Key) -> Key:
        return key._replace(nth=key.nth + 1) if self.spec.backoff != 1.0 else key

    def _while_open(
        self, key: Key, clock: Clock, by: Interval, kind: str, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        if kind == "success" and self.spec.success_while_open_closes:
            yield from self._change(key, clock, by, "closed", running)
            # Some libraries heed only a success that began in half-open, and a configuration does not say where it began.
            yield key, clock
            return
        if kind == "failure" and (self.spec.late_failure_restarts_wait or "R7" in self.relaxed):
            if self.spec.self_loops and self.reported is not None and "R17" not in self.relaxed:
                yield from self._change(key, clock, by, "open", running)
            else:
                yield key, Clock(clock.now_ns, clock.now_ns, by.hi_ns)
            if "R7" not in self.relaxed and not self.spec.late_failure_may_restart:
                return
        yield key, clock

    # ---- changes of state

    def _change(
        self, key: Key, clock: Clock, by: Interval, to: str, running: Running, *, by_hand: bool = False
    ) -> Iterator[tuple[Key, Clock]]:
        """Enter a state at some instant of `by`; where the breaker reports changes, by using up the next report."""
        # A call that was let in while half-open says that the breaker had not opened again; it may have closed before.
        lo, hi = max(clock.now_ns if to == "closed" else clock.opens_from_ns, by.lo_ns), by.hi_ns
        if self.reported is None or "R17" in self.relaxed:
            yield from self._entered(key, Interval(lo, hi), to, running, key.used, clock) if lo <= hi else ()
            return
        state = key.state
        if self.spec.half_open_event == "none":
            # What only a reader would have noticed nobody may have: half-open, and what follows it, as seen from outside.
            told = self.reported[key.used - 1].after if key.used else "closed"
            state = "open" if state == "half_open" and told == "open" else state
            if lo <= hi and to in {"half_open", state}:
                yield from self._entered(key, Interval(lo, hi), to, running, key.used, clock)
        if key.used >= len(self.reported):
            if self.spec.half_open_event == "probe_end" and to == "half_open" and lo <= hi:
                # It will be reported when a probe has ended, of which nobody was told any more.
                yield from self._entered(key, Interval(lo, hi), to, running, key.used, clock)
            return
        report = self.reported[key.used]
        if (report.before, report.after) != (state, to) or report.manual != by_hand:
            return
        lo, hi = max(lo, report.at.lo_ns), min(hi, report.at.hi_ns)
        if lo <= hi:
            yield from self._entered(key, Interval(lo, hi), to, running, key.used + 1, clock)

    def _entered(
        self, key: Key, at: Interval, to: str, running: Running, used: int, before: Clock
    ) -> Iterator[tuple[Key, Clock]]:
        """What a change takes with it and what it leaves behind."""
        lo, hi = at.lo_ns, at.hi_ns
        old: frozenset[int] = frozenset() if self.anonymous else running()
        kept = self.spec.window_survives or self.habit == "count_survives"
        window = key.window if kept else empty(self.spec)
        fresh = Key(to, 0, window, key.nth, 0, 0, 0, 0, old, used, key.fired)
        if to != "closed":
            yield fresh, Clock(lo, lo, hi)
            return
        counts: Iterable[int] = (0,)
        windows: Iterable[Window] = (fresh.window,)
        if self.spec.trip == "consecutive":
            if "R12" in self.relaxed:
                counts = range(self.spec.failures)
            elif self.habit == "count_survives":
                counts = (self.spec.failures - 1,)
        elif "R12" in self.relaxed:
            windows = unknown(self.spec, lo)
        for count in counts:
            for known in windows:
                yield (
                    fresh._replace(failures=count, window=known, nth=1),
                    Clock(lo, lo, hi, unopened_ns=before.unopened_ns),
                )


def relax(automaton: Automaton, *rules: str) -> Automaton:
    """The same automaton with the guards of these rules loosened."""
    return replace(automaton, relaxed=automaton.relaxed | frozenset(rules))


def is_by_hand(before: str, after: str) -> bool:
    """Whether a change of state is one that no breaker makes of itself."""
    return bool(_BY_HAND & {before, after})
