"""The breaker as a one-clock automaton, stepped purely: a configuration and something that happens give configurations.

                    threshold-th failure                      first call after the wait (lazy), or a timer
        closed ───────────────────────────▶ open ◀──────────────────────────────────▶ half_open
          ▲                                        a failing probe leads back                │
          └──────────────────────── the S-th successful probe ──────────────────────────────┘

A configuration is split in two. `Key` is discrete and hashable: the state, the failures counted, the probes, which
running calls were begun in an earlier epoch, how many reported transitions have been used up, and which of the
tokens whose order is still open have happened. `Clock` holds intervals: the earliest possible present, and when the
breaker opened. Two configurations with one key are merged by the hull of their clocks: that only ever admits more.

Every guard carries the id of the rule that it is; a relaxed guard admits both what the rule allows and what it
forbids. That is how an inexplicable history is blamed on a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from resilience.breaker.configuration import Clock, Key, Reported, Running
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec

__all__ = ["Automaton", "Clock", "Key", "Reported", "relax"]


@dataclass(frozen=True, slots=True)
class Automaton:
    """The transition relation for one specification; `reported` None: the breaker reports nothing."""

    spec: BreakerSpec
    reported: tuple[Reported, ...] | None = None
    relaxed: frozenset[str] = frozenset()
    habit: str = ""  # a mistake to assume: rejection_restarts_wait | slot_kept | count_survives

    @property
    def anonymous(self) -> bool:
        """Whether it does not matter whose outcome it is: every outcome counts and nobody holds a slot."""
        return self.spec.stale == "counted" and self.spec.permitted is None and "R13" not in self.relaxed

    # ---- decisions

    def admit(self, key: Key, clock: Clock, by: Interval, running: Running) -> Iterator[tuple[Key, Clock]]:
        """The breaker lets a call pass at some instant of `by`."""
        at = max(clock.now_ns, by.lo_ns)
        if at > by.hi_ns:
            return
        clock = clock._replace(now_ns=at)
        if key.state == "closed":
            yield key, clock
        elif key.state == "open":
            if "R4" in self.relaxed:
                yield key, clock
            for half_open, then in self._enter_half_open(key, clock, by, running):
                yield half_open._replace(flying=1, admitted=1) if self._counts else half_open, then
        elif key.state == "half_open":
            if not self._counts:
                yield key, clock
            elif not self._saturated(key) or "R8" in self.relaxed:
                yield key._replace(flying=key.flying + 1, admitted=key.admitted + 1), clock

    def reject(self, key: Key, clock: Clock, by: Interval) -> Iterator[tuple[Key, Clock]]:
        """The breaker turns a call away at some instant of `by`."""
        at = max(clock.now_ns, by.lo_ns)
        if at > by.hi_ns:
            return
        clock = clock._replace(now_ns=at)
        if key.state == "open":
            _, most = self.spec.wait_of(key.nth)
            if at - clock.open_hi <= most + self.spec.eps_ns or "R6" in self.relaxed:
                restarted = self.habit == "rejection_restarts_wait"
                yield key, Clock(at, at, by.hi_ns) if restarted else clock
            if "R7" in self.relaxed:
                yield key, Clock(at, at, by.hi_ns)
        elif key.state == "half_open":
            if self._saturated(key) or "R9" in self.relaxed or self.spec.probes == "probabilistic":
                yield key, clock
        elif self.spec.trip == "never" and "R2" in self.relaxed:
            yield key, clock

    def timer(self, key: Key, clock: Clock, by_ns: int, running: Running) -> Iterator[tuple[Key, Clock]]:
        """Half-open without a call, where the breaker's timer or a reader brings it about."""
        if key.state == "open" and self.spec.entry != "lazy":
            yield from self._enter_half_open(
                key, clock, Interval(clock.now_ns, max(by_ns, clock.now_ns)), running
            )
        if key.state == "half_open" and self.spec.dwell_ns is not None:
            yield from self._change(
                key, clock, Interval(clock.now_ns, max(by_ns, clock.now_ns)), "open", running
            )

    @property
    def _counts(self) -> bool:
        return self.spec.permitted is not None

    def _saturated(self, key: Key) -> bool:
        limit = self.spec.permitted
        if limit is None:
            return False
        return (key.admitted if self.spec.probes == "total" else key.flying) >= limit

    def _enter_half_open(
        self, key: Key, clock: Clock, by: Interval, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        least, _ = self.spec.wait_of(key.nth)
        earliest = clock.open_lo + least - self.spec.eps_ns
        if "R5" in self.relaxed:
            earliest = clock.now_ns
        if earliest <= by.hi_ns:
            begun = clock._replace(now_ns=max(clock.now_ns, earliest))
            yield from self._change(key, begun, by, "half_open", running)

    # ---- outcomes

    def outcome(
        self, key: Key, clock: Clock, by: Interval, what: str, *, stale: bool, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        """An outcome (`what`: success, failure, neutral) reaches the breaker at some instant of `by`."""
        at = max(clock.now_ns, by.lo_ns)
        if at > by.hi_ns:
            return
        clock = clock._replace(now_ns=at)
        if key.state == "half_open" and not stale and self._counts:
            kept = key if self.habit == "slot_kept" else key._replace(flying=max(0, key.flying - 1))
            yield from self._counted(kept, clock, by, what, running, stale=False)
        else:
            yield from self._counted(key, clock, by, what, running, stale=stale)

    def _counted(
        self, key: Key, clock: Clock, by: Interval, what: str, running: Running, *, stale: bool
    ) -> Iterator[tuple[Key, Clock]]:
        late = key.state == "open" and what == "failure" and self.spec.late_failure_restarts_wait
        if stale and self.spec.stale == "ignored" and not late:
            yield key, clock
            if "R13" not in self.relaxed:
                return
        elif stale and "R13" in self.relaxed:
            yield key, clock
        if what == "neutral":
            yield key, clock
            if "R14" not in self.relaxed:
                return
        for kind in ("success", "failure") if what == "neutral" else (what,):
            if key.state == "closed":
                yield from self._while_closed(key, clock, by, kind, running)
            elif key.state == "half_open":
                yield from self._while_half_open(key, clock, by, kind, running)
            else:
                yield from self._while_open(key, clock, by, kind, running)

    def _while_closed(
        self, key: Key, clock: Clock, by: Interval, kind: str, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        after, trips = self._tally(key, failed=kind == "failure")
        if trips is not False or ("R2" in self.relaxed and kind == "failure"):
            opened = after._replace(nth=1, failures=0, window=())
            yield from self._change(opened, clock, by, "open", running)
        if trips is not True or "R3" in self.relaxed:
            yield after, clock

    def _tally(self, key: Key, *, failed: bool) -> tuple[Key, bool | None]:
        """The key with one outcome more, and whether that trips it (None: it may)."""
        spec = self.spec
        if spec.trip == "never":
            return key, False
        if spec.trip == "consecutive":
            if not failed:
                return key._replace(failures=0), False
            count = key.failures + 1
            return key._replace(failures=min(count, spec.failures)), count >= spec.failures
        if key.window is None:
            return key, None if failed else False
        window = (*key.window, failed)[-spec.window :]
        share = sum(window) / len(window)
        if spec.ratio is None:
            trips = sum(window) >= spec.failures
        else:
            trips = share > spec.ratio if spec.strictly_above else share >= spec.ratio
        return key._replace(window=window), trips and len(window) >= spec.minimum_calls

    def _while_half_open(
        self, key: Key, clock: Clock, by: Interval, kind: str, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        spec = self.spec
        good, bad = key.good + (kind == "success"), key.failures + (kind == "failure")
        if spec.close_ratio is not None:
            after = key._replace(good=good, failures=bad)
            if good + bad < (spec.permitted or 1):
                yield after, clock
                return
            to = "open" if bad / (good + bad) >= spec.close_ratio else "closed"
            yield from self._change(self._reopened(after) if to == "open" else after, clock, by, to, running)
            return
        if kind == "failure":
            if spec.reopen_on_failure:
                yield from self._change(self._reopened(key), clock, by, "open", running)
            if not spec.reopen_on_failure or "R11" in self.relaxed:
                yield key._replace(good=0), clock
            return
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
            if "R7" not in self.relaxed:
                return
        yield key, clock

    # ---- changes of state

    def _change(
        self, key: Key, clock: Clock, by: Interval, to: str, running: Running
    ) -> Iterator[tuple[Key, Clock]]:
        """Enter a state at some instant of `by`; where the breaker reports changes, by using up the next report."""
        lo, hi = max(clock.now_ns, by.lo_ns), by.hi_ns
        used = key.used
        if self.reported is not None and "R17" not in self.relaxed:
            if used >= len(self.reported):
                return
            report = self.reported[used]
            if (report.before, report.after) != (key.state, to):
                return
            lo, hi = max(lo, report.at.lo_ns), min(hi, report.at.hi_ns)
            used += 1
        if lo > hi:
            return
        old: frozenset[int] = frozenset() if self.anonymous else running()
        fresh = key._replace(state=to, flying=0, admitted=0, good=0, used=used, old=old)
        if to == "open":
            yield fresh._replace(failures=0, window=()), Clock(lo, lo, hi)
        elif to == "half_open":
            yield fresh._replace(failures=0), Clock(lo)
        else:
            counts: Iterable[int] = (0,)
            if "R12" in self.relaxed:
                counts = range(self.spec.failures)
            elif self.habit == "count_survives":
                counts = (self.spec.failures - 1,)
            for count in counts:
                yield fresh._replace(failures=count, nth=1, window=()), Clock(lo)

    def anything(self, at_ns: int) -> Iterator[tuple[Key, Clock]]:
        """Every configuration that a breaker may be in at `at_ns`, as a set that covers them."""
        spec = self.spec
        used = 0
        if self.reported is not None:
            used = sum(1 for report in self.reported if report.at.hi_ns < at_ns)
        base = Key("closed", used=used)
        counts = range(spec.failures) if spec.trip == "consecutive" else (0,)
        for count in counts:
            yield (
                base._replace(failures=count, window=() if spec.trip == "consecutive" else None),
                Clock(at_ns),
            )
        depths = range(1, 9) if spec.backoff != 1.0 else (1,)
        for nth in depths:
            _, most = spec.wait_of(nth)
            since = at_ns - most - spec.eps_ns
            yield base._replace(state="open", nth=nth), Clock(at_ns, since, at_ns)
            for good, bad in self._tallies():
                for flying in range((spec.permitted or 0) + 1):
                    # In total mode a probe that ended still counts: any number from those in flight on.
                    for admitted in (
                        range(flying, (spec.permitted or 0) + 1) if spec.probes == "total" else (flying,)
                    ):
                        yield (
                            base._replace(
                                state="half_open",
                                nth=nth,
                                good=good,
                                failures=bad,
                                flying=flying,
                                admitted=admitted,
                            ),
                            Clock(at_ns),
                        )

    def _tallies(self) -> Iterator[tuple[int, int]]:
        """Successes and failures that a half-open breaker may have counted."""
        if self.spec.close_ratio is None:
            for good in range(self.spec.successes):
                yield good, 0
            return
        for good in range(self.spec.permitted or 1):
            for bad in range((self.spec.permitted or 1) - good):
                yield good, bad


def relax(automaton: Automaton, *rules: str) -> Automaton:
    """The same automaton with the guards of these rules loosened."""
    return replace(automaton, relaxed=automaton.relaxed | frozenset(rules))
