"""A chain: the toxics that act on one direction of one connection, composed into one pure automaton.

Theory of operation
    A chain is a frozen tuple of stages in insertion order. What a stage emits is the next stage's event, at
    once and in order; what the last stage emits comes out. Each stage has at most one alarm, and the chain
    shows the outside only the earliest. A chain of no stages is the identity.

    Toxics come and go while bytes are inside: `attach` inserts a stage (what was emitted before has passed
    it), `detach` makes the stage give up what it holds, into the stages behind it, and `update` hands the same
    state to a toxic with new attributes.

    Back-pressure is decided here, so that it can be tested without sockets: once the stages hold more than
    `cap_bytes`, `Pause` comes out; below half of it, `Resume`.

Invariants
    - Every byte fed in comes out once, in order, unless a toxic that may drop it did.
    - After a `Finish` came out nothing else does, and whatever is fed in is ignored.
    - Held bytes exceed `cap_bytes` by no more than what is fed after `Pause` came out.

It deliberately does not know clocks, timers, transports or how toxics were configured.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from faults.toxics.base import (
    Attached,
    Data,
    Detached,
    Effect,
    Emit,
    End,
    Event,
    Finish,
    Toxic,
    Updated,
    Wake,
    WakeAt,
)

__all__ = ["Chain", "Output", "Pause", "Resume", "Stage", "attach", "detach", "feed", "update", "wake"]


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading the source: enough is held."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Read the source again."""


Output = Emit | Finish | WakeAt | Pause | Resume


@dataclass(frozen=True, slots=True)
class Stage:
    """One toxic at work: `key` names it, `order` places it, `state` is its own; no key, a wall after the end."""

    key: str
    order: int
    toxic: Toxic
    state: Any
    alarm_ns: int | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """The stages of one direction of one connection, and the bytes that they keep back.

    Made empty with `Chain(cap_bytes=...)`.
    """

    cap_bytes: int
    stages: tuple[Stage, ...] = ()
    paused: bool = False
    finished: bool = False
    alarm_ns: int | None = None
    held_bytes: int = 0


_Step = tuple[Chain, tuple[Output, ...]]


def feed(chain: Chain, event: Data | End, now_ns: int) -> _Step:
    """Let data, or the end of the stream, in at the front."""
    if chain.finished:
        return chain, ()
    stages = list(chain.stages)
    return _settle(chain, stages, _run(stages, 0, (event,), now_ns))


def wake(chain: Chain, now_ns: int) -> _Step:
    """Ring every alarm that is due at `now_ns`; early calls do no harm."""
    stages = list(chain.stages)
    out: list[Effect] = []
    for index in range(len(stages)):
        # Looked up anew: what an earlier stage let go may have changed this one.
        alarm_ns = stages[index].alarm_ns
        if alarm_ns is not None and alarm_ns <= now_ns:
            stages[index] = replace(stages[index], alarm_ns=None)
            out.extend(_run(stages, index, (Wake(),), now_ns))
    return _settle(chain, stages, out)


def attach(chain: Chain, key: str, order: int, toxic: Toxic, rng: random.Random, now_ns: int) -> _Step:
    """Insert a toxic before the first stage of a higher `order`; what is downstream of there has passed it."""
    stages = list(chain.stages)
    index = next((i for i, stage in enumerate(stages) if stage.order > order), len(stages))
    ended = index > 0 and stages[index - 1].finished
    stages.insert(index, Stage(key, order, toxic, toxic.start(rng), finished=ended or chain.finished))
    return _settle(chain, stages, _run(stages, index, (Attached(),), now_ns))


def detach(chain: Chain, key: str, now_ns: int) -> _Step:
    """Remove a toxic; what it holds goes to the stages behind it at once. An unknown key changes nothing."""
    stages = list(chain.stages)
    index = _index(stages, key)
    if index is None:
        return chain, ()
    out = _run(stages, index, (Detached(),), now_ns)
    if stages[index].finished:
        # It ended the stream: a wall stays in its place, so that nothing follows the end.
        stages[index] = replace(stages[index], key="")
    else:
        del stages[index]
    return _settle(chain, stages, out)


def update(chain: Chain, key: str, toxic: Toxic, now_ns: int) -> _Step:
    """Give a stage new attributes, keeping its state. An unknown key changes nothing."""
    stages = list(chain.stages)
    index = _index(stages, key)
    if index is None:
        return chain, ()
    stages[index] = replace(stages[index], toxic=toxic)
    return _settle(chain, stages, _run(stages, index, (Updated(),), now_ns))


def _index(stages: list[Stage], key: str) -> int | None:
    return next((i for i, stage in enumerate(stages) if stage.key == key), None)


def _run(stages: list[Stage], first: int, events: tuple[Event, ...], now_ns: int) -> list[Effect]:
    """Take `events` through the stages from `first` on, in place; return what leaves the last one."""
    for index in range(first, len(stages)):
        stage = stages[index]
        passed_on: list[Event] = []
        state, alarm_ns, finished = stage.state, stage.alarm_ns, stage.finished
        for event in events:
            if finished:
                break
            state, effects = stage.toxic.step(state, event, now_ns)
            for effect in effects:
                if isinstance(effect, WakeAt):
                    alarm_ns = effect.at_ns
                elif not finished:
                    finished = isinstance(effect, Finish)
                    passed_on.append(Data(effect.chunk) if isinstance(effect, Emit) else End(effect.ending))
        if finished:
            alarm_ns = None
        stages[index] = Stage(stage.key, stage.order, stage.toxic, state, alarm_ns, finished)
        if not passed_on:
            return []
        events = tuple(passed_on)
    return [_as_effect(event) for event in events if isinstance(event, Data | End)]


def _as_effect(event: Data | End) -> Effect:
    return Emit(event.chunk) if isinstance(event, Data) else Finish(event.ending)


def _settle(chain: Chain, stages: list[Stage], out: list[Effect]) -> _Step:
    """Put the chain together again; add the alarm and the back-pressure that follow from it."""
    outputs: list[Output] = []
    finished = chain.finished
    for effect in out:
        if not finished:
            finished = isinstance(effect, Finish)
            outputs.append(effect)
    alarm_ns = min((stage.alarm_ns for stage in stages if stage.alarm_ns is not None), default=None)
    if finished:
        alarm_ns = None
    elif alarm_ns is not None and alarm_ns != chain.alarm_ns:
        outputs.append(WakeAt(alarm_ns))
    held_bytes = sum(stage.toxic.held_bytes(stage.state) for stage in stages)
    paused = chain.paused
    if not paused and held_bytes > chain.cap_bytes:
        outputs.append(Pause())
        paused = True
    elif paused and held_bytes <= chain.cap_bytes // 2:
        outputs.append(Resume())
        paused = False
    return Chain(chain.cap_bytes, tuple(stages), paused, finished, alarm_ns, held_bytes), tuple(outputs)
