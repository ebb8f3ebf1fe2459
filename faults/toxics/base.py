"""What a toxic is: a pure automaton over the chunks of one direction of one connection.

Theory of operation
    `step(state, event, now_ns) -> (state, effects)`. A toxic is a frozen dataclass whose fields are its wire
    attributes; everything that changes while a connection lives is in its state, a frozen value as well. The
    chain (`chain.py`) carries effects of one toxic to the next as events; the link executes what comes out.

Events, and what a toxic owes to each
    Attached   the toxic begins to act on this connection; nothing was seen yet.
    Data       a chunk arrived from the stage before.
    End        the stage before will say no more: `fin` (half-close), `close` (both halves), `reset`.
    Wake       the alarm set with `WakeAt` is due. An alarm may ring late, never early.
    Updated    the same state now runs under new attributes; `step` is called on the *new* toxic.
    Detached   the toxic is being removed: whatever it still holds must be emitted now, in order. Bytes it
               dropped on purpose stay dropped, and a toxic that dropped some may close instead.

Effects
    Emit       hand a chunk to the next stage.
    Finish     hand the end of the stream on. At most once; nothing may follow it.
    WakeAt     set this stage's only alarm; it replaces the one before, and it is gone once it rang.
    Reply      send bytes back to where the data came from, as if the other end had said them.
    Did        write into the event log what was done to the connection. Ends need no such note.

Invariants (the published conformance check in `faults.testing` holds them for every toxic)
    - Order is kept. Bytes are lost only by toxics whose purpose it is (`drops` is true).
    - A toxic reads no clock and no global randomness: `now_ns` is handed in, the generator is injected once
      in `start`. That generator, what `share` made and a scanner of messages are the only things in a state
      that are not values; they belong to that state (what `share` made: to all states of the toxic).
    - `held_bytes(state)` is exact: back-pressure and the memory bound stand on it.

It deliberately does not know sockets, timers, proxies or HTTP.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeGuard, runtime_checkable

from faults.model import Chunk, Direction, JSONScalar

__all__ = [
    "KB_BYTES",
    "MS_NS",
    "US_NS",
    "Aimed",
    "Attached",
    "Data",
    "Detached",
    "Did",
    "Effect",
    "Emit",
    "End",
    "Ending",
    "Event",
    "Finish",
    "Gate",
    "Reply",
    "Sharing",
    "Toxic",
    "Updated",
    "Wake",
    "WakeAt",
    "Watcher",
    "is_gate",
    "is_sharing",
    "is_watcher",
]

MS_NS = 1_000_000
US_NS = 1_000
KB_BYTES = 1_000  # the wire's KB is 1000 bytes


class Ending(Enum):
    """How a stream ends."""

    FIN = "fin"  # the sender is done; the other direction goes on
    CLOSE = "close"  # the connection is over, in good order
    RESET = "reset"  # the connection is over, with RST


@dataclass(frozen=True, slots=True)
class Attached:
    """The toxic begins to act on this connection.

    `added_ns` is when it came to the proxy; None for now.
    """

    added_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """A chunk arrived."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class End:
    """No more data will arrive."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class Wake:
    """The alarm rang."""


@dataclass(frozen=True, slots=True)
class Updated:
    """The attributes changed; the state is the one the former toxic left."""


@dataclass(frozen=True, slots=True)
class Detached:
    """The toxic is being removed."""


Event = Attached | Data | End | Wake | Updated | Detached


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand a chunk to the next stage."""

    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Finish:
    """Hand the end of the stream to the next stage."""

    ending: Ending


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Ring this stage's alarm at that CLOCK_MONOTONIC nanosecond."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Reply:
    """Send bytes back, as if the other end had said them."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Did:
    """For the event log: what was done, in one word, and figures that go with it."""

    what: str
    detail: Mapping[str, JSONScalar] = field(default_factory=lambda: MappingProxyType({}))


Effect = Emit | Finish | WakeAt | Reply | Did


class Toxic(Protocol):
    """One kind of misbehaviour; implementations are frozen dataclasses whose fields are the wire's, in its order.

    Fields are `int`, `float` or `str`; those of Toxiproxy's own toxics are `int`.

    The state is opaque to everybody but the toxic itself, hence `Any` here: each file has its own frozen class.
    """

    kind: ClassVar[str]
    """The wire's `type`."""
    drops: ClassVar[bool]
    """True where losing bytes is the purpose."""

    def problems(self) -> tuple[str, ...]:
        """Why these attributes make no sense, one sentence each, naming the attribute; empty when they do."""

    def start(self, rng: random.Random) -> Any:
        """Make the state of a connection that has not been touched yet."""

    def step(self, state: Any, event: Event, now_ns: int) -> tuple[Any, tuple[Effect, ...]]:
        """Take one event at `now_ns`; return the next state and what is to be done, in order."""

    def held_bytes(self, state: Any) -> int:
        """Count the bytes this stage keeps back."""


# Abilities that some toxics have. Each is a small protocol, and beside it stands the question whether a toxic has it. It is asked
# for each connection and each chunk, and `isinstance` with a protocol takes thirty microseconds before Python 3.12.


@runtime_checkable
class Aimed(Protocol):
    """A toxic that makes sense in one direction only, which is then its default too."""

    only_stream: ClassVar[Direction]


class Gate(Protocol):
    """A toxic that decides about connections before they are dialled; in the chain it does nothing."""

    def refuses(self, nth: int) -> bool:
        """Whether the `nth` connection (from 1) since the toxic came is turned away, if the dice chose it."""

    def is_shut(self) -> bool:
        """Whether every connection is turned away, so that nobody need listen at all."""


def is_gate(toxic: object) -> TypeGuard[Gate]:
    """Whether it decides about connections."""
    return hasattr(toxic, "refuses")


class Sharing(Protocol):
    """A toxic whose states on all connections of a proxy share something."""

    def share(self) -> Any:
        """Make what is shared, once for each proxy and toxic."""

    def join(self, state: Any, shared: Any) -> Any:
        """Return a fresh state that uses it."""


def is_sharing(toxic: object) -> TypeGuard[Sharing]:
    """Whether its states share something."""
    return hasattr(toxic, "share")


class Watcher(Protocol):
    """A toxic that is told what passes in the other direction, after it was passed on."""

    def seen(self, state: Any, data: bytes, now_ns: int) -> tuple[Any, tuple[Effect, ...]]:
        """Take notice of `data`; otherwise as `step`."""


def is_watcher(toxic: object) -> TypeGuard[Watcher]:
    """Whether it is told what passes in the other direction."""
    return hasattr(toxic, "seen")
