"""What a server is told at its start, and what it says that it can do."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from faults.proxy.addresses import format_address
from faults.proxy.dial import DEFAULT_DIAL_TIMEOUT_S
from faults.proxy.held import DEFAULT_LINK_CAP_BYTES, DEFAULT_PROCESS_CAP_BYTES
from faults.toxics import OWN_TOXICS

__all__ = ["CAPABILITIES", "ControlOptions"]

CAPABILITIES = (
    "capabilities",
    "connections",
    "events",
    "populate-toxics",
    "seed",
    *(f"toxic:{toxic.kind}" for toxic in OWN_TOXICS),
    "ttl",
)
"""What `GET /capabilities` tells: the names that clients ask for before they use what Toxiproxy does not have."""


def _resolver_name() -> str:
    """Return the name server as Go names it in its messages."""
    with contextlib.suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines():
            words = line.split()
            if len(words) >= 2 and words[0] == "nameserver":
                return format_address(words[1], 53)
    return "127.0.0.1:53"


@dataclass(frozen=True, slots=True)
class ControlOptions:
    """What the operations depend on. `compat` answers as Toxiproxy does wherever the two differ."""

    version: str = "2.12.0"
    compat: bool = False
    seed: int = 0
    link_cap_bytes: int = DEFAULT_LINK_CAP_BYTES
    process_cap_bytes: int = DEFAULT_PROCESS_CAP_BYTES
    dial_timeout_s: float = DEFAULT_DIAL_TIMEOUT_S
    proxy_metrics: bool = False
    runtime_metrics: bool = False
    resolver_name: str = field(default_factory=_resolver_name)
