"""Random correct breakers, workloads and jitters, many of them: no rule may fail, by any kind of evidence.

    python tests/simulation/breaker_soak.py 10000 [FIRST_SEED [CALLS]]

CALLS cuts the traffic of each world short: a fourth of the time for 200 calls, which is a few openings.

Then every short history there is, for some small breakers, by the verifier and by brute force. Runs on every core, prints what was
judged how, and ends with 1 if a rule failed or the two differed; each failure names its seed, each difference its history.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections import Counter as Tally
from functools import partial

from breaker_force import DEEP, SHORT, compared
from breaker_random import random_world
from breaker_world import only

from resilience.breaker.history import Arrival, Call, State, Transition
from resilience.breaker.report import Verdict, rule_order
from resilience.breaker.spec import BreakerSpec
from resilience.breaker.verify import verify

EVIDENCE: dict[str, tuple[type, ...]] = {"all": (), "wire": (Call, Arrival), "events": (Transition, State)}


def judged(seed: int, calls_most: int | None = None) -> tuple[int, Tally[tuple[str, str]], list[str]]:
    """Observations judged, verdicts by rule, and what is wrong, for one world by every kind of evidence."""
    world, mapping = random_world(seed, calls_most=calls_most)
    history = world.run()
    spec = BreakerSpec.from_mapping(mapping)
    seen = 0
    verdicts: Tally[tuple[str, str]] = Tally()
    wrong: list[str] = []
    for evidence, kinds in EVIDENCE.items():
        shown = only(history, *kinds) if kinds else history
        seen += len(shown)
        for instance in verify(shown, spec).instances:
            for rule in instance.rules.values():
                verdicts[rule.rule, rule.verdict.value] += 1
                if rule.verdict is Verdict.FAIL or "checker error" in rule.reason:
                    wrong.append(f"seed {seed} by {evidence}: {rule.rule} {rule.reason}\n{rule.witness}")
    return seen, verdicts, wrong


def main() -> int:
    """Judge so many worlds; 1 if any verdict was wrong."""
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    calls_most = int(sys.argv[3]) if len(sys.argv) > 3 else None
    begun = time.monotonic()
    seen, wrong = 0, 0
    verdicts: Tally[tuple[str, str]] = Tally()
    with multiprocessing.Pool() as pool:
        for number, (count, found, bad) in enumerate(
            pool.imap_unordered(
                partial(judged, calls_most=calls_most), range(first, first + worlds), chunksize=5
            ),
            start=1,
        ):
            seen += count
            verdicts.update(found)
            wrong += len(bad)
            for line in bad:
                print(line, flush=True)
            if number % 500 == 0:
                print(f"{number} worlds, {wrong} wrong", flush=True)
    for rule in sorted({rule for rule, _ in verdicts}, key=rule_order):
        print(rule, *[f"{v.value} {verdicts[rule, v.value]}" for v in Verdict if verdicts[rule, v.value]])
    print(f"{worlds} breakers, {seen} observations, {time.monotonic() - begun:.0f} s: {wrong} wrong verdicts")
    return 1 if wrong + exhausted() else 0


def exhausted() -> int:
    """On how many short histories verifier and brute force differ."""
    differences = 0
    with multiprocessing.Pool() as pool:
        sizes = [(size, trip) for size in DEEP for trip in SHORT]
        for (size, trip), (tried, explained, different) in zip(
            sizes, pool.starmap(compared, sizes, chunksize=1), strict=True
        ):
            differences += len(different)
            print(
                f"{trip}, calls {size[0]}: {tried} histories, {explained} explained, {len(different)} differ"
            )
            for calls in different[:3]:
                print(f"  {calls}")
    return differences


if __name__ == "__main__":
    sys.exit(main())
