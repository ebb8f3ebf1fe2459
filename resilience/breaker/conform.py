"""Whether a track has any explanation at all, and if not: since when, and what would have to be different.

The sweep says at which observation the last explanation died. From there

- the *witness* is the latest instant from which even a breaker in any state whatever cannot explain what followed;
- the *blame* is found by changing one thing at a time and sweeping again: a parameter ("holds if failures = 4"), a habit
  ("holds if rejections restart the wait") or, where neither explains it, one guard dropped altogether. Parameters
  come first because an explanation that keeps every rule, with another number, is the simpler one.

A hole in the history (records that were lost) is jumped over: whatever the breaker did in it is allowed, and what follows is
explained from any configuration. Such a history can fail, but what it says of a rule is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from resilience.breaker.automaton import Automaton, relax
from resilience.breaker.changes import Change, alternatives
from resilience.breaker.evidence import Track
from resilience.breaker.observation import Interval
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.sweep import CAP, TooManyError, sweep
from resilience.breaker.tokens import Token, Tokens, blind_spots, reported, tokens

_GUARDS: Final = ("R2", "R3", "R4", "R5", "R6", "R7", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R17")
_MS: Final = 1_000_000
ASKED_CAP: Final = 256  # a side question is not worth as many configurations as the verdict itself


@dataclass(frozen=True, slots=True)
class Conformance:
    """What a sweep over a whole track came to.

    `why_not` names the reason for which nothing can be said (then everything else is empty). `stuck` None: explained.
    """

    why_not: str = ""
    stuck: Token | None = None
    at_ns: int = 0
    most: int = 0
    holes: tuple[Interval, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether some trajectory explains every observation."""
        return not self.why_not and self.stuck is None


class Explainer:
    """One track's tokens, swept under whatever automaton is asked about; nothing is swept twice."""

    def __init__(self, track: Track, spec: BreakerSpec, *, cap: int = CAP) -> None:
        self.cap = cap
        self.track = track
        self.spec = spec
        self.why_not = _unfit(track, spec)
        self.automaton = Automaton(spec, reported(track, spec))
        self._tokens: dict[tuple[object, ...], Tokens] = {}
        self._known: Conformance | None = None
        self._window: Interval | None = None
        self._explanations: tuple[Change, ...] | None = None

    def tokens_for(self, spec: BreakerSpec) -> Tokens:
        """Outcomes are classified by the specification, so another one may have other tokens."""
        relevant = (
            spec.timeout_as,
            spec.cancelled_as,
            spec.excluded_as,
            spec.slow_ns,
            spec.slow_ratio is None,
        )
        if relevant not in self._tokens:
            track = self.track if spec is self.spec else _reclassified(self.track, spec)
            self._tokens[relevant] = tokens(track, spec)
        return self._tokens[relevant]

    def explains(
        self, automaton: Automaton, *, from_ns: int | None = None, until_ns: int | None = None
    ) -> bool:
        """Whether an automaton explains the observations in a window; above the cap: yes, for all we know."""
        found = self.tokens_for(automaton.spec)
        try:
            start = (
                None
                if from_ns is None and self.track.fresh
                else automaton.anything(from_ns or found.begin_ns)
            )
            swept = sweep(automaton, found, from_ns=from_ns, until_ns=until_ns, start=start, cap=ASKED_CAP)
            return swept.stuck is None
        except TooManyError:
            return True

    def conformance(self) -> Conformance:
        """Sweep the whole track once, and say what became of it."""
        if self._known is None:
            self._known = self._conformance()
        return self._known

    def _conformance(self) -> Conformance:
        if self.why_not:
            return Conformance(self.why_not)
        found = self.tokens_for(self.spec)
        try:
            start = None if self.track.fresh else self.automaton.anything(found.begin_ns)
            swept = sweep(self.automaton, found, start=start, cap=self.cap)
        except TooManyError:
            return Conformance("too coarse: more explanations than can be told apart")
        if swept.stuck is None:
            return Conformance(most=swept.most, holes=blind_spots(self.track, self.spec))
        return Conformance("", swept.stuck, swept.at_ns, swept.most)

    def window(self) -> Interval:
        """The latest start from which any configuration still gets stuck: gallop back, then halve."""
        if self._window is None:
            self._window = self._smallest(self.conformance().at_ns, self.tokens_for(self.spec).begin_ns)
        return self._window

    def explanations(self) -> tuple[Change, ...]:
        """The single changes that explain an inexplicable history."""
        if self._explanations is None:
            self._explanations = tuple(self._blame(self.conformance().at_ns))
        return self._explanations

    def _smallest(self, at_ns: int, begin_ns: int) -> Interval:
        back = 50 * _MS
        while at_ns - back > begin_ns and self.explains(self.automaton, from_ns=at_ns - back, until_ns=at_ns):
            back *= 2
        good, bad = back // 2, min(back, at_ns - begin_ns)
        while bad - good > 2 * _MS:
            middle = (good + bad) // 2
            if self.explains(self.automaton, from_ns=at_ns - middle, until_ns=at_ns):
                good = middle
            else:
                bad = middle
        return Interval(at_ns - bad, at_ns)

    def _blame(self, at_ns: int) -> Iterator[Change]:
        horizon = at_ns + 2 * self.spec.wait_ns + (self.spec.timeout_ns or 0)
        single = list(self.alternatives())
        found = [c for c in single if not c.wider and self.explains(c.automaton)]
        if not found:
            found = [c for c in single if c.wider and self.explains(c.automaton)]
        if not found:
            guards = [Change(rule, f"{rule} is dropped", relax(self.automaton, rule)) for rule in _GUARDS]
            found = [c for c in guards if self.explains(c.automaton, until_ns=horizon)]
        yield from found

    def alternatives(self, to: Automaton | None = None) -> Iterator[Change]:
        """Breakers that differ in one parameter or one habit (from `to`, by default from the specification), nearest first."""
        yield from alternatives(to or self.automaton, self.track.outcomes)


def _unfit(track: Track, spec: BreakerSpec) -> str:
    """Why a track cannot be swept; "" if it can."""
    if not track.calls:
        return "unattributed" if track.orphans or track.strays else "no calls observed"
    if any(gap.at is None for gap in track.lost("calls", "wire")):
        return "truncated"
    if spec.manual == "possible" and not track.eventful:
        return "not modelled: switched by hand without a report"
    return ""


def _reclassified(track: Track, spec: BreakerSpec) -> Track:
    classified = {"timeout", "cancelled", "excluded"}
    return replace(
        track,
        calls=tuple(
            replace(c, kind=spec.classify(c.outcome))
            if c.outcome in classified and c.kind != "running" and len(c.arrivals) <= 1
            else c
            for c in track.calls
        ),
    )
