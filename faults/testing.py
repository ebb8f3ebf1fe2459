"""A conformance check for toxics, so that whoever adds one inherits our tests.

`check_toxic(MyToxic(...))` drives a toxic through many random conversations (chunks of any size, pauses, alarms
that ring late, updates, an end or a removal at any moment) and asserts what `faults.toxics.base` demands. It is
deterministic: conversation `seed` is the same each time, and a failure names its seed.

It deliberately does not know what a toxic is *for*: that it delays by 100 ms is for its own tests to say.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from typing import Any

from faults.model import Chunk
from faults.toxics.base import (
    MS_NS,
    Attached,
    Data,
    Detached,
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
)

__all__ = ["ToxicConversation", "check_toxic"]

_START_NS = 1_000_000_000_000
_MOST_ALARMS = 100_000


class ToxicConversation:
    """One toxic on one imaginary connection, with everything it has said so far."""

    def __init__(self, toxic: Toxic, seed: int, *, damages: bool = False) -> None:
        self.toxic = toxic
        self.damages = damages
        self.seed = seed
        self.now_ns = _START_NS
        self.fed = b""
        self.emitted = b""
        self.ending: Ending | None = None
        self.alarm_ns: int | None = None
        self.state: Any = toxic.start(random.Random(seed))
        self.tell(Attached())

    def tell(self, event: Event) -> None:
        """Tell the toxic an event now, and check what it answers."""
        if self.ending is not None:
            return
        twin = copy.deepcopy(self.state)
        if isinstance(event, Data):
            self.fed += event.chunk.data
        state, effects = self.toxic.step(self.state, event, self.now_ns)
        again = self.toxic.step(twin, event, self.now_ns)[1]
        self.require(
            again == effects, f"{event} from equal states had different effects: {effects}, then {again}"
        )
        self.state = state
        for effect in effects:
            self.require(self.ending is None, f"{effect} follows the end of the stream")
            if isinstance(effect, WakeAt):
                self.require(effect.at_ns > self.now_ns, f"{effect} is not later than now, {self.now_ns}")
                self.alarm_ns = effect.at_ns
            elif isinstance(effect, Emit):
                self.require(bool(effect.chunk.data), "an empty chunk was emitted")
                self.emitted += effect.chunk.data
            elif isinstance(effect, Finish):
                self.ending = effect.ending
            elif isinstance(effect, Reply):
                self.require(bool(effect.data), "an empty reply was sent")
        self._check_bytes()

    def _check_bytes(self) -> None:
        held_bytes = self.toxic.held_bytes(self.state)
        self.require(held_bytes >= 0, f"held_bytes is {held_bytes}")
        if self.damages:
            self.require(len(self.emitted) <= len(self.fed), "more was emitted than came")
            return
        if self.toxic.drops:
            self.require(
                _is_subsequence(self.emitted, self.fed), "what was emitted is not in the order it came"
            )
            return
        self.require(self.fed.startswith(self.emitted), "what was emitted is not what came first")
        if self.ending is None:
            missing_bytes = len(self.fed) - len(self.emitted)
            self.require(
                held_bytes == missing_bytes, f"held_bytes is {held_bytes}, but {missing_bytes} are missing"
            )

    def run_until(self, until_ns: int, late_ns: int = 0) -> None:
        """Let time pass; alarms ring up to `late_ns` late."""
        for _ in range(_MOST_ALARMS):
            if self.alarm_ns is None or self.alarm_ns > until_ns or self.ending is not None:
                break
            self.now_ns = max(self.now_ns, self.alarm_ns + late_ns)
            self.alarm_ns = None
            self.tell(Wake())
        else:
            self.require(False, f"more than {_MOST_ALARMS} alarms before {until_ns}: time does not pass")
        self.now_ns = max(self.now_ns, until_ns)

    def require(self, holds: bool, complaint: str) -> None:
        """Raise AssertionError with toxic and seed unless something holds."""
        if not holds:
            raise AssertionError(f"{self.toxic} (seed {self.seed}): {complaint}")


def check_toxic(toxic: Toxic, *, seeds: Iterable[int] = range(20), damages: bool = False) -> None:
    """Assert that `toxic` keeps the rules of every toxic; raise AssertionError with the seed where it does not.

    `damages` says that changing bytes is its purpose (it then `drops`, too: what was sent does not all arrive).
    """
    frozen = getattr(getattr(toxic, "__dataclass_params__", None), "frozen", False)
    assert frozen, f"{toxic!r} must be a frozen dataclass of its attributes"
    assert toxic.problems() == (), f"{toxic!r} refuses its own attributes: {toxic.problems()}"
    for seed in seeds:
        _converse(ToxicConversation(toxic, seed, damages=damages), removed=False)
        _converse(ToxicConversation(toxic, seed, damages=damages), removed=True)


def _converse(talk: ToxicConversation, *, removed: bool) -> None:
    rng = random.Random(talk.seed)
    for _ in range(rng.randrange(1, 12)):
        size_bytes = rng.choice((1, 2, 100, 4096, 16384))
        talk.tell(Data(Chunk(rng.randbytes(size_bytes), talk.now_ns)))
        if rng.random() < 0.2:
            talk.tell(Updated())
        talk.run_until(talk.now_ns + rng.randrange(50 * MS_NS), late_ns=rng.randrange(3 * MS_NS))
    if not removed:
        ending = rng.choice(tuple(Ending))
        talk.tell(End(ending))
        talk.run_until(talk.now_ns + 3_600_000 * MS_NS)
        if talk.ending is not None and not talk.toxic.drops:
            talk.require(talk.ending is ending, f"the end {ending} came out as {talk.ending}")
            talk.require(talk.emitted == talk.fed, "bytes were lost before the end")
    talk.tell(Detached())
    if talk.ending is None:
        held_bytes = talk.toxic.held_bytes(talk.state)
        talk.require(held_bytes == 0, f"{held_bytes} bytes are still held after removal")
    if not talk.toxic.drops:
        talk.require(talk.emitted == talk.fed, "removal lost bytes")


def _is_subsequence(part: bytes, whole: bytes) -> bool:
    at = 0
    for byte in part:
        at = whole.find(byte, at) + 1
        if not at:
            return False
    return True
