"""A connection through the proxy: its two sides, its two links, and what becomes of one when the other goes.

Life: the client is accepted (`on_made`, the owner dials), the upstream is there (toxics are attached, early bytes
pass, the flow starts), ends pass through the links, sockets go, `on_gone`. A source that vanishes ends its link with
reset or, where that is hidden, in good order; a destination that vanishes empties its link.

After `abort` or `on_gone` neither timer nor hold of it is left. Observers (the tap) see bytes; they never change them.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faults.model import Direction
from faults.proxy.addresses import format_address
from faults.proxy.alarms import Alarms
from faults.proxy.event_log import ProxyLog
from faults.proxy.held import DEFAULT_LINK_CAP_BYTES, HeldBudget
from faults.proxy.link import Link
from faults.proxy.quirks import NO_QUIRKS, Quirks
from faults.proxy.sides import Hold, Observer, Side
from faults.proxy.store import StoredToxic
from faults.proxy.turns import Turns
from faults.toxics.base import Ending, is_sharing
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.timeout import Timeout

__all__ = ["Connection", "ConnectionOptions"]


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What all connections of a listener share. `seed` is any text; equal seeds give equal dice.

    `shared` is what the states of a toxic share over connections, by the toxic's order; made when first asked for.
    """

    budget: HeldBudget
    link_cap_bytes: int = DEFAULT_LINK_CAP_BYTES
    quirks: Quirks = NO_QUIRKS
    seed: str = "0"
    alarms: Alarms = field(default_factory=Alarms)
    turns: Turns = field(default_factory=Turns)
    log: ProxyLog | None = None
    shared: dict[int, Any] = field(default_factory=dict)

    def shared_of(self, stored: StoredToxic) -> Any:
        """Return what the states of that toxic share; None for most."""
        if not is_sharing(stored.toxic):
            return None
        if stored.order not in self.shared:
            self.shared[stored.order] = stored.toxic.share()
        return self.shared[stored.order]


