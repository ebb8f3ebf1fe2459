"""Workloads that exercise every rule: one for rows of failures and their recovery, one for windows."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from breaker_random import spec_of
from breaker_world import MS, Answer, Model, S, World

CORRECT = Model(failures=3, wait_ns=S, permitted=1, successes=2)

GOOD, BAD = Answer(3 * MS), Answer(3 * MS, "failure")
CANCELLED = Answer(S, "ok", 3 * MS)
EXCLUDED = Answer(3 * MS, "excluded")
HUNG = Answer(300 * MS, "timeout")
SLOW_PROBE = Answer(200 * MS)
LATE_BAD, LATE_OK = Answer(1150 * MS, "failure"), Answer(1150 * MS)  # begun while closed, end while half-open
OPEN_BAD, OPEN_OK = Answer(500 * MS, "failure"), Answer(500 * MS)  # begun while closed, end while open

# What is let in just before the threshold is reached, and what follows the wait; None: wait once more.
ROUNDS: tuple[tuple[tuple[Answer, ...], tuple[Answer | None, ...]], ...] = (
    ((), (GOOD, GOOD, BAD, GOOD, GOOD)),
    ((), (CANCELLED, GOOD, BAD, None, GOOD, GOOD)),
    ((), (CANCELLED, GOOD, GOOD, GOOD)),
    ((), (GOOD, BAD, None, GOOD, BAD, None, GOOD, GOOD)),
    ((LATE_BAD,), (SLOW_PROBE, GOOD, GOOD)),
    ((LATE_OK,), (SLOW_PROBE, BAD, None, GOOD, GOOD)),
    ((OPEN_BAD,), (GOOD, GOOD)),
    ((OPEN_OK,), (GOOD, GOOD)),
)


@dataclass(slots=True)
class _Script:
    """Calls with their answers, one after the other."""

    calls: list[int] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    now: int = 0

    def say(self, *answers: Answer, every: int = 15 * MS) -> None:
        for answer in answers:
            self.now += every
            self.calls.append(self.now)
            self.answers.append(answer)
            if answer is SLOW_PROBE:
                self.now += answer.ns

    def trip(self, model: Model, *before: Answer) -> None:
        """Fewer than the threshold, twice; then the threshold, with `before` begun ahead of it."""
        few = model.failures - 1
        self.say(*[GOOD] * 30, every=10 * MS)
        self.say(*[BAD] * few, GOOD, *[BAD] * few, GOOD)
        self.say(BAD, CANCELLED, *[BAD] * (few - 1), GOOD)
        self.say(*before, *[BAD] * max(model.failures, model.window))

    def dense(self, length: int, answer: Answer) -> None:
        self.say(*[answer] * (length // (10 * MS)), every=10 * MS)

    def wait(self, model: Model, nth: int) -> None:
        self.now += round(model.wait_ns * model.backoff ** (nth - 1)) + 40 * MS


def stimulus(model: Model, *, hop_ms: int = 0, seed: int = 0) -> World:
    """Traffic that exercises every rule: each round opens the breaker and leads it back in its own way."""
    script = _Script()
    for before, after in ROUNDS:
        script.trip(model, *before)
        nth = 1
        script.wait(model, nth)
        for answer in after:
            if answer is None:
                nth += 1
                script.wait(model, nth)
            else:
                script.say(answer)
        script.dense(S // 4, GOOD)
    script.trip(model)
    script.dense(
        model.wait_ns * 3 // 2, Answer(80 * MS)
    )  # more callers than permits across the end of the wait
    script.dense(S // 2, GOOD)
    script.trip(model, OPEN_BAD)
    script.dense(model.wait_ns * 3 // 2, Answer(60 * MS, "failure"))  # probes fail under dense traffic
    script.dense(round(model.wait_ns * 2 * model.backoff**2), GOOD)
    script.say(*[Answer(50 * MS, "failure")] * model.failures, every=70 * MS)  # slow failures trip it
    script.dense(model.wait_ns * 3 // 2, GOOD)
    script.dense(S // 2, GOOD)
    script.trip(model)
    script.now += 3 * model.wait_ns  # silence for three waits
    script.dense(S // 2, GOOD)
    few = model.failures - 1
    script.say(BAD, EXCLUDED, *[BAD] * (few - 1), GOOD)
    script.say(*[BAD] * few, CANCELLED, EXCLUDED, *[BAD] * max(1, model.window))  # neither breaks the row
    script.wait(model, 1)
    script.say(EXCLUDED, EXCLUDED, GOOD, BAD)  # an excluded probe gives its permit back
    script.wait(model, 2)
    script.say(HUNG)
    script.dense(HUNG.ns + model.wait_ns * 3, GOOD)
    script.trip(model)
    script.wait(model, 1)
    script.say(*[Answer(150 * MS)] * 4, every=MS // 2)  # a burst at the end of the wait
    script.dense(S, GOOD)
    answers = script.answers
    return World(
        model, lambda n, _: answers[n], script.calls, seed=seed, hop_ns=(0, hop_ms * MS), poll_ns=40 * MS
    )


def mixed(model: Model, *, hop_ms: int = 0, seed: int = 1) -> World:
    """Traffic for windows: spells of failing and slow calls in changing shares, each followed by a spell of health."""
    rng = random.Random(seed)
    script = _Script()
    for _ in range(24):
        share, slow = rng.choice([0.1, 0.3, 0.5, 0.7]), rng.choice([0.0, 0.0, 0.6])
        for _ in range(rng.randint(10, 60)):
            took = 80 * MS if rng.random() < slow else 3 * MS
            script.say(Answer(took, "failure" if rng.random() < share else "ok"), every=20 * MS)
        script.dense(S // 2, GOOD)
        script.say(*[BAD] * 6, every=150 * MS)  # many in a row, few in any one period
        script.dense(model.wait_ns * 3 // 2, GOOD)
        script.now += rng.choice([0, model.wait_ns])
    answers = script.answers
    hops = (0, hop_ms * MS)
    return World(model, lambda n, _: answers[n], script.calls, seed=seed, hop_ns=hops, poll_ns=40 * MS)


def spec_for(model: Model) -> dict[str, object]:
    """The specification that a mutant claims to keep."""
    return spec_of(replace(model, bugs=frozenset()))
