"""The present of a sweep: which tokens are open, which calls are running, and what of it can happen at once.

A token that changes nothing now, and could not change anything before its upper end either, happens at once in a configuration; so does
an outcome whose order with every other one cannot matter. Whatever could cost an explanation waits: `sweep` decides it when it must.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from resilience.breaker.automaton import Automaton, Clock, Key, Result
from resilience.breaker.configuration import NEVER_NS
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.tokens import Token


class Present:
    """What the configurations of a sweep have in common at one instant."""

    def __init__(self, automaton: Automaton, known_from_ns: int) -> None:
        self.automaton = automaton
        self.spec: BreakerSpec = automaton.spec
        self.open: dict[int, Token] = {}
        self.live: dict[int, tuple[int, int | None]] = {}  # call -> its decision token, its outcome token
        self.known_from_ns = known_from_ns  # what was let in before this may be of any epoch
        least, _ = self.spec.wait_of(1)
        by_hand = any(report.manual for report in automaton.reported or ())
        self.shortest_open = 0 if by_hand else least - self.spec.eps_ns
        self.anonymous = automaton.anonymous
        self.by_activity = automaton.by_activity
        # A row of failures that nothing but outcomes changes, counted as the specification says.
        self.plain_row = (
            self.spec.trip == "consecutive"
            and not self.spec.tumbling
            and self.spec.stale != "either"
            and self.spec.trips_on == "any"
            and not self.spec.late_failure_opens
            and not automaton.relaxed
            and automaton.habit not in {"cumulative", "success_fails"}
        )
        self.from_start = self.spec.counted_at == "start"
        self.counts_rejections = self.spec.rejections_count and self.spec.window_survives
        self.heeds_while_open = (
            self.spec.late_failure_restarts_wait
            or self.spec.success_while_open_closes
            or self.spec.window_survives
            or "R7" in automaton.relaxed
        )

    def at_once(  # noqa: PLR0911 - one answer a kind of token
        self, key: Key, clock: Clock, token: Token
    ) -> tuple[Key, Clock] | None:
        """The configuration after a token whose happening now cannot cost an explanation; None: wait."""
        kind = token.kind
        if kind == "A":
            return self._admission_at_once(key, clock, token)
        if kind == "O":
            return self._outcome_at_once(key, clock, token)
        if kind == "R":
            if key.state == "closed" or self.automaton.relaxed or self.counts_rejections:
                return None
            step = next(iter(self.automaton.reject(key, clock, token.at)), None)
            if step is None:
                return None
            return step if self.automaton.habit else (step[0], clock)
        if kind == "T":
            return (key, clock) if key.used > token.position else None
        return (key, clock) if key.state == token.what and token.agrees_with(key) else None

    def _admission_at_once(self, key: Key, clock: Clock, token: Token) -> tuple[Key, Clock] | None:
        # Let in while closed (or half-open, where nobody counts) it changes nothing, and it must have come before
        # the next opening: after that one there would not be time enough for another half-open. It may have been
        # half-open still, or closed by then.
        if self._may_begin_a_period(clock, token):
            idle = False
        elif key.state == "closed":
            idle = clock.due_ns == NEVER_NS
        else:
            idle = key.state == "half_open" and self.anonymous
        now = clock.opens_from_ns
        if not idle or token.hi_ns >= now + self.shortest_open:
            return None
        if now >= token.lo_ns:
            return key, clock
        if self.spec.window_ns:  # outcomes still waited for may have come before it
            return key, clock._replace(unopened_ns=token.lo_ns)
        return key, Clock(token.lo_ns, clock.since_lo, clock.since_hi, clock.due_ns)

    def _may_begin_a_period(self, clock: Clock, token: Token) -> bool:
        """Whether the present period may be over by the time that a token has happened, which would begin the next, whatever it is."""
        spec = self.spec
        return self.by_activity and token.hi_ns - clock.since_lo + spec.eps_ns >= spec.window_ns

    def _outcome_at_once(  # noqa: PLR0911 - each state has its own reason to wait
        self, key: Key, clock: Clock, token: Token
    ) -> tuple[Key, Clock] | None:
        if self.automaton.relaxed & {"R13", "R14"} or self.from_start or not self.let_in(key, token):
            return None
        # While it is open nothing begins a period, and until it may have closed again.
        opened = key.state == "open" and token.hi_ns < clock.since_lo + self.shortest_open
        if not opened and self._may_begin_a_period(clock, token):
            return None
        spec = self.spec
        if token.call in key.old:
            if spec.stale == "ignored" and not (self.heeds_while_open or spec.stale_frees_permit):
                return key, clock
        elif spec.stale != "counted" and token.begun_ns < self.known_from_ns:
            return None
        if key.state == "closed":
            if token.what == "neutral":
                return key, clock
            soon = token.hi_ns < clock.opens_from_ns + self.shortest_open
            if not (token.lonely and soon and token.slow is not None) or spec.evaluation_ns:
                return None
            if self.plain_row and (token.what == "success" or key.failures + 1 < spec.failures):
                return self._row_at_once(key, clock, token)
            return self._counted_at_once(key, clock, token)
        return (key, clock) if opened and not self.heeds_while_open else None

    def _counted_at_once(self, key: Key, clock: Clock, token: Token) -> tuple[Key, Clock] | None:
        slow, stale = bool(token.slow), token.call in key.old
        steps = list(self.outcome(key, clock, token, token.at, token.what, slow=slow, stale=stale))
        if len(steps) != 1 or steps[0][0].state != "closed":
            return None  # one that may trip it is another matter: when is then a question
        after, then = steps[0]
        waiting = [
            o for o in self.open.values() if o.kind in "OA" and o is not token and o.number not in key.fired
        ]
        if key.period != after.period or clock.since_lo != then.since_lo:
            return None if waiting else steps[0]  # in a new period; what waits may belong to the one before
        # Where a window goes by the clock, what may have come before is not to be moved past.
        passed = self.spec.window_ns and any(o.kind == "O" and o.lo_ns < then.now_ns for o in waiting)
        return None if passed and then.now_ns > clock.now_ns else steps[0]

    def _row_at_once(self, key: Key, clock: Clock, token: Token) -> tuple[Key, Clock]:
        """What `outcome` says where only a row of failures is counted, without its detours: most outcomes come this way."""
        failures = 0 if token.what == "success" else key.failures + 1
        if failures != key.failures:
            key = key._replace(failures=failures)
        if clock.now_ns >= token.lo_ns:
            return key, clock
        return key, clock._replace(now_ns=token.lo_ns)

    def let_in(self, key: Key, token: Token) -> bool:
        """Whether the call of an outcome has been let in already, or may have been where nobody saw it."""
        mate = None if token.mate is None else self.open.get(token.mate)
        return mate is None or mate.optional or mate.number in key.fired

    def outcome(
        self, key: Key, clock: Clock, token: Token, by: Interval, what: str, *, slow: bool, stale: bool
    ) -> Iterable[tuple[Key, Clock]]:
        """The configurations after an outcome that came within `by`."""
        return self.automaton.outcome(
            key,
            clock,
            by,
            Result(what, slow, token.at, token.begun_ns),
            stale=stale,
            running=partial(self.running, key, token.call),
            # Those that are running beside it: its own start is told with its outcome.
            unseen=len(self.live) - (token.call in self.live) if self.from_start else 0,
        )

    def running(self, key: Key, ending: int | None) -> frozenset[int]:
        """Calls that are in flight in this configuration, but for the one that is just let in or ends."""
        if self.anonymous:
            return frozenset()
        return frozenset(
            call
            for call, (decision, outcome) in self.live.items()
            if call != ending
            and (decision not in self.open or decision in key.fired)
            and (outcome is None or outcome not in key.fired)
        )
