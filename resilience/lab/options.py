"""What the embedded stack is asked for. Frozen, and JSON-able both ways: it travels to the supervisor's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from resilience.lab.autoscaler import AutoscalePolicy
from resilience.lab.settings import BreakerSettings
from resilience.lab.system import StackError

# Whoever asks for fixed ports names them by these; `admin-N` is the admin port of gateway-N.
PORT_NAMES = ("gateway", "toxiproxy", "tap", "pricing", "postgres", "valkey")
# The callers' sides of the taps, one a dependency.
POINT_NAMES = ("pricing", "db", "cache")

MAX_GATEWAYS = 16


@dataclass(frozen=True, slots=True)
class LabOptions:
    """The embedded stack.

    `ports` fixes ports by name (`PORT_NAMES`, `admin-1` ...); every other one is free and different at each start.
    `log_dir` keeps the processes' logs there; without it they vanish with the lab. `start_timeout_s` bounds the start,
    `linger_s` is how long faults' healing can still be watched on the proxies after the owner is gone. `environ` are settings of the
    services (docs/lab.md, "Environment"), over those of our own environment. `autoscale` starts and drains gateways by measured load.
    """

    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    gateways: int = 2
    ports: Mapping[str, int] = field(default_factory=dict)
    log_dir: str | None = None
    start_timeout_s: float = 60.0
    linger_s: float = 2.0
    environ: Mapping[str, str] = field(default_factory=dict)
    autoscale: AutoscalePolicy | None = None

    def check(self) -> None:
        """StackError for what cannot be meant."""
        if not 1 <= self.gateways <= MAX_GATEWAYS:
            raise StackError(f"the lab runs 1 to {MAX_GATEWAYS} gateways, not {self.gateways}")
        known = {*PORT_NAMES, *(f"admin-{number}" for number in range(1, self.gateways + 1))}
        for name, port in self.ports.items():
            if name not in known:
                raise StackError(f"no port of the lab is called {name!r}: {', '.join(sorted(known))}")
            if not 1 <= port <= 65535:
                raise StackError(f"{name} cannot listen on port {port}: 1 to 65535")
        if self.autoscale is not None and not self.gateways <= self.autoscale.most <= MAX_GATEWAYS:
            raise StackError(
                f"the autoscaler goes from {self.gateways} to at most {MAX_GATEWAYS} gateways, not to {self.autoscale.most}"
            )
        if len(set(self.ports.values())) < len(self.ports):
            raise StackError("two of the lab's fixed ports are the same")

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabOptions:
        """The inverse of `to_json`; TypeError or KeyError for what is none."""
        scaled = data.get("autoscale")
        policy = None if scaled is None else AutoscalePolicy.from_json(scaled)
        return cls(**{**data, "breaker": BreakerSettings(**data["breaker"]), "autoscale": policy})
