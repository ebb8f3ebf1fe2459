"""What a sweep need not look at: the middle of a calm stretch, in which calls were let in and succeeded, and nothing else happened.

After the first few successes of such a stretch every configuration is closed and counts nothing (or is one that successes do not
change any more), and each further pair of admission and success leads back to where it came from. So the pairs in the
middle are left out; as many as any window, row or number of probes can remember stay at either end.

A time window remembers by the clock, and needs every success in it: each lowers the share of failures, and counts towards the least
number of calls. So calls are left out only when nothing from before the stretch is in any window any more, and none is that
a window after the stretch may reach back to. What is left out is therefore missing only from windows in which nothing failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from resilience.breaker.spec import BreakerSpec

if TYPE_CHECKING:
    from resilience.breaker.tokens import Token

LEAST = 6  # more than any alternative to a specification asks for beyond its own numbers


def idle(tokens: Sequence[Token], spec: BreakerSpec) -> frozenset[int]:
    """The numbers of the tokens that may be left out."""
    if spec.tumbling or spec.evaluation_ns or spec.window_survives or spec.counted_at == "start":
        return frozenset()
    pairs, busy = _sorted(tokens)
    keep = LEAST + spec.window + spec.successes + (spec.permitted or 0) + spec.resolving_results
    left_out: set[int] = set()
    index = 0
    for begin, end in gaps(busy, pairs[-1].ended_ns + 1 if pairs else 0):
        while index < len(pairs) and pairs[index].let_in_ns <= begin:
            index += 1
        first = index
        while index < len(pairs) and pairs[index].let_in_ns < end:
            index += 1
        stretch = [pair for pair in pairs[first:index] if pair.ended_ns < end]
        if len(stretch) <= 2 * keep:
            continue
        # Twice the window at either end: once for what it reaches, once for the step in which it may forget.
        reach_ns = 2 * spec.window_ns + spec.eps_ns
        settled = max(begin + reach_ns, *(pair.ended_ns for pair in stretch[:keep]))
        wanted = min(end - reach_ns, stretch[-keep].let_in_ns)
        for pair in stretch[keep:-keep]:
            if pair.let_in_ns > settled and pair.ended_ns < wanted:
                left_out |= {pair.admission, pair.outcome}
    return frozenset(left_out)


class _Pair(NamedTuple):
    """A call that was let in and succeeded: when at the earliest and at the latest, and the numbers of its tokens."""

    let_in_ns: int
    ended_ns: int
    admission: int
    outcome: int


def _sorted(tokens: Sequence[Token]) -> tuple[list[_Pair], list[tuple[int, int]]]:
    """The calm calls in order, and the times in which something else may have happened."""
    pairs: list[_Pair] = []
    busy: list[tuple[int, int]] = [(0, 0)]
    for token in tokens:
        if token.kind == "A" and _calm(tokens, token):
            assert token.mate is not None
            pairs.append(_Pair(token.lo_ns, tokens[token.mate].hi_ns, token.number, token.mate))
        elif token.kind == "P" and token.what == "closed" and token.failures is None:
            continue
        elif token.kind != "O" or token.mate is None or not _calm(tokens, tokens[token.mate]):
            busy.append((token.lo_ns, token.hi_ns))
    return sorted(pairs), sorted(busy)


def _calm(tokens: Sequence[Token], admission: Token) -> bool:
    """Whether a call was let in for certain, and was a success whose order cannot matter."""
    if admission.optional or admission.mate is None:
        return False
    outcome = tokens[admission.mate]
    return outcome.what == "success" and outcome.lonely and outcome.slow is False


def gaps(busy: Sequence[tuple[int, int]], until: int) -> list[tuple[int, int]]:
    """The times between busy ones (in order of their beginnings), up to the last thing that is known of."""
    joined: list[list[int]] = []
    for lo, hi in busy:
        if joined and lo <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], hi)
        else:
            joined.append([lo, hi])
    gaps = [(before[1], after[0]) for before, after in pairwise(joined)]
    return [*gaps, (joined[-1][1], until)]
