"""When a runner may inject, and when the guardian acts: arithmetic on nanoseconds, and the guardian's state.

Everything here is pure. Time is CLOCK_MONOTONIC in nanoseconds, which runner and guardian share on one host.

The runner stamps each heartbeat with the time at which it sent it. Both sides compute from that stamp, so a slow pipe
or a busy guardian can never make a lease longer than the runner's proven life:

    stamp ──────────── stamp + LEASE ──────────── stamp + SILENCE
      may inject              may not inject            the guardian heals, and is fenced for good

Invariants:
- LEASE ends well before SILENCE, so an injection that starts under a lease has its request on the wire before healing.
- Once fenced (silence while something is armed, or end of file), a watch never grants again: `beat` and `arm` answer no lease.
- An armed fault leaves the watch only when it was settled: healed and verified, or disarmed by the runner that did so.
- What a watch remembers does not grow with the session. A thawed runner's late request can be one for a fault that it had in its
  hands when it froze, and those are still armed then, or among the last that were settled.

It deliberately knows nothing of processes, pipes, files or how a fault is undone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = [
    "HEARTBEAT_NS",
    "LEASE_NS",
    "SILENCE_NS",
    "Armed",
    "Due",
    "Reason",
    "Watch",
    "lease_end_ns",
    "lease_holds",
    "silence_end_ns",
]

HEARTBEAT_NS: Final = 500_000_000
LEASE_NS: Final = 2_000_000_000
SILENCE_NS: Final = 3_000_000_000

KEPT: Final = 16
"""Settled faults that are remembered while the runner is well: more than it puts in at once."""

Reason = Literal["end_of_file", "silence", "max_duration", "recheck"]


def lease_end_ns(stamp_ns: int, received_ns: int) -> int:
    """Return until when a runner may inject whose heartbeat was stamped at `stamp_ns`, and read at `received_ns`.

    A stamp from the future (a broken clock, a forged message) counts as of its receipt.
    """
    return min(stamp_ns, received_ns) + LEASE_NS


def lease_holds(lease_until_ns: int, now_ns: int) -> bool:
    """Return whether an injection may start now; the end itself is outside."""
    return now_ns < lease_until_ns


def silence_end_ns(last_stamp_ns: int) -> int:
    """Return when a runner counts as frozen that was last alive at `last_stamp_ns`."""
    return last_stamp_ns + SILENCE_NS


@dataclass(frozen=True, slots=True)
class Armed:
    """One fault the guardian will undo: `ticket` is its number in the session's journal."""

    ticket: int
    fault_id: str
    undo: Mapping[str, Any]
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Due:
    """An armed fault whose undoing must start now, and why."""

    armed: Armed
    reason: Reason


@dataclass(slots=True)
class Watch:
    """The guardian's whole state. Every method takes the time; none does IO."""

    last_stamp_ns: int
    fenced: bool = False
    rechecked: bool = False
    armed: dict[int, Armed] = field(default_factory=dict)
    healing: set[int] = field(default_factory=set)
    settled: dict[int, Armed] = field(default_factory=dict)
    unverified: dict[int, Armed] = field(default_factory=dict)
    released: bool = False
    last_ticket: int = 0

    def beat(self, stamp_ns: int, now_ns: int) -> int | None:
        """Note a sign of life; return the end of the new lease, or None when fenced."""
        if self.fenced:
            return None
        self.last_stamp_ns = max(self.last_stamp_ns, min(stamp_ns, now_ns))
        return lease_end_ns(stamp_ns, now_ns)

    def arm(self, fault: Armed) -> bool:
        """Take a fault under guard; False when fenced, or when its ticket is not a new one: they count upwards."""
        if self.fenced or fault.ticket <= self.last_ticket:
            return False
        self.last_ticket = fault.ticket
        self.armed[fault.ticket] = fault
        return True

    def disarm(self, ticket: int) -> bool:
        """Let go of a fault its runner has healed; False while the guardian itself is undoing it."""
        if ticket in self.healing:
            return False
        fault = self.armed.pop(ticket, None) or self.unverified.pop(ticket, None)
        if fault is not None:
            self._remember(fault)
        return True

    def fence(self) -> None:
        """Grant nothing from now on."""
        self.fenced = True

    def release(self) -> None:
        """Note that the runner is gone: nothing is granted, and what could not be verified is tried once more."""
        self.fence()
        if not self.released:
            self.released = True
            self.armed.update(self.unverified)
            self.unverified.clear()

    def due(self, now_ns: int) -> list[Due]:
        """Return the faults whose undoing starts now, each once, and mark them as being healed."""
        # With nothing armed there is nothing to heal, and nobody to be kept out: a stalled start is forgiven.
        if not self.fenced and self.armed and now_ns >= silence_end_ns(self.last_stamp_ns):
            self.fence()
        reason: Reason = "silence" if self.fenced else "max_duration"
        found = [
            Due(fault, reason)
            for ticket, fault in self.armed.items()
            if ticket not in self.healing and (self.fenced or now_ns >= fault.deadline_ns)
        ]
        self.healing.update(due.armed.ticket for due in found)
        return found

    def recheck(self) -> list[Due]:
        """Return what must be looked at again when a runner thaws after it was fenced; once only.

        The runner may have been frozen between its last look at the lease and its request, which then goes out late.
        """
        if not self.fenced or self.rechecked:
            return []
        self.rechecked = True
        again = [fault for ticket, fault in self.settled.items() if ticket not in self.healing]
        self.armed.update({fault.ticket: fault for fault in again})
        self.healing.update(fault.ticket for fault in again)
        return [Due(fault, "recheck") for fault in again]

    def settle(self, ticket: int, *, verified: bool) -> None:
        """Note that the guardian's undoing has ended; what could not be verified waits for `release`."""
        self.healing.discard(ticket)
        fault = self.armed.pop(ticket, None)
        if fault is None:
            return
        if verified:
            self._remember(fault)
        else:
            self.unverified[ticket] = fault

    def _remember(self, fault: Armed) -> None:
        """Keep what was settled for a look after a thaw; once fenced all of it, as no more can come."""
        self.settled[fault.ticket] = fault
        while len(self.settled) > KEPT and not self.fenced:
            del self.settled[next(iter(self.settled))]

    def wake_ns(self) -> int | None:
        """Return the next instant at which `due` may find something, or None."""
        waiting = [f.deadline_ns for t, f in self.armed.items() if t not in self.healing]
        if self.fenced:
            return self.last_stamp_ns if waiting else None
        return min([silence_end_ns(self.last_stamp_ns), *waiting]) if self.armed else None
