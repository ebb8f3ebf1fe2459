"""Faults on containers, through the Docker SDK. Each a nemesis, with its exact inverse in `faults.undo.docker`.

    PauseFault        frozen: connections stay open, nobody answers
    KillFault         SIGKILL, and no restart policy brings it back
    StopFault         asked to end, killed after `grace_s`; what it does at a good end, it does
    RestartFault      killed and started at once: connections are lost, state in memory is gone
    DisconnectFault   out of one network: its names there no longer resolve, its connections hang
    ThrottleFault     the CPU time of so many cores, no more

`prepare` looks the container up by name or id and works with its id from then on, so that a container that took its name later is never
touched. It refuses what is not in the state that the inverse leads back to, and what has no inverse: a container that the engine removes when
it ends (`--rm`), and limits on memory, for which the engine knows no way back.

Which containers may be hurt at all is the session's to say (`BlastRadius`: labels, or `container:NAME`). A container that somebody removes
meanwhile counts as healed, with a remark. The SDK is synchronous: every call runs in a thread and ends within seconds.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import DockerException, NotFound

from faults.blast_radius import ContainerReach, Reach
from faults.errors import FaultError, FaultNotInjected
from faults.undo import UNDO_KINDS, Undo

__all__ = [
    "DEFAULT_ENGINE",
    "DisconnectFault",
    "KillFault",
    "PauseFault",
    "RestartFault",
    "StopFault",
    "ThrottleFault",
]

DEFAULT_ENGINE: Final = "unix:///var/run/docker.sock"
_TIMEOUT_S: Final = 8  # an engine on a busy machine takes seconds to end and start a container
_PERIOD_US: Final = 100_000
_ENDPOINT_KEYS: Final = ("Aliases", "IPAMConfig", "Links", "DriverOpts", "GwPriority")
_PROJECT: Final = "com.docker.compose.project"
"""What of a container's place in a network is its own choice; the rest is the engine's answer to it."""

T = TypeVar("T")


MOST_GRACE_S = 5
"""Well within the time that injecting may take: a stop must have ended before anybody looks whether it is undone."""


@dataclass(slots=True)
class _ContainerFault:
    """What they share: one container, looked up once, and an inverse that is executed here as the guardian would."""

    fault_id: str
    container: str
    max_duration_ns: int
    engine: str = DEFAULT_ENGINE
    remark: str | None = field(default=None, init=False)
    _before: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    kind: ClassVar[str]
    undo_kind: ClassVar[str]
    inject_timeout_s: ClassVar[float] = 10.0
    heal_timeout_s: ClassVar[float] = 8.0
    destructive: ClassVar[str | None] = None
    """What cannot be undone, in words."""
    ends: ClassVar[bool] = False
    """Whether the container's processes end."""

    def describe(self) -> dict[str, Any]:
        """Return what is done to which container, and what of it cannot be undone."""
        described = {
            "kind": self.kind,
            "container": self._before.get("Name", self.container).lstrip("/"),
            "id": self._before.get("Id"),
            "engine": self.engine,
            "max_duration_ms": self.max_duration_ns // 1_000_000,
        }
        return described if self.destructive is None else {**described, "destructive": self.destructive}

    def undo(self) -> Undo:
        """Return the exact inverse, on the container's id."""
        return Undo(self.undo_kind, {"engine": self.engine, "container": self._id, **self._undo_args()})

    def reach(self) -> Reach:
        """Return the engine's address; which container it is, is known after `prepare`."""
        return Reach(self.engine)

    async def prepare(self) -> Reach:
        """Look the container up; refuse where the fault could not be undone, or is in place already."""
        self._before = await self._asked(lambda api: dict(api.inspect_container(self.container)))
        name = str(self._before["Name"]).lstrip("/")
        state = self._before["State"]
        if not state["Running"] or state.get("Restarting"):
            raise FaultNotInjected(f"the container {name} does not run")
        if state["Paused"]:
            raise FaultNotInjected(f"the container {name} is paused already: it is not ours to let run on")
        if self.ends and self._before["HostConfig"].get("AutoRemove"):
            raise FaultNotInjected(
                f"the container {name} is removed when it ends (--rm): there would be no way back"
            )
        self._refuse(name)
        labels = self._before["Config"].get("Labels") or {}
        marks = frozenset(f"{key}={value}" for key, value in labels.items())
        return Reach(self.engine, containers=(ContainerReach(self._id, name, marks),))

    async def inject(self) -> None:
        """Ask the engine to do it."""
        await self._asked(self._do)

    async def verify_injected(self) -> bool:
        """Ask the engine whether it is so."""
        return self._is_in(await self._asked(lambda api: dict(api.inspect_container(self._id))))

    async def heal(self) -> None:
        """Execute the inverse."""
        undo = self.undo()
        self.remark = await self._gone()
        await asyncio.to_thread(UNDO_KINDS[undo.kind].undo, undo)

    async def verify_healed(self) -> bool:
        """Ask the inverse whether there is nothing left to undo."""
        undo = self.undo()
        return await asyncio.to_thread(UNDO_KINDS[undo.kind].is_clean, undo)

    @property
    def _id(self) -> str:
        return str(self._before.get("Id", self.container))

    def _undo_args(self) -> Mapping[str, Any]:
        return {}

    def _refuse(self, name: str) -> None:
        """Raise FaultNotInjected where something particular to this fault is in its way."""

    def _do(self, api: docker.APIClient) -> None:
        raise NotImplementedError

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        raise NotImplementedError

    async def _gone(self) -> str | None:
        try:
            await self._asked(lambda api: api.inspect_container(self._id))
        except _NoContainer:
            return f"the container {self.describe()['container']} was removed while the fault was in place"
        except FaultError:
            return None  # the inverse will say what is wrong
        return None

    async def _asked(self, ask: Callable[[docker.APIClient], T]) -> T:
        """Ask the engine something, in a thread; failures are in words."""

        def asked() -> T:
            _knock(self.engine)
            api = docker.APIClient(base_url=self.engine, version="auto", timeout=_TIMEOUT_S)
            try:
                return ask(api)
            finally:
                api.close()

        try:
            return await asyncio.to_thread(asked)
        except NotFound as error:
            raise _NoContainer(f"there is no container {self.container!r} on {self.engine}") from error
        except (DockerException, requests.RequestException, OSError) as error:
            raise FaultNotInjected(f"the Docker engine at {self.engine}: {error}") from error


