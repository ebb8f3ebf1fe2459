"""Sweep a track's observations in time and keep every configuration that still explains them.

Each observation is a *token*: something that happened at an unknown instant of an interval (a call let in or turned
away, an outcome, a reported transition, a state that was read). A token is *open* from its lower end on and must have
happened by its upper end. Nothing is decided before it has to be: when a token's upper end comes, each
configuration is stepped until that token has happened, trying first whatever other open tokens could come before it.

Three facts keep this linear without giving up a single explanation:

- of two outcomes of one kind, the one whose interval begins and ends no later comes first: swapping them changes nothing;
- a token that changes nothing now, and could not change anything before its upper end either, happens at once (a call
  let in while closed, an outcome while open that cannot reach half-open in time, an outcome whose order cannot matter; see `present`);
  where a window goes by the clock, that must not move the present past outcomes that may have come before;
- configurations with the same discrete half are merged by the hull of their clocks.

Where records were lost, the sweep begins anew with every configuration there is. Of a call that was let in before that, nobody
knows in which epoch: its outcome is taken both ways.

Observations nearer than `delta` may have happened in either order: each interval grows by half of it at either end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from resilience.breaker.automaton import Automaton, Clock, Key
from resilience.breaker.evidence import FOREVER_NS
from resilience.breaker.observation import Interval
from resilience.breaker.present import Present
from resilience.breaker.tokens import Token, Tokens

CAP = 1024
_BOTH = (False, True)


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

    `start` is the set to begin with; by default that of a breaker made at some time before the first thing happened.
    """
    if start is None:
        certain = (ns for ns, over, index in tokens.edges if over and not tokens.all[index].optional)
        first = next(certain, tokens.end_ns)
        start = automaton.fresh(Interval(tokens.begin_ns, max(first, tokens.begin_ns)))
    return _Sweep(automaton, list(start), tokens, cap).run(from_ns, until_ns)


