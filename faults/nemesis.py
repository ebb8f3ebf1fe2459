"""What every fault is: it describes itself, ships with its exact inverse, goes in, comes out, and can be looked at.

A nemesis does the asking; it decides nothing. Whether it may go in is the blast radius's word, when is the session's,
and what happens when the runner dies is the guardian's, which never runs a nemesis: it executes the `Undo`, plain data.

    prepare ──▶ (journal, arm, lease) ──▶ inject ──▶ verify_injected ... heal ──▶ verify_healed

`prepare` only reads: it learns what the fault will reach and refuses where the fault, or something of its name, is in
place already. So the inverse is exact, and healing never takes away what somebody else has put there.

Every operation may be repeated, and "the target is gone" is success for healing. All of them are bounded by the
client's time-outs; the session adds its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from faults.blast_radius import Reach
from faults.errors import (
    FaultError,
    FaultNotInjected,
    FaultRefused,
    FaultUnhealed,
    GuardianLost,
    JournalError,
    LeaseExpired,
    TargetBusy,
)
from faults.model import ProxySpec, ToxicSpec
from faults.toxiproxy import ToxiproxyClient
from faults.undo import Undo

__all__ = [
    "FaultError",
    "FaultEvent",
    "FaultNotInjected",
    "FaultRefused",
    "FaultUnhealed",
    "GuardianLost",
    "JournalError",
    "LeaseExpired",
    "Nemesis",
    "ProxyDownFault",
    "Reach",
    "Remarking",
    "Slow",
    "Step",
    "TargetBusy",
    "ToxicFault",
    "Undo",
]

Step = Literal["journaled", "armed", "injected", "healed", "verified", "unhealed", "expired"]


@dataclass(frozen=True, slots=True)
class FaultEvent:
    """One step of a fault's life. `at` brackets the instant: CLOCK_MONOTONIC nanoseconds [lo, hi]."""

    fault_id: str
    step: Step
    at: tuple[int, int]
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the event as a JSON object."""
        return {"id": self.fault_id, "step": self.step, "at": list(self.at), "detail": dict(self.detail)}


@runtime_checkable
class Nemesis(Protocol):
    """One fault on one target."""

    @property
    def fault_id(self) -> str:
        """Names the fault in events and in the journal; unique among the live faults of a session."""

    @property
    def max_duration_ns(self) -> int:
        """For how long, at most, it stays; the guardian enforces it even while the runner lives."""

    def reach(self) -> Reach:
        """Return what is known to be touched without asking anybody: at least the control address."""

    async def prepare(self) -> Reach:
        """Read, never write: return all that will be touched. Raises FaultNotInjected where it is in place already."""

    def describe(self) -> dict[str, Any]:
        """Return what it is and does, JSON-able, for people."""

    def undo(self) -> Undo:
        """Return the exact inverse. Called after `prepare`, before `inject`."""

    async def inject(self) -> None:
        """Put it in. Any error leaves it unknown whether it is in place."""

    async def verify_injected(self) -> bool:
        """Ask the target whether it is in place."""

    async def heal(self) -> None:
        """Take it out; nothing to take out is success."""

    async def verify_healed(self) -> bool:
        """Ask the target whether it is gone."""


@runtime_checkable
class Slow(Protocol):
    """A nemesis that may take longer than others: `inject` with `verify_injected`, and `heal` with `verify_healed`."""

    inject_timeout_s: float
    heal_timeout_s: float


@runtime_checkable
class Remarking(Protocol):
    """A nemesis that may find something worth telling while it heals, such as a target that somebody has removed."""

    @property
    def remark(self) -> str | None:
        """What it found at its last `heal`; None where all was as expected."""


@dataclass(slots=True)
class ToxicFault:
    """A toxic on one proxy of a Toxiproxy server.

    Where the server knows a time to live, the toxic gets one, so that it outlives not even the guardian for long.
    `on_frozen` is executed by the guardian, once, when the admin API does not answer (restart that server).
    """

    fault_id: str
    admin_url: str
    proxy: str
    toxic: ToxicSpec
    max_duration_ns: int
    token: str | None = field(default=None, repr=False)
    on_frozen: Undo | None = None
    _ttl_ms: int | None = field(default=None, init=False, repr=False)

    def describe(self) -> dict[str, Any]:
        """Return the toxic as on the wire, and where it goes."""
        return {
            "kind": "toxic",
            "admin_url": self.admin_url,
            "proxy": self.proxy,
            "toxic": {
                "name": self.toxic.resolved_name,
                "type": self.toxic.type,
                "stream": self.toxic.stream,
                "toxicity": self.toxic.toxicity,
                "attributes": dict(self.toxic.attributes),
            },
            "max_duration_ms": self.max_duration_ns // 1_000_000,
        }

    def undo(self) -> Undo:
        """Return "delete that toxic": `prepare` has seen that none of its name was there before."""
        args = {"admin_url": self.admin_url, "proxy": self.proxy, "toxic": self.toxic.resolved_name}
        return Undo("toxiproxy.toxic", args, self.on_frozen, self.token)

    def reach(self) -> Reach:
        """Return the control address; whom the proxy serves is known after `prepare`."""
        return Reach(self.admin_url)

    async def prepare(self) -> Reach:
        """Look the proxy up; refuse where a toxic of this name exists."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            spec = await _read_proxy(client, self.proxy)
            expires = "ttl" in await client.capabilities()
        self._ttl_ms = max(1, self.max_duration_ns // 1_000_000) if expires else None
        if _has(spec, self.toxic):
            raise FaultNotInjected(
                f"the proxy {self.proxy!r} already has a toxic {self.toxic.resolved_name!r}: it is not ours to remove"
            )
        return Reach(self.admin_url, (spec.upstream,))

    async def inject(self) -> None:
        """Create the toxic."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            await client.add_toxic(self.proxy, self.toxic, ttl_ms=self._ttl_ms)

    async def verify_injected(self) -> bool:
        """Ask whether the toxic is listed."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            return _has(await _read_proxy(client, self.proxy), self.toxic)

    async def heal(self) -> None:
        """Delete the toxic, if it is there."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            # Asked first: "not found" is success here, and whether an error means that is the server's wording.
            if _has((await client.proxies()).get(self.proxy), self.toxic):
                await client.remove_toxic(self.proxy, self.toxic.resolved_name)

    async def verify_healed(self) -> bool:
        """Ask whether the toxic, or its whole proxy, is gone."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            return not _has((await client.proxies()).get(self.proxy), self.toxic)


@dataclass(frozen=True, slots=True)
class ProxyDownFault:
    """A disabled proxy: its port is closed and its connections are cut."""

    fault_id: str
    admin_url: str
    proxy: str
    max_duration_ns: int
    token: str | None = field(default=None, repr=False)
    on_frozen: Undo | None = None

    def describe(self) -> dict[str, Any]:
        """Return which proxy goes down."""
        return {
            "kind": "down",
            "admin_url": self.admin_url,
            "proxy": self.proxy,
            "max_duration_ms": self.max_duration_ns // 1_000_000,
        }

    def undo(self) -> Undo:
        """Return "enable it": `prepare` has seen that it was enabled before."""
        args = {"admin_url": self.admin_url, "proxy": self.proxy, "enabled": True}
        return Undo("toxiproxy.enabled", args, self.on_frozen, self.token)

    def reach(self) -> Reach:
        """Return the control address; whom the proxy serves is known after `prepare`."""
        return Reach(self.admin_url)

    async def prepare(self) -> Reach:
        """Look the proxy up; refuse where it is down already."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            spec = await _read_proxy(client, self.proxy)
        if not spec.enabled:
            raise FaultNotInjected(f"the proxy {self.proxy!r} is disabled already: it is not ours to enable")
        return Reach(self.admin_url, (spec.upstream,))

    async def inject(self) -> None:
        """Disable the proxy."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            await client.set_enabled(self.proxy, enabled=False)

    async def verify_injected(self) -> bool:
        """Ask whether the proxy is disabled."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            return not (await _read_proxy(client, self.proxy)).enabled

    async def heal(self) -> None:
        """Enable the proxy, if it is still there."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            spec = (await client.proxies()).get(self.proxy)
            if spec is not None and not spec.enabled:
                await client.set_enabled(self.proxy, enabled=True)

    async def verify_healed(self) -> bool:
        """Ask whether the proxy is enabled, or gone."""
        async with ToxiproxyClient(self.admin_url, token=self.token) as client:
            spec = (await client.proxies()).get(self.proxy)
            return spec is None or spec.enabled


async def _read_proxy(client: ToxiproxyClient, name: str) -> ProxySpec:
    """Return the proxy as it is. Raises FaultNotInjected where it does not exist, ToxiproxyError where none answers."""
    proxies = await client.proxies()
    if name not in proxies:
        raise FaultNotInjected(
            f"there is no proxy {name!r} there; there is {', '.join(sorted(proxies)) or 'none'}"
        )
    return proxies[name]


def _has(spec: ProxySpec | None, toxic: ToxicSpec) -> bool:
    return spec is not None and any(each.resolved_name == toxic.resolved_name for each in spec.toxics)