class _NoContainer(FaultNotInjected):
    pass


def _knock(engine: str) -> None:
    """Raise OSError where nobody listens at an engine's socket file: the SDK would leave its own socket open."""
    parts = urlsplit(engine)
    if parts.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(parts.path)


@dataclass(slots=True)
class PauseFault(_ContainerFault):
    """All processes of a container stand still."""

    kind: ClassVar[str] = "pause"
    undo_kind: ClassVar[str] = "docker.unpause"

    def _do(self, api: docker.APIClient) -> None:
        api.pause(self._id)

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        return bool(facts["State"]["Paused"])


@dataclass(slots=True)
class KillFault(_ContainerFault):
    """A container is killed; the inverse starts it."""

    kind: ClassVar[str] = "kill"
    undo_kind: ClassVar[str] = "docker.start"
    destructive: ClassVar[str | None] = "what its processes had in memory is lost"
    ends: ClassVar[bool] = True

    def _do(self, api: docker.APIClient) -> None:
        api.kill(self._id)

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        return not facts["State"]["Running"]


@dataclass(slots=True)
class StopFault(_ContainerFault):
    """A container is asked to end; the inverse starts it."""

    grace_s: int = 1
    """At most `MOST_GRACE_S`: the engine goes on with an order whose sender has died, and healing outlasts it."""

    kind: ClassVar[str] = "stop"
    undo_kind: ClassVar[str] = "docker.stopped"
    ends: ClassVar[bool] = True

    def _undo_args(self) -> Mapping[str, Any]:
        started_at = self._before.get("State", {}).get("StartedAt")
        return {"started_at": started_at, "grace_s": self.grace_s}

    def _refuse(self, name: str) -> None:
        if not 0 <= self.grace_s <= MOST_GRACE_S:
            raise FaultNotInjected(
                f"stopping {name} with a grace of {self.grace_s} s: 0 to {MOST_GRACE_S} s can be undone for certain"
            )

    def _do(self, api: docker.APIClient) -> None:
        api.stop(self._id, timeout=self.grace_s)

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        return not facts["State"]["Running"]


@dataclass(slots=True)
class RestartFault(_ContainerFault):
    """A container is killed and started at once; healing makes sure that it runs."""

    kind: ClassVar[str] = "restart"
    undo_kind: ClassVar[str] = "docker.start"
    destructive: ClassVar[str | None] = "what its processes had in memory is lost"
    ends: ClassVar[bool] = True

    def _do(self, api: docker.APIClient) -> None:
        api.restart(self._id, timeout=0)

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        return bool(facts["State"]["StartedAt"] != self._before["State"]["StartedAt"])


