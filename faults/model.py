"""The values that everything in `faults` speaks of: directions, chunks, toxics, proxies.

Theory of operation: these are frozen records without behaviour beyond naming. A spec is what a caller asks
for; what a server made of it (the port it bound, the default name it chose) comes back as another spec. None
of them validates: the server that has to honour a spec is the one that knows whether it can.

Names and defaults are those of Toxiproxy's HTTP API, so that a spec means the same to either server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

__all__ = ["Chunk", "Direction", "JSONScalar", "ProxySpec", "ToxicSpec"]

JSONScalar = str | int | float | bool | None

_NO_ATTRIBUTES: Mapping[str, JSONScalar] = MappingProxyType({})


class Direction(str, Enum):  # noqa: UP042 - `str, Enum` keeps `str(Direction.UPSTREAM)` distinct from the wire word
    """Which way bytes flow: `upstream` is client to server, `downstream` is server to client."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"

    @classmethod
    def parse(cls, text: str) -> Direction | None:
        """Read a direction the way the wire does: any case; None where it is neither."""
        lowered = text.lower()
        return next((direction for direction in cls if direction.value == lowered), None)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that were read together, and the CLOCK_MONOTONIC nanosecond from which delays count."""

    data: bytes
    read_ns: int


@dataclass(frozen=True, slots=True)
class ToxicSpec:
    """A toxic as asked for.

    `attributes` are the wire's names and units (milliseconds, kB/s, ...); `toxicity` is the share of
    connections, 0 to 1, that the toxic acts on.
    """

    type: str
    name: str = ""
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: Mapping[str, JSONScalar] = field(default_factory=lambda: _NO_ATTRIBUTES)

    @property
    def resolved_name(self) -> str:
        """The name the server will know it by: the given one, else `<type>_<stream>`."""
        return self.name or f"{self.type}_{self.stream}"


@dataclass(frozen=True, slots=True)
class ProxySpec:
    """A proxy as asked for: where it listens, where it connects to, whether it is up, and its toxics."""

    name: str
    listen: str
    upstream: str
    enabled: bool = True
    toxics: tuple[ToxicSpec, ...] = ()
