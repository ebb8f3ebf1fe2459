"""What a fault does, in the words of Toxiproxy: values that `chaos.fault(proxy, ...)` takes. Milliseconds and kB/s, as there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DOWN = "down"


@dataclass(frozen=True, slots=True)
class Toxic:
    """One toxic; of type "down" it is the proxy that is disabled."""

    type: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    stream: str = "downstream"
    toxicity: float = 1.0

    def __str__(self) -> str:
        """Such as `latency(latency=2000)`."""
        inside = ", ".join(f"{key}={value}" for key, value in self.attributes.items() if value)
        return f"{self.type}({inside})" if inside else self.type


def toxic(type: str, *, stream: str = "downstream", toxicity: float = 1.0, **attributes: Any) -> Toxic:  # noqa: A002 - the wire's word
    """Any toxic by its type, one of our own included: `toxic("http_fault", status=503)`."""
    return Toxic(type, attributes, stream, toxicity)


def down() -> Toxic:
    """The proxy's port is closed and its connections are cut."""
    return Toxic(DOWN)


def latency(ms: int, jitter: int = 0, **more: Any) -> Toxic:
    """Answers come `ms` later, give or take `jitter`."""
    return toxic("latency", latency=ms, jitter=jitter, **more)


def timeout(ms: int = 0, **more: Any) -> Toxic:
    """Nothing comes through; after `ms` the connection is closed (0: never)."""
    return toxic("timeout", timeout=ms, **more)


def reset_peer(ms: int = 0, **more: Any) -> Toxic:
    """Connections are reset after `ms`."""
    return toxic("reset_peer", timeout=ms, **more)


def bandwidth(kb_per_s: int, **more: Any) -> Toxic:
    """Answers come at no more than so many kB/s."""
    return toxic("bandwidth", rate=kb_per_s, **more)


def slow_close(ms: int, **more: Any) -> Toxic:
    """Connections close `ms` later."""
    return toxic("slow_close", delay=ms, **more)


def slicer(average_size: int, *, size_variation: int = 0, delay_us: int = 0, **more: Any) -> Toxic:
    """Answers come in pieces."""
    return toxic("slicer", average_size=average_size, size_variation=size_variation, delay=delay_us, **more)


def limit_data(limit: int, **more: Any) -> Toxic:
    """The connection is closed after so many bytes."""
    return toxic("limit_data", bytes=limit, **more)