class Connection:
    """A client's connection and, once dialled, the upstream's.

    `on_made` is called with the connection when the client is there (it must see to the dialling) and
    `toxics()` when the upstream is; `on_gone` when both are lost.
    """

    def __init__(
        self,
        number: int,
        options: ConnectionOptions,
        *,
        toxics: Callable[[], tuple[StoredToxic, ...]],
        on_made: Callable[[Connection], None],
        on_gone: Callable[[Connection], None],
        observer: Observer | None = None,
    ) -> None:
        self.number = number
        self.options = options
        self.seed = f"{options.seed}/{number}"
        self.observer = observer
        self.loop = asyncio.get_running_loop()
        self.opened_ns = time.monotonic_ns()
        self._toxics = toxics
        self._on_made = on_made
        self._on_gone = on_gone
        self.toxics: tuple[StoredToxic, ...] | None = (
            None  # those that were thrown for; None before the start
        )
        self._over = False
        self._is_gone = False
        self._is_dialled = False
        self._linger: asyncio.TimerHandle | None = None
        self.client = Side(self, options.turns)
        self.upstream = Side(self, options.turns)
        self.up = Link(self, Direction.UPSTREAM, self.client, self.upstream)
        self.down = Link(self, Direction.DOWNSTREAM, self.upstream, self.client)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.client.link, self.upstream.link = self.up, self.down
        if observer is None:
            self.client.hold(Hold.DIAL)

    @property
    def over(self) -> bool:
        """Whether it was aborted, reset or refused."""
        return self._over

    def describe(self) -> dict[str, object]:
        """Show the connection as GET /connections does."""
        peer = None if self.client.lost else self.client.transport.get_extra_info("peername")
        shown: dict[str, object] = {
            "number": self.number,
            "client": None if peer is None else format_address(str(peer[0]), int(peer[1])),
            "opened_ns": self.opened_ns,
        }
        for link in (self.up, self.down):
            shown[link.direction.value] = {
                "received_bytes": link.source.received_bytes,
                "sent_bytes": link.sent_bytes,
                "held_bytes": link.held_bytes,
                "toxics": list(link.active_toxics),
            }
        return shown

    def dice(self, stored: StoredToxic) -> random.Random:
        """Return a toxic's dice for this connection: equal seeds, numbers and toxics give equal dice."""
        return random.Random(f"{self.seed}/{stored.direction.value}/{stored.name}/{stored.order}")

    def link(self, direction: Direction) -> Link:
        """Return the link of that direction."""
        return self.up if direction is Direction.UPSTREAM else self.down

    def other(self, link: Link) -> Link:
        """Return the opposite direction."""
        return self.down if link is self.up else self.up

    def side_made(self, side: Side) -> None:
        """A socket is there: the client's starts the dialling, the upstream's starts the flow."""
        if self._over:
            side.abort()
        elif side is self.client:
            self._on_made(self)
        elif self.client.lost:
            side.abort()
        else:
            self.toxics = self._toxics()
            if self.options.quirks.lingers_from_start and any(
                isinstance(stored.toxic, ResetPeer) for stored in self.toxics
            ):
                self.client.linger_not()
                self.upstream.linger_not()
            for stored in self.toxics:
                self.link(stored.direction).attach(stored)
            self.up.start()
            self.down.start()
            self.client.release(Hold.DIAL)

    def follow(self, toxics: tuple[StoredToxic, ...]) -> None:
        """Make `toxics` what acts here; before the start there is nothing to do."""
        if self.toxics is None or self.toxics is toxics:
            return
        before = {toxic.name: toxic for toxic in self.toxics}
        after = {toxic.name: toxic for toxic in toxics}
        self.toxics = toxics
        for name, toxic in before.items():
            if name not in after or after[name].order != toxic.order:
                self._detach(toxic)
        for name, toxic in after.items():
            old = before.get(name)
            if old is None or old.order != toxic.order:
                self.link(toxic.direction).attach(toxic)
            elif old != toxic:
                self.link(toxic.direction).change(toxic)

    def _detach(self, toxic: StoredToxic) -> None:
        link = self.link(toxic.direction)
        link.detach(toxic.name)
        if self.options.quirks.timeout_removal_closes_all and isinstance(toxic.toxic, Timeout):
            link.end(Ending.CLOSE)

    def side_finished(self, side: Side) -> None:
        """A socket said FIN."""
        link = self.up if side is self.client else self.down
        link.end(Ending.CLOSE if self.options.quirks.closes_on_fin else Ending.FIN)

    def side_lost(self, side: Side, exc: Exception | None) -> None:
        """A socket is gone."""
        outgoing = self.up if side is self.client else self.down
        incoming = self.other(outgoing)
        incoming.drop()
        hard = exc is not None and not self.options.quirks.hides_resets
        outgoing.end(Ending.RESET if hard else Ending.CLOSE)
        if side.peer.lost:
            self._gone()
        elif incoming.done and outgoing.done:
            # All was told before this side went: nothing else would close the other.
            side.peer.close()

    def dialled(self) -> None:
        """The dial is over, however it ended, or there is none: an upstream that is not there now will not come."""
        self._is_dialled = True
        self._fall_apart()

    def refused(self) -> None:
        """The upstream could not be dialled: tell the client in the way that was chosen."""
        self._over = True
        delay_s = 0.0 if self.observer is None else self.observer.refused()
        if delay_s > 0:
            self._linger = self.loop.call_later(delay_s, self._tell_refused)
        else:
            self._tell_refused()

    def _tell_refused(self) -> None:
        if self.options.quirks.hides_resets:
            self.client.close()
        else:
            self.client.reset()
        if self.client.lost:
            self._gone()

    def close(self) -> None:
        """Close both sides after what was written to them."""
        self.client.close()
        self.upstream.close()

    def abort(self) -> None:
        """Close both sides now."""
        self._over = True
        self.client.abort()
        self.upstream.abort()

    def abort_later(self, delay_s: float) -> None:
        """Abort if what was written has not drained by then."""
        if self._linger is None:
            self._linger = self.loop.call_later(delay_s, self.abort)

    def reset(self) -> None:
        """Close both sides now, with RST."""
        self._over = True
        self.client.reset()
        self.upstream.reset()

    def _gone(self) -> None:
        self._over = True
        if not self._is_gone:
            self._is_gone = True
            self._leave()
        self._fall_apart()

    def _leave(self) -> None:
        self.up.drop()
        self.down.drop()
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self.observer is not None:
            self.observer.closed()
            self.observer = None
        self._on_gone(self)

    def _fall_apart(self) -> None:
        """Cut the circles of references, so that what is gone leaves memory now, and not with a collection of everything.

        An upstream that was dialled for nothing may still come, and must then find its connection.
        """
        sides = (self.client, self.upstream)
        if not (self._is_gone and self._is_dialled and all(side.lost for side in sides)):
            return
        self.toxics = None
        for side in sides:
            del side.connection, side.peer, side.link
        del self.up.connection, self.down.connection
