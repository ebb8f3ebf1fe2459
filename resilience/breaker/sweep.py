"""Sweep a track's observations in time and keep every configuration that still explains them.

Each observation is a *token*: something that happened at an unknown instant of an interval (a call let in or turned
away, an outcome, a reported transition, a state that was read). A token is *open* from its lower end on and must have
happened by its upper end. Nothing is decided before it has to be: when a token's upper end comes, each
configuration is stepped until that token has happened, trying first whatever other open tokens could come before it.

Three facts keep this linear without giving up a single explanation:

- among outcomes of one kind, earliest upper end first: swapping two that are both open changes nothing;
- a token that changes nothing now, and could not change anything before its upper end either, happens at once (a call
  let in while closed, an outcome while open that cannot reach half-open in time, a success that no failure overlaps);
- configurations with the same discrete half are merged by the hull of their clocks.

Observations nearer than `delta` may have happened in either order: each interval grows by half of it at either end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from resilience.breaker.automaton import Automaton, Clock, Key
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.tokens import Token, Tokens

CAP = 4096


class TooManyError(Exception):
    """More configurations than the cap: the history is too uncertain to be explained one by one."""


@dataclass(slots=True)
class Swept:
    """What a sweep came to: `stuck` is the token that no configuration could explain, None if all were explained."""

    stuck: Token | None = None
    at_ns: int = 0
    most: int = 0
    final: dict[Key, Clock] = field(default_factory=dict)


def sweep(
    automaton: Automaton,
    tokens: Tokens,
    *,
    from_ns: int | None = None,
    until_ns: int | None = None,
    start: Iterable[tuple[Key, Clock]] | None = None,
    cap: int = CAP,
) -> Swept:
    """Explain the tokens that lie wholly within [from_ns, until_ns]; raises TooManyError above the cap.

    `start` is the set to begin with; by default "closed, nothing counted" at the very beginning.
    """
    begin = [(Key("closed"), Clock(tokens.begin_ns))] if start is None else list(start)
    return _Sweep(automaton, begin, tokens, cap).run(from_ns, until_ns)


class _Sweep:
    def __init__(
        self, automaton: Automaton, start: Sequence[tuple[Key, Clock]], tokens: Tokens, cap: int
    ) -> None:
        self.cap = cap
        # Many configurations for a moment are the set's business; many all the time would take for ever.
        self.budget = 8 * cap + 24 * len(tokens.all)
        self.automaton = automaton
        self.spec: BreakerSpec = automaton.spec
        self.tokens = tokens
        self.configs: dict[Key, Clock] = {}
        for key, clock in start:
            _add(self.configs, key, clock)
        self.open: dict[int, Token] = {}
        self.live: dict[int, tuple[int, int | None]] = {}  # call -> its decision token, its outcome token
        self.most = len(self.configs)
        least, _ = self.spec.wait_of(1)
        self.shortest_open = least - self.spec.eps_ns
        self.timed = self.spec.entry != "lazy" or self.spec.dwell_ns is not None

    def run(self, from_ns: int | None, until_ns: int | None) -> Swept:
        everything = self.tokens.all
        for now, closing, index in self.tokens.edges:
            token = everything[index]
            if from_ns is not None and token.lo_ns < from_ns:
                continue
            if until_ns is not None and now > until_ns:
                break
            if not closing:
                self._opens(token)
            elif index in self.open and not self._closes(token, now):
                return Swept(token, now, self.most, {})
        return Swept(None, until_ns or self.tokens.end_ns, self.most, self.configs)

    # ---- a token's two ends

    def _opens(self, token: Token) -> None:
        if token.kind == "A" and not self.automaton.anonymous:
            self.live[token.call] = (token.index, token.mate)
        happened: dict[Key, Clock] = {}
        waiting = False
        for key, clock in self.configs.items():
            step = None if token.optional else self._at_once(key, clock, token)
            if step is None:
                waiting = True
                break
            _add(happened, *step)
        if not waiting:
            self.configs = happened  # it has happened in every configuration: nothing is left to remember
            self._forget_live(token)
            return
        self.open[token.index] = token
        self.configs = self._settled(self.configs.items())

    def _closes(self, token: Token, now: int) -> bool:
        if not token.optional and any(not self._happened(key, token) for key in self.configs):
            self.configs = self._resolve(token, now)
        del self.open[token.index]
        self._forget_live(token)
        gone = token.index
        cleaned: dict[Key, Clock] = {}
        for key, clock in self.configs.items():
            kept = key
            if gone in key.fired:
                kept = kept._replace(fired=key.fired - {gone})
            if token.kind == "O" and token.call in key.old:
                kept = kept._replace(old=key.old - {token.call})
            _add(cleaned, kept, clock)
        self.configs = cleaned
        return bool(cleaned)

    def _forget_live(self, token: Token) -> None:
        if token.kind == "O":
            self.live.pop(token.call, None)

    def _happened(self, key: Key, token: Token) -> bool:
        return key.used > token.position if token.kind == "T" else token.index in key.fired

    # ---- what changes nothing happens at once

    def _at_once(self, key: Key, clock: Clock, token: Token) -> tuple[Key, Clock] | None:
        """The configuration after a token whose happening now cannot cost an explanation; None: wait."""
        kind = token.kind
        if kind == "A":
            # Let in while closed (or half-open, where nobody counts) it changes nothing, and it must have come before
            # the next opening: after that one there would not be time enough for another half-open.
            idle = key.state == "closed" or (key.state == "half_open" and self.automaton.anonymous)
            if not idle or token.hi_ns >= clock.now_ns + self.shortest_open:
                return None
            return key, clock._replace(now_ns=max(clock.now_ns, token.lo_ns))
        if kind == "O":
            return self._outcome_at_once(key, clock, token)
        if kind == "R":
            step = next(iter(self.automaton.reject(key, clock, token.at)), None)
            if step is None or self.automaton.relaxed:
                return None
            return step if self.automaton.habit else (step[0], clock)
        holds = key.used > token.position if kind == "T" else key.state == token.what
        return (key, clock) if holds else None

    def _outcome_at_once(self, key: Key, clock: Clock, token: Token) -> tuple[Key, Clock] | None:
        if self.automaton.relaxed & {"R13", "R14"} or not self._let_in(key, token):
            return None
        spec = self.spec
        if token.call in key.old and spec.stale == "ignored" and not spec.late_failure_restarts_wait:
            return key, clock
        if key.state == "closed":
            soon = token.hi_ns < clock.now_ns + self.shortest_open
            if token.what == "success" and token.lonely and soon:
                running = partial(self._running, key, token.call)
                steps = self.automaton.outcome(key, clock, token.at, "success", stale=False, running=running)
                step = next(iter(steps), None)
                # A success that completes the least number of calls may trip a window: when is then a question.
                return step if step is not None and step[0].state == "closed" else None
            return (key, clock) if token.what == "neutral" else None
        if key.state == "open" and token.hi_ns < clock.open_lo + self.shortest_open:
            heeded = spec.late_failure_restarts_wait or spec.success_while_open_closes
            return None if heeded or "R7" in self.automaton.relaxed else (key, clock)
        return None

    def _settled(self, configs: Iterable[tuple[Key, Clock]]) -> dict[Key, Clock]:
        """Let everything happen that can happen at once, in each configuration."""
        settled: dict[Key, Clock] = {}
        for key, clock in configs:
            self._spend(1 + len(self.open) // 64)
            _add(settled, *self._settle(key, clock))
        self.most = max(self.most, len(settled))
        return settled

    def _spend(self, steps: int) -> None:
        self.budget -= steps
        if self.budget < 0:
            raise TooManyError

    def _settle(self, key: Key, clock: Clock) -> tuple[Key, Clock]:
        again = True
        while again:
            again = False
            for token in self.open.values():
                if token.optional or token.kind == "T" or token.index in key.fired:
                    continue
                step = self._at_once(key, clock, token)
                if step is not None:
                    key, clock = step[0]._replace(fired=step[0].fired | {token.index}), step[1]
                    again = True
        return key, clock

    def _let_in(self, key: Key, token: Token) -> bool:
        """Whether the call of an outcome has been let in already."""
        return token.mate is None or token.mate not in self.open or token.mate in key.fired

    # ---- what must have happened by now

    def _resolve(self, due: Token, now: int) -> dict[Key, Clock]:
        """All configurations in which `due` has happened, reached over any order of the open tokens."""
        done: dict[Key, Clock] = {}
        seen: dict[Key, Clock] = {}
        stack = list(self.configs.items())
        while stack:
            key, clock = stack.pop()
            if self._happened(key, due):
                _add(done, key, clock)
                continue
            known = seen.get(key)
            if known is not None and known.hull(clock) == known:
                continue
            seen[key] = clock if known is None else known.hull(clock)
            self._spend(1 + len(self.open) ** 2 // 64)  # each open token is tried, and each try looks at each
            if len(seen) > self.cap:
                raise TooManyError
            stack.extend(self._settle(*after) for after in self._successors(key, clock, now))
        self.most = max(self.most, len(seen))
        return done

    def _successors(self, key: Key, clock: Clock, now: int) -> Iterable[tuple[Key, Clock]]:
        tried: dict[tuple[str, str, bool], Token] = {}
        for token in self.open.values():
            if token.kind in "TP" or token.index in key.fired:
                continue
            if token.optional and self._pointless(key, token):
                continue
            if token.kind == "O":
                if not token.optional and not self._let_in(key, token):
                    continue
                kind = (token.what, "optional" if token.optional else "", token.call in key.old)
                first = tried.get(kind)
                if first is None or token.hi_ns < first.hi_ns:
                    tried[kind] = token
                continue
            yield from self._fire(key, clock, token, now)
        for token in tried.values():
            yield from self._fire(key, clock, token, now)
        if self.timed:
            yield from self.automaton.timer(key, clock, now, partial(self._running, key, None))

    def _pointless(self, key: Key, token: Token) -> bool:
        """Whether something that need not have happened would change nothing here."""
        if token.kind == "A":
            return key.state == "closed" or (key.state == "half_open" and self.automaton.anonymous)
        heeded = self.spec.late_failure_restarts_wait or self.spec.success_while_open_closes
        return key.state == "open" and not heeded and "R7" not in self.automaton.relaxed

    def _fire(self, key: Key, clock: Clock, token: Token, now: int) -> Iterable[tuple[Key, Clock]]:
        by = token.at if token.hi_ns <= now else Interval(token.lo_ns, now)
        running = partial(self._running, key, token.call)
        fired = key.fired | {token.index}
        automaton = self.automaton
        if token.kind == "A":
            steps = automaton.admit(key, clock, by, running)
        elif token.kind == "R":
            steps = automaton.reject(key, clock, by)
        else:
            return [
                (after._replace(fired=fired), then)
                for what in (("success", "failure") if token.what == "any" else (token.what,))
                for stale in ((False, True) if token.optional else (token.call in key.old,))
                for after, then in automaton.outcome(key, clock, by, what, stale=stale, running=running)
            ]
        return [(after._replace(fired=fired), then) for after, then in steps]

    def _running(self, key: Key, ending: int | None) -> frozenset[int]:
        """Calls that are in flight in this configuration, but for the one that is just let in or ends."""
        if self.automaton.anonymous:
            return frozenset()
        return frozenset(
            call
            for call, (decision, outcome) in self.live.items()
            if call != ending
            and (decision not in self.open or decision in key.fired)
            and (outcome is None or outcome not in key.fired)
        )


def _add(configs: dict[Key, Clock], key: Key, clock: Clock) -> None:
    known = configs.get(key)
    configs[key] = clock if known is None else known.hull(clock)
