"""What became of a crowd of sockets: connected, welcomed, answered, told what was broadcast, still there. Pure.

Evidence are the notes that each socket leaves: when it was open, when its welcome came, how long each message took, what it heard and when, and how it
ended; and for each broadcast when it was sent. A socket owes hearing a broadcast when it was open and welcomed before it was sent
and did not leave by itself within `grace_ns` after that. A user who left no note never connected; one who was lost and came back left
several, and connected once.

An answer is owed to each message, and one that never came is later than any bound. Only who leaves by themselves before the bound
has passed is owed none: nobody knows when it would have come.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Socket:
    """One socket's life. Times in ns on the record's clock, None for what never happened.

    `number` is that of the user, who has another socket after each return. `lost`: the other side ended it.
    `unanswered` messages had no answer by then; `waited_ns` is how long the youngest of them had waited. What was `dropped`
    happened, and is not in `latencies_ns` or `heard`.
    """

    number: int
    opened_ns: int | None
    welcomed_ns: int | None
    latencies_ns: tuple[int, ...] = ()
    heard: Mapping[str, int] = field(default_factory=dict)
    left_ns: int | None = None
    lost: bool = False
    unanswered: int = 0
    waited_ns: tuple[int, ...] = ()
    latencies_dropped: int = 0
    heard_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Crowd:
    """The figures of one load of sockets; shares are of what was owed.

    `wanted` and `connected` count users, `opened`, `welcomed` and `lost` sockets. `latencies_ns` is sorted. `waited_ns` is how
    long those of the `unanswered` messages had waited whose users left by themselves. `unsure`: receptions among the `missed`
    that may have been dropped from the record.
    """

    wanted: int
    connected: int
    opened: int
    welcomed: int
    lost: int
    latencies_ns: tuple[int, ...]
    unanswered: int
    waited_ns: tuple[int, ...]
    latencies_dropped: int
    broadcasts: int
    owed: int
    missed: int
    unsure: int

    @property
    def connected_share(self) -> float:
        """Users who got a socket, however often, of all who wanted one."""
        return self.connected / self.wanted if self.wanted else 0.0

    @property
    def welcomed_share(self) -> float:
        """Sockets that were welcomed, of those that opened."""
        return self.welcomed / self.opened if self.opened else 0.0

    @property
    def heard_share(self) -> float | None:
        """Broadcasts heard, of those owed; None when none was owed."""
        return (self.owed - self.missed) / self.owed if self.owed else None

    @property
    def lost_share(self) -> float:
        """Sockets that the other side ended, of those that opened."""
        return self.lost / self.opened if self.opened else 0.0

    def latency_ns(self, q: float, *, bound_ns: float) -> float | None:
        """Nearest-rank quantile over all messages that were owed an answer within `bound_ns`; None where there was none.

        Infinite where it falls on one without an answer.
        """
        owed = len(self.latencies_ns) + self.unanswered - sum(ns < bound_ns for ns in self.waited_ns)
        if not owed:
            return None
        rank = max(1, math.ceil(q * owed))
        return float(self.latencies_ns[rank - 1]) if rank <= len(self.latencies_ns) else math.inf


def crowd_of(
    wanted: int, sockets: Sequence[Socket], broadcasts: Mapping[str, int], *, grace_ns: int
) -> Crowd:
    """Count. `broadcasts` are ids and when each was sent, in ns."""
    opened = [s for s in sockets if s.opened_ns is not None]
    owed = missed = unsure = 0
    for name, sent_ns in broadcasts.items():
        for socket in opened:
            if socket.welcomed_ns is None or socket.welcomed_ns > sent_ns:
                continue
            if not socket.lost and socket.left_ns is not None and socket.left_ns < sent_ns + grace_ns:
                continue
            if socket.lost and socket.left_ns is not None and socket.left_ns <= sent_ns:
                continue
            owed += 1
            at = socket.heard.get(name)
            missed += at is None or at > sent_ns + grace_ns
            unsure += at is None and socket.heard_dropped > 0
    return Crowd(
        wanted=wanted,
        connected=len({s.number for s in opened}),
        opened=len(opened),
        welcomed=sum(s.welcomed_ns is not None for s in opened),
        lost=sum(s.lost for s in opened),
        latencies_ns=tuple(sorted(ns for s in opened for ns in s.latencies_ns)),
        unanswered=sum(s.unanswered for s in opened),
        waited_ns=tuple(ns for s in opened if not s.lost for ns in s.waited_ns),
        latencies_dropped=sum(s.latencies_dropped for s in opened),
        broadcasts=len(broadcasts),
        owed=owed,
        missed=missed,
        unsure=unsure,
    )


def from_notes(notes: Iterable[Mapping[str, Any]]) -> tuple[list[Socket], dict[str, int]]:
    """Sockets and broadcasts from a load's notes (`what`: "socket" or "broadcast")."""
    sockets, broadcasts = [], {}
    for note in notes:
        match note.get("what"):
            case "socket":
                sockets.append(
                    Socket(
                        int(note["i"]),
                        note.get("opened"),
                        note.get("welcomed"),
                        tuple(note.get("latencies", ())),
                        dict(note.get("heard", {})),
                        note.get("left"),
                        bool(note.get("lost")),
                        int(note.get("unanswered", 0)),
                        tuple(note.get("waited", ())),
                        int(note.get("latencies_dropped", 0)),
                        int(note.get("heard_dropped", 0)),
                    )
                )
            case "broadcast":
                broadcasts[str(note["id"])] = int(note["at"][0])
    return sockets, broadcasts
