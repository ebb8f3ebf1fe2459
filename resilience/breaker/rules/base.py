"""What a rule is, and the words it answers in.

A rule looks at one track (and its openings) and says how often it was tested, which tests failed for certain, and
which stay open. It FAILs only if every completion of the uncertain history violates it, so each comparison uses
the end of an interval that speaks *for* the breaker; it PASSes only if none does, so a test in which some
completion violates counts as unsettled and the verdict is UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from resilience.breaker.conform import Explainer
from resilience.breaker.episodes import Opening
from resilience.breaker.evidence import FOREVER_NS, CallEvidence, Track
from resilience.breaker.observation import NS_PER_S, Counter, Interval
from resilience.breaker.report import RuleVerdict, Verdict, Witness
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.tokens import Token

_SHOWN = 12  # lines of a witness; more would not be read


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule is given: the track, its openings, and the specification to hold it to."""

    track: Track
    openings: tuple[Opening, ...]
    spec: BreakerSpec
    origin_ns: int
    explainer: Explainer
    peers: tuple[
        tuple[Opening, ...], ...
    ] = ()  # the openings of every instance of this breaker, this one's too
    settled: frozenset[str] = frozenset()  # rules that an earlier stretch of this life has tested
    totals_before: tuple[
        Counter, ...
    ] = ()  # read in earlier stretches of this life, as far as a horizon reaches back

    def at(self, ns: int) -> str:
        """A time for people: seconds since the history began."""
        return "never" if ns >= FOREVER_NS else f"{(ns - self.origin_ns) / NS_PER_S:.3f} s"

    def within(self, interval: Interval) -> str:
        """An interval for people."""
        if interval.hi_ns - interval.lo_ns < 500_000:
            return self.at(interval.hi_ns)
        return f"[{self.at(interval.lo_ns)}, {self.at(interval.hi_ns)}]"

    def call(self, call: CallEvidence) -> str:
        """One call as a line of a witness."""
        fate = {True: "admitted", False: "rejected", None: "fate unknown"}[call.admitted]
        line = f"call {call.id}: started {self.within(call.start)}, {fate} by {self.at(call.decision.hi_ns)}"
        if call.finish is not None:
            line += f", {call.outcome} at {self.within(call.finish)}"
        return line

    def witness_lines(self) -> list[str]:
        """The observations in the window that no configuration explains, the last one marked."""
        known = self.explainer.conformance()
        if known.stuck is None:
            return []
        window = self.explainer.window()
        found = self.explainer.tokens_for(self.spec)
        inside = [t for t in found.all if t.lo_ns >= window.lo_ns and t.lo_ns <= known.at_ns]
        inside.sort(key=lambda t: (t.lo_ns, t.hi_ns))
        shown = [self._token(t) for t in inside if t is not known.stuck]
        if len(shown) > _SHOWN - 1:
            shown = [*shown[:3], f"... {len(shown) - _SHOWN + 2} more ...", *shown[-(_SHOWN - 5) :]]
        return [*shown, f"{self._token(known.stuck)}   <- no explanation left"]

    def _token(self, token: Token) -> str:
        whose = f"call {self.track.calls[token.call].id}" if token.call >= 0 else "a call of unknown origin"
        what = {
            "A": f"{whose} let in",
            "R": f"{whose} turned away",
            "O": f"{whose} ended: {token.what}",
            "T": f"event: to {token.what}",
            "P": f"poll: {token.what}",
        }[token.kind]
        return f"{self.within(token.at)} {what}{' (uncertain)' if token.optional else ''}"


@dataclass(slots=True)
class Finding:
    """What a rule found while it looks; becomes a RuleVerdict."""

    exercised: int = 0
    unsettled: int = 0
    unsettled_why: str = "too coarse"
    idle_why: str = "not exercised"
    failure: str = ""
    witness: Witness | None = None
    blame: tuple[str, ...] = ()
    margin: str | None = None
    rank: int = 0
    share: tuple[int, int] = (0, 0)
    failures: int = field(default=0)

    def fail(self, reason: str, window: Interval, lines: Iterable[str], *blame: str) -> None:
        """A certain violation; the one with the smallest window is kept as the witness."""
        self.exercised += 1
        self.failures += 1
        shown = tuple(lines)
        if len(shown) > _SHOWN:
            shown = (*shown[: _SHOWN - 1], f"... and {len(shown) - _SHOWN + 1} more")
        width = window.hi_ns - window.lo_ns
        if self.witness is None or width < self.witness.window.hi_ns - self.witness.window.lo_ns:
            self.failure, self.witness, self.blame = reason, Witness(window, shown), tuple(blame)

    def open_question(self, why: str) -> None:
        """A test that some completions pass and others do not."""
        self.unsettled += 1
        self.unsettled_why = why

    def verdict(self, rule: Rule) -> RuleVerdict:
        """FAIL before UNKNOWN before PASS."""
        if self.failures:
            verdict, reason = Verdict.FAIL, self.failure
            if self.failures > 1:
                reason += f" ({self.failures} times)"
        elif self.unsettled:
            verdict, reason = Verdict.UNKNOWN, self.unsettled_why
        elif not self.exercised:
            verdict, reason = Verdict.UNKNOWN, self.idle_why
        else:
            verdict, reason = Verdict.PASS, ""
        return RuleVerdict(
            rule.id,
            rule.title,
            verdict,
            reason,
            self.exercised,
            self.unsettled,
            self.witness,
            self.blame,
            self.margin,
            self.rank,
            self.share,
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's id, its title, and the function that looks."""

    id: str
    title: str
    check: Callable[[Case], Finding]
    stimulus: str = ""  # what traffic exercises it, said where it was not exercised


def ms(ns: int) -> str:
    """A duration for people."""
    return f"{ns / 1e6:.1f} ms"


def hull(calls: Iterable[CallEvidence], *more: Interval) -> Interval:
    """The smallest interval that holds the starts and decisions of the calls, and `more`."""
    ends = [e for c in calls for e in (c.start.lo_ns, c.decision.hi_ns)]
    ends += [e for i in more for e in (i.lo_ns, i.hi_ns)]
    known = [e for e in ends if e < FOREVER_NS]
    return Interval(min(known), max(known))