class _Sweep(Present):
    def __init__(
        self, automaton: Automaton, start: Sequence[tuple[Key, Clock]], tokens: Tokens, cap: int
    ) -> None:
        super().__init__(automaton, tokens.begin_ns)
        self.cap = cap
        # Many configurations for a moment are the set's business; many all the time would take for ever.
        self.budget = 8 * cap + 24 * len(tokens.all)
        self.tokens = tokens
        self.configs: dict[Key, Clock] = {}
        for key, clock in start:
            _add(self.configs, key, clock)
        self.most = len(self.configs)
        self.timed = automaton.timed

    def run(self, from_ns: int | None, until_ns: int | None) -> Swept:
        everything, opened = self.tokens.all, self.open
        restarts = [r for r in self.tokens.restarts if from_ns is None or r > from_ns]
        since = from_ns
        if from_ns is not None:
            self.known_from_ns = from_ns + 1
        for now, closing, index in self.tokens.edges:
            if restarts and now > restarts[0]:
                since = self._restart(restarts.pop(0))
            if now >= FOREVER_NS or (until_ns is not None and now > until_ns):
                break  # what may come at any time later need not have come
            token = everything[index]
            if since is not None and token.lo_ns < since:
                continue
            if not closing:
                if len(self.configs) == 1 and not token.optional and self._alone(token):
                    continue
                self._opens(token)
            elif index in opened and not self._closes(token, now):
                return Swept(token, now, self.most, {})
        return Swept(None, until_ns or self.tokens.end_ns, self.most, self.configs)

    def _restart(self, at_ns: int) -> int:
        """Forget everything: records from before `at_ns` were lost."""
        self.open.clear()
        self.live.clear()
        self.known_from_ns = at_ns + 1  # what began at that very instant may be older, too
        self.configs = {}
        for key, clock in self.automaton.anything(at_ns):
            _add(self.configs, key, clock)
        return at_ns

    # ---- a token's two ends

    def _opens(self, token: Token) -> None:
        if token.kind == "A" and (self.from_start or not self.anonymous):
            self.live[token.call] = (token.number, token.mate)
        if not token.optional:
            happened: dict[Key, Clock] = {}
            for key, clock in self.configs.items():
                step = self.at_once(key, clock, token)
                if step is None:
                    break
                _add(happened, *step)
            else:
                self.configs = happened  # it has happened in every configuration: nothing is left to remember
                if token.kind == "O":
                    self.live.pop(token.call, None)
                return
        self.open[token.number] = token
        self.configs = self._settled(self.configs.items())

    def _alone(self, token: Token) -> bool:
        """The same for a single configuration: whether the token has happened in it at once. Most tokens end here."""
        ((key, clock),) = self.configs.items()
        step = self.at_once(key, clock, token)
        if step is None:
            return False
        if token.kind == "A":
            if self.from_start or not self.anonymous:
                self.live[token.call] = (token.number, token.mate)
        elif token.kind == "O":
            self.live.pop(token.call, None)
        if step[0] is not key or step[1] is not clock:
            self.configs = {step[0]: step[1]}
        return True

    def _closes(self, token: Token, now: int) -> bool:
        if not token.optional and any(not self._happened(key, token) for key in self.configs):
            self.configs = self._resolve(token, now)
        elif token.optional and any(
            token.number not in key.fired and not (self._pointless(key, token) and self._stays(key, token))
            for key in self.configs
        ):
            # The last chance for it to have happened; that it did not stays possible, too.
            for key, clock in self._resolve(token, now).items():
                _add(self.configs, key, clock)
        del self.open[token.number]
        gone, ends = token.number, token.kind == "O"
        if ends:
            self.live.pop(token.call, None)
        cleaned: dict[Key, Clock] = {}
        for key, clock in self.configs.items():
            kept = key
            if gone in key.fired:
                kept = kept._replace(fired=key.fired - {gone})
            if ends and token.call in key.old:
                kept = kept._replace(old=key.old - {token.call})
            _add(cleaned, kept, clock)
        self.configs = cleaned
        return bool(cleaned)

    def _happened(self, key: Key, token: Token) -> bool:
        return key.used > token.position if token.kind == "T" else token.number in key.fired

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
                if token.optional or token.kind == "T" or token.number in key.fired:
                    continue
                step = self.at_once(key, clock, token)
                if step is not None:
                    key, clock = step[0]._replace(fired=step[0].fired | {token.number}), step[1]
                    again = True
        return key, clock

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
        tried: dict[tuple[object, ...], list[Token]] = {}
        for token in self.open.values():
            if token.kind in "TP" or token.number in key.fired:
                continue
            if token.optional and self._pointless(key, token):
                continue
            if token.kind == "O":
                if not token.optional and not self.let_in(key, token):
                    continue
                vague = token.begun_ns < self.known_from_ns
                kind = (token.what, token.optional, token.call in key.old, token.slow, vague)
                rivals = tried.setdefault(kind, [])
                if not any(r.lo_ns <= token.lo_ns and r.hi_ns <= token.hi_ns for r in rivals):
                    rivals[:] = [r for r in rivals if r.lo_ns < token.lo_ns or r.hi_ns < token.hi_ns]
                    rivals.append(token)
                continue
            yield from self._fire(key, clock, token, now)
        for rivals in tried.values():
            for token in rivals:
                yield from self._fire(key, clock, token, now)
        if self.timed:
            yield from self.automaton.timer(key, clock, now, partial(self.running, key, None))

    def _stays(self, key: Key, but: Token) -> bool:
        """Whether nothing that is still waited for can have led anywhere else before."""
        waiting = (t for t in self.open.values() if t.kind in "AO" and t is not but)
        return not self.timed and all(token.number in key.fired for token in waiting)

    def _pointless(self, key: Key, token: Token) -> bool:
        """Whether something that need not have happened would change nothing here."""
        if self.by_activity and key.state == "closed":
            return False  # it may begin a period
        if token.kind == "A":
            return key.state == "closed" or (key.state == "half_open" and self.anonymous)
        return key.state == "open" and not self.heeds_while_open

    def _fire(self, key: Key, clock: Clock, token: Token, now: int) -> Iterable[tuple[Key, Clock]]:
        by = token.at if token.hi_ns <= now else Interval(token.lo_ns, now)
        fired = key.fired | {token.number}
        if token.kind == "A":
            steps = self.automaton.admit(key, clock, by, partial(self.running, key, token.call))
        elif token.kind == "R":
            steps = self.automaton.reject(key, clock, by)
        else:
            vague = token.optional or token.begun_ns < self.known_from_ns
            return [
                (after._replace(fired=fired), then)
                for what in (("success", "failure", "neutral") if token.what == "any" else (token.what,))
                for slow in (_BOTH if token.slow is None else (token.slow,))
                for stale in (_BOTH if vague else (token.call in key.old,))
                for after, then in self.outcome(key, clock, token, by, what, slow=slow, stale=stale)
            ]
        return [(after._replace(fired=fired), then) for after, then in steps]


def _add(configs: dict[Key, Clock], key: Key, clock: Clock) -> None:
    known = configs.get(key)
    configs[key] = clock if known is None or known == clock else known.hull(clock)
