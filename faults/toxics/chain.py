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
    Did,
    Effect,
    Emit,
    End,
    Ending,
    Event,
    Finish,
    Reply,
    Toxic,
    Updated,
    Wake,
    WakeAt,
    is_sharing,
    is_watcher,
)

__all__ = [
    "Chain",
    "Noted",
    "Output",
    "Pause",
    "Resume",
    "Stage",
    "attach",
    "detach",
    "feed",
    "seen",
    "update",
    "wake",
]


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading the source: enough is held."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Read the source again."""


@dataclass(frozen=True, slots=True)
class Noted:
    """The toxic `key` did something that belongs into the event log."""

    key: str
    did: Did


Output = Emit | Finish | WakeAt | Reply | Noted | Pause | Resume


@dataclass(frozen=True, slots=True)
class Stage:
    """One toxic at work: `key` names it, `order` places it, `state` is its own; no key, a wall after the end.

    `in_bytes` and `out_bytes` count what came to it and what it let go, `ending` is the end that came to it: an end that
    it passes on in another form, or that never came, is its own doing and noted.
    """

    key: str
    order: int
    toxic: Toxic
    state: Any
    alarm_ns: int | None = None
    finished: bool = False
    in_bytes: int = 0
    out_bytes: int = 0
    ending: Ending | None = None


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
    watches: bool = False


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
    out: list[Output] = []
    for index in range(len(stages)):
        # Looked up anew: what an earlier stage let go may have changed this one.
        alarm_ns = stages[index].alarm_ns
        if alarm_ns is not None and alarm_ns <= now_ns:
            stages[index] = replace(stages[index], alarm_ns=None)
            out.extend(_run(stages, index, (Wake(),), now_ns))
    return _settle(chain, stages, out)


def seen(chain: Chain, data: bytes, now_ns: int) -> _Step:
    """Tell the toxics that want to know what passed in the other direction."""
    stages = list(chain.stages)
    out: list[Output] = []
    for index in range(len(stages)):
        stage = stages[index]
        toxic = stage.toxic
        if stage.finished or not is_watcher(toxic):
            continue
        passed_on: list[Data | End] = []
        state, effects = toxic.seen(stage.state, data, now_ns)
        stages[index] = _after(stage, state, None, effects, passed_on, out)
        if passed_on:
            out.extend(_run(stages, index + 1, tuple(passed_on), now_ns))
    return _settle(chain, stages, out)


def attach(
    chain: Chain,
    key: str,
    order: int,
    toxic: Toxic,
    rng: random.Random,
    now_ns: int,
    *,
    added_ns: int | None = None,
    shared: Any = None,
) -> _Step:
    """Insert a toxic before the first stage of a higher `order`; what is downstream of there has passed it.

    `added_ns` is when the toxic came to the proxy, `shared` what its connections share, both None where unknown.
    """
    stages = list(chain.stages)
    index = next((i for i, stage in enumerate(stages) if stage.order > order), len(stages))
    ended = index > 0 and stages[index - 1].finished
    state = toxic.start(rng)
    if shared is not None and is_sharing(toxic):
        state = toxic.join(state, shared)
    stages.insert(index, Stage(key, order, toxic, state, finished=ended or chain.finished))
    return _settle(chain, stages, _run(stages, index, (Attached(added_ns),), now_ns))


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


def _run(stages: list[Stage], first: int, events: tuple[Event, ...], now_ns: int) -> list[Output]:
    """Take `events` through the stages from `first` on, in place; return what comes out of the chain."""
    out: list[Output] = []
    for index in range(first, len(stages)):
        stage = stages[index]
        passed_on: list[Data | End] = []
        for event in events:
            if stage.finished:
                break
            state, effects = stage.toxic.step(stage.state, event, now_ns)
            stage = _after(stage, state, event, effects, passed_on, out)
        stages[index] = stage
        if not passed_on:
            return out
        events = tuple(passed_on)
    for event in events:
        if isinstance(event, Data):
            out.append(Emit(event.chunk))
        elif isinstance(event, End):
            out.append(Finish(event.ending))
    return out


def _after(
    stage: Stage,
    state: Any,
    event: Event | None,
    effects: tuple[Effect, ...],
    passed_on: list[Data | End],
    aside: list[Output],
) -> Stage:
    """Sort what a toxic asked for: to the next stage, or `aside`; return the stage as it is then."""
    alarm_ns, finished, out_bytes = stage.alarm_ns, stage.finished, stage.out_bytes
    ending = event.ending if isinstance(event, End) else stage.ending
    in_bytes = stage.in_bytes + (len(event.chunk.data) if isinstance(event, Data) else 0)
    for effect in effects:
        if isinstance(effect, WakeAt):
            alarm_ns = effect.at_ns
        elif finished:
            continue
        elif isinstance(effect, Emit):
            out_bytes += len(effect.chunk.data)
            passed_on.append(Data(effect.chunk))
        elif isinstance(effect, Finish):
            finished = True
            passed_on.append(End(effect.ending))
            if effect.ending is not ending:
                aside.append(Noted(stage.key, Did(effect.ending.value)))
        else:
            aside.append(Noted(stage.key, effect) if isinstance(effect, Did) else effect)
    if finished:
        alarm_ns = None
    return Stage(stage.key, stage.order, stage.toxic, state, alarm_ns, finished, in_bytes, out_bytes, ending)


def _settle(chain: Chain, stages: list[Stage], out: list[Output]) -> _Step:
    """Put the chain together again; add the alarm and the back-pressure that follow from it."""
    outputs: list[Output] = []
    finished = chain.finished
    for effect in out:
        if isinstance(effect, Noted):
            outputs.append(effect)
        elif not finished:
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
    watches = (
        any(is_watcher(stage.toxic) for stage in stages)
        if len(stages) != len(chain.stages)
        else chain.watches
    )
    return Chain(chain.cap_bytes, tuple(stages), paused, finished, alarm_ns, held_bytes, watches), tuple(
        outputs
    )
