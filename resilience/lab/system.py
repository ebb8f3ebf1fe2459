"""What any stack tells the rest of the tool about the system it brought up.

A plan is run against a `System`: one base URL for the load, the points where faults can be put in, the instances whose
breakers can be followed, and the processes whose memory can be measured. Three stacks give one: the embedded stack
(processes on loopback), docker-compose, and systems that others run. Nothing here assumes that those processes are our
children, share our host, or can be signalled; what a stack does not know is `None` or empty.

All values are frozen and JSON-able both ways (`to_json` / `from_json`), because the supervisor of the embedded stack
hands its system to the runner over a pipe and `lab up` leaves it in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

SYSTEM_VERSION = 1

NOTICE = "notice"
"""The fact of a system that verdict, console and page say before anything else."""
LAB_FACT = "lab"
"""The fact of a lab that `lab up` started: the variables and settings it was started with, as a JSON object."""


class StackError(Exception):
    """A stack could not be brought up (or down): one message that says what is wrong and the way out."""


@dataclass(frozen=True, slots=True)
class ProxyPoint:
    """Where faults enter between a caller and one dependency: caller, tap, toxic proxy, dependency.

    `admin_url` is a Toxiproxy-compatible control API and `proxy` the name there. `tap_url` is the control of the tap
    in front of it and `tap` its name there, or both `None`. `listen` is what the caller dials, `upstream` the
    dependency itself; both are "host:port". Where the proxy server is a container, `container` is its id and `engine`
    the address of its Docker engine: should the control API freeze, that container can be restarted.
    """

    name: str
    admin_url: str
    proxy: str
    listen: str
    upstream: str
    tap_url: str | None = None
    tap: str | None = None
    engine: str | None = None
    container: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return {
            "name": self.name,
            "admin_url": self.admin_url,
            "proxy": self.proxy,
            "listen": self.listen,
            "upstream": self.upstream,
            "tap_url": self.tap_url,
            "tap": self.tap,
            "engine": self.engine,
            "container": self.container,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ProxyPoint:
        """The inverse of `to_json`; KeyError or TypeError if `data` is not one."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service. `boot` changes whenever that process is started anew."""

    service: str
    name: str
    admin_url: str | None = None
    pid: int | None = None
    boot: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return {
            "service": self.service,
            "name": self.name,
            "admin_url": self.admin_url,
            "pid": self.pid,
            "boot": self.boot,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Instance:
        """The inverse of `to_json`; KeyError or TypeError if `data` is not one."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class LocalProcess:
    """A process on this host that may be killed and brought back, or frozen.

    `pid` is the one that ran when the system came up. `ready` is the "host:port" that it alone accepts connections at; `revive` is the
    command that starts it again in its place, and ends with 0 once it is back.
    """

    pid: int
    ready: str
    revive: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return {"pid": self.pid, "ready": self.ready, "revive": list(self.revive)}

    @property
    def control(self) -> str:
        """Where its supervisor tells and starts processes (revival.py): the word of the command that is before its name."""
        return self.revive[-2]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LocalProcess:
        """The inverse of `to_json`; KeyError or TypeError if `data` is not one."""
        return cls(int(data["pid"]), str(data["ready"]), tuple(data["revive"]))


@dataclass(frozen=True, slots=True)
class ContainerPoint:
    """A container that faults may be put on: its name in plans, its engine's address, and its id (or name) there."""

    name: str
    engine: str
    container: str

    def to_json(self) -> dict[str, Any]:
        """All fields, by name."""
        return {"name": self.name, "engine": self.engine, "container": self.container}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ContainerPoint:
        """The inverse of `to_json`; KeyError or TypeError if `data` is not one."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class System:
    """A system that is up.

    `pids` maps a service to its processes on this host (empty where they are out of reach), `owners` are the processes
    that keep the stack itself alive, `facts` are strings for the environment record: versions, the breaker library,
    and under "breaker_spec" the JSON of what the breaker is configured to do. `addresses` are what else callers can dial, by the
    name that plans use (`{db}`), credentials included: they are never written down. `processes` are those that may be killed or frozen, by name,
    and `containers` those that may be paused, killed, cut off or throttled.
    """

    stack: str
    base_url: str
    proxies: Mapping[str, ProxyPoint] = field(default_factory=dict)
    instances: tuple[Instance, ...] = ()
    pids: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    owners: tuple[int, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict, repr=False)
    processes: Mapping[str, LocalProcess] = field(default_factory=dict)
    containers: Mapping[str, ContainerPoint] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with its version under "v"."""
        return {
            "v": SYSTEM_VERSION,
            "stack": self.stack,
            "base_url": self.base_url,
            "proxies": {name: point.to_json() for name, point in self.proxies.items()},
            "instances": [instance.to_json() for instance in self.instances],
            "pids": {service: list(pids) for service, pids in self.pids.items()},
            "owners": list(self.owners),
            "facts": dict(self.facts),
            "addresses": dict(self.addresses),
            "processes": {name: each.to_json() for name, each in self.processes.items()},
            "containers": {name: each.to_json() for name, each in self.containers.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> System:
        """The inverse of `to_json`; ValueError for another version, KeyError or TypeError for what is not a system."""
        if data.get("v") != SYSTEM_VERSION:
            raise ValueError(f"a system of version {data.get('v')!r}, expected {SYSTEM_VERSION}")
        return cls(
            stack=data["stack"],
            base_url=data["base_url"],
            proxies={name: ProxyPoint.from_json(point) for name, point in data["proxies"].items()},
            instances=tuple(Instance.from_json(instance) for instance in data["instances"]),
            pids={service: tuple(pids) for service, pids in data["pids"].items()},
            owners=tuple(data["owners"]),
            facts=dict(data["facts"]),
            addresses=dict(data.get("addresses", {})),
            containers={n: ContainerPoint.from_json(each) for n, each in data.get("containers", {}).items()},
            processes={name: LocalProcess.from_json(p) for name, p in data.get("processes", {}).items()},
        )


class Stack(Protocol):
    """Something that can bring a system up and take it down again without leaving anything behind."""

    async def up(self) -> System:
        """Bring the system up, or raise StackError having left nothing behind."""

    async def down(self) -> None:
        """Take down what `up` brought up; harmless when nothing is up."""

    async def instances(self) -> tuple[Instance, ...]:
        """The instances as they are now: scaling and restarts change them."""

    def describe(self) -> str:
        """One line for people."""