@dataclass(slots=True)
class DisconnectFault(_ContainerFault):
    """A container leaves one network (the one that it is in, where none is named), without a goodbye to its connections there."""

    network: str | None = field(default=None, kw_only=True)

    kind: ClassVar[str] = "disconnect"
    undo_kind: ClassVar[str] = "docker.connect"

    def describe(self) -> dict[str, Any]:
        """Return which container leaves which network."""
        return {
            **_ContainerFault.describe(self),
            "network": self.network or next(iter(self._networks()), None),
        }

    def _networks(self) -> Mapping[str, Mapping[str, Any]]:
        return self._before.get("NetworkSettings", {}).get("Networks") or {}

    def _joined(self) -> Mapping[str, Any]:
        networks = self._networks()
        if self.network is None:
            return next(iter(networks.values())) if len(networks) == 1 else {}
        # A compose file says `front`; the engine knows the network by its project's name and that.
        project = (self._before.get("Config", {}).get("Labels") or {}).get(_PROJECT)
        wanted = {self.network, f"{project}_{self.network}"} if project else {self.network}
        return next(
            (
                joined
                for name, joined in networks.items()
                if name in wanted or joined.get("NetworkID") == self.network
            ),
            {},
        )

    def _undo_args(self) -> Mapping[str, Any]:
        joined = self._joined()
        endpoint = {key: joined[key] for key in _ENDPOINT_KEYS if joined.get(key)}
        return {"network": joined.get("NetworkID"), "endpoint": endpoint}

    def _refuse(self, name: str) -> None:
        if not self._joined():
            networks = ", ".join(sorted(self._networks())) or "none"
            if self.network is None:
                raise FaultNotInjected(
                    f"say which network the container {name} is to leave: it is in {networks}"
                )
            raise FaultNotInjected(
                f"the container {name} is not in the network {self.network!r}; it is in {networks}"
            )
        if self._before["HostConfig"].get("NetworkMode", "").startswith(("host", "container:")):
            raise FaultNotInjected(f"the container {name} has no network of its own")

    def _do(self, api: docker.APIClient) -> None:
        api.disconnect_container_from_network(self._id, self._joined()["NetworkID"], force=True)

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        network = self._joined()["NetworkID"]
        return all(
            joined.get("NetworkID") != network for joined in facts["NetworkSettings"]["Networks"].values()
        )


@dataclass(slots=True)
class ThrottleFault(_ContainerFault):
    """A container gets the CPU time of `cpus` cores, less than it had."""

    cpus: float = field(kw_only=True)

    kind: ClassVar[str] = "throttle"
    undo_kind: ClassVar[str] = "docker.cpu"

    def describe(self) -> dict[str, Any]:
        """Return which container gets how much."""
        return {**_ContainerFault.describe(self), "cpus": self.cpus}

    def _undo_args(self) -> Mapping[str, Any]:
        before = self._before.get("HostConfig", {})
        return {
            "nano_cpus": before.get("NanoCpus") or 0,
            "period": before.get("CpuPeriod") or 0,
            "quota": before.get("CpuQuota") or 0,
        }

    def _refuse(self, name: str) -> None:
        if self.cpus < 0.01:
            raise FaultNotInjected("a container cannot be throttled to less than 0.01 cores")
        had = self._undo_args()
        cores = had["nano_cpus"] / 1e9
        if not cores and had["quota"] > 0:
            cores = had["quota"] / (had["period"] or _PERIOD_US)
        if cores and cores <= self.cpus:
            raise FaultNotInjected(f"the container {name} has no more than {cores:g} cores already")

    def _wanted(self) -> dict[str, int]:
        # The engine refuses to mix its two ways of saying the same.
        if self._undo_args()["nano_cpus"]:
            return {"NanoCpus": round(self.cpus * 1e9)}
        return {"CpuPeriod": _PERIOD_US, "CpuQuota": round(self.cpus * _PERIOD_US)}

    def _do(self, api: docker.APIClient) -> None:
        # The SDK's own method does not know NanoCpus.
        url = f"{api.base_url}/v{api.api_version}/containers/{self._id}/update"
        api.post(url, json=self._wanted(), timeout=_TIMEOUT_S).raise_for_status()

    def _is_in(self, facts: Mapping[str, Any]) -> bool:
        return all(facts["HostConfig"].get(key) == value for key, value in self._wanted().items())
