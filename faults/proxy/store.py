"""What the server knows: its proxies and their toxics, as values, and the rules for changing them.

A `Store` never changes; each operation returns another one or raises `ApiError`, the error the client is to
see. Whoever owns a store decides with it first and does the work (binding, closing) after, so that there is no
await while the two disagree.

Rules kept from Toxiproxy: toxic names are unique over both streams; `stream` is echoed as it was spelt; toxics
are listed upstream first, each direction in insertion order; `toxicity` is a 32-bit float.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from faults.model import Direction
from faults.toxics import Toxic

__all__ = ["ApiError", "Store", "StoredProxy", "StoredToxic"]


class ApiError(Exception):
    """An answer that is not a success: HTTP `status` and `message`, as the client will read it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class StoredToxic:
    """A toxic on a proxy.

    `order` grows with insertion, and tells a toxic from a later one of the same name. `ttl_ms` is its time to live as
    asked for and `expires_ns` the end of it on CLOCK_MONOTONIC; both None where it lives until it is removed. `added_ns` is
    when it came; None before it has.
    """

    name: str
    stream: str
    direction: Direction
    toxicity: float
    toxic: Toxic
    order: int = 0
    ttl_ms: int | None = None
    expires_ns: int | None = None
    added_ns: int | None = None


@dataclass(frozen=True, slots=True)
class StoredProxy:
    """A proxy: addresses as shown to clients, and its toxics in insertion order."""

    name: str
    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[StoredToxic, ...] = ()
    next_order: int = 0

    def listed_toxics(self) -> Iterator[StoredToxic]:
        """Upstream first, then downstream, each in insertion order."""
        for direction in (Direction.UPSTREAM, Direction.DOWNSTREAM):
            yield from (toxic for toxic in self.toxics if toxic.direction is direction)

    def toxic(self, name: str) -> StoredToxic:
        """Find a toxic by name, or raise the 404."""
        for toxic in self.toxics:
            if toxic.name == name:
                return toxic
        raise ApiError(404, "toxic not found")

    def check_new_toxic(self, name: str) -> None:
        """Raise the 409 if the name is taken, in either stream."""
        if any(toxic.name == name for toxic in self.toxics):
            raise ApiError(409, "toxic already exists")

    def with_toxic(self, toxic: StoredToxic) -> StoredProxy:
        """Append a toxic; it gets the next order."""
        self.check_new_toxic(toxic.name)
        placed = replace(toxic, order=self.next_order)
        return replace(self, toxics=(*self.toxics, placed), next_order=self.next_order + 1)

    def with_toxics(self, toxics: Iterable[StoredToxic]) -> StoredProxy:
        """Put other toxics in the place of all that there are; orders go on from those that were."""
        proxy = replace(self, toxics=())
        for toxic in toxics:
            proxy = proxy.with_toxic(toxic)
        return proxy

    def with_changed_toxic(self, toxic: StoredToxic) -> StoredProxy:
        """Replace the toxic of the same name, in place."""
        return replace(self, toxics=tuple(toxic if old.name == toxic.name else old for old in self.toxics))

    def without_toxic(self, name: str) -> StoredProxy:
        """Remove a toxic, or raise the 404."""
        gone = self.toxic(name)
        return replace(self, toxics=tuple(toxic for toxic in self.toxics if toxic is not gone))


@dataclass(frozen=True, slots=True)
class Store:
    """All proxies by name."""

    proxies: Mapping[str, StoredProxy] = field(default_factory=lambda: MappingProxyType({}))

    def proxy(self, name: str) -> StoredProxy:
        """Find a proxy, or raise the 404."""
        try:
            return self.proxies[name]
        except KeyError:
            raise ApiError(404, "proxy not found") from None

    def check_new(self, name: str) -> None:
        """Raise the 409 if the name is taken."""
        if name in self.proxies:
            raise ApiError(409, "proxy already exists")

    def with_proxy(self, proxy: StoredProxy) -> Store:
        """Add a proxy, or put it in the place of the one of that name."""
        return Store(MappingProxyType({**self.proxies, proxy.name: proxy}))

    def without(self, name: str) -> Store:
        """Remove a proxy, or raise the 404."""
        gone = self.proxy(name)
        return Store(
            MappingProxyType({key: value for key, value in self.proxies.items() if value is not gone})
        )
