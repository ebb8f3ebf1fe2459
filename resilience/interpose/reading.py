"""Reading a resolved compose model: the two generations of compose print the same thing in different shapes.

ports         {target: 5432, protocol: tcp, ...}  or  "127.0.0.1:5432:5432/tcp"
depends_on    {db: {condition: ...}}              or  [db]
networks      {default: {aliases: [...]}}, {default: null}, [default], or nothing at all, which means the default network
volumes_from  "db:ro"                             or  "service:db:ro", or "container:NAME:ro"

Pure: whatever the shape, one answer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from resilience.interpose.model import Model

Service = Mapping[str, Any]

_NO_NAMES = frozenset({"host", "none", "bridge"})


def services_of(model: Model) -> Mapping[str, Service]:
    """Every service, by name."""
    found: Mapping[str, Service] = model.get("services") or {}
    return found


def networks_of(service: Service) -> dict[str, dict[str, Any]]:
    """The networks that a service joins, with what it says of itself there; none where it shares somebody's."""
    if service.get("network_mode"):
        return {}
    networks = service.get("networks")
    if not networks:
        return {"default": {}}
    if isinstance(networks, Mapping):
        return {name: dict(said or {}) for name, said in networks.items()}
    return {str(name): {} for name in networks}


def depends_on(service: Service) -> dict[str, dict[str, Any]]:
    """What a service waits for, with the condition."""
    said = service.get("depends_on") or {}
    if isinstance(said, Mapping):
        return {name: dict(how or {}) for name, how in said.items()}
    return {str(name): {"condition": "service_started"} for name in said}


def links_of(service: Service) -> list[tuple[str, str]]:
    """(service, the name it is linked under), in the order of the file."""
    pairs = (str(link).partition(":") for link in service.get("links") or ())
    return [(target, alias or target) for target, _, alias in pairs]


def volumes_from(service: Service) -> list[tuple[str, str]]:
    """(whose volumes, the mode that follows it): the owner is a service, or "container:NAME"."""
    found = []
    for entry in service.get("volumes_from") or ():
        text = str(entry).removeprefix("service:")
        if text.startswith("container:"):
            kind, name, *mode = text.split(":")
            found.append((f"{kind}:{name}", "".join(mode)))
        else:
            name, _, ending = text.partition(":")
            found.append((name, ending))
    return found


def port_of(entry: Any) -> tuple[tuple[int, ...], str]:
    """(the container's ports, the protocol) of one entry of `ports` or `expose`."""
    if isinstance(entry, Mapping):
        return _numbers(str(entry.get("target"))), str(entry.get("protocol") or "tcp")
    text, _, protocol = str(entry).partition("/")
    return _numbers(text.rpartition(":")[2]), protocol or "tcp"


def _numbers(text: str) -> tuple[int, ...]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        return ()
    return tuple(range(int(first), int(last or first) + 1))


def ports_of(service: Service, kind: str) -> list[tuple[int, str]]:
    """(port, protocol) of everything that `kind` ("ports" or "expose") names."""
    entries = (port_of(entry) for entry in service.get(kind) or ())
    return [(number, protocol) for numbers, protocol in entries for number in numbers]


def hosts_of(service: Service, key: str) -> list[str]:
    """The names that `extra_hosts` gives addresses to."""
    said = service.get(key) or ()
    if isinstance(said, Mapping):
        return [str(name) for name in said]
    return [re.split(r"[:=]", str(entry), maxsplit=1)[0] for entry in said]


def names_of(name: str, service: Service, project: str, *, with_generated: bool = True) -> tuple[str, ...]:
    """Every name under which a container of the project reaches a service; its own first."""
    found = [name]
    for said in networks_of(service).values():
        found += [str(alias) for alias in said.get("aliases") or ()]
    found += [str(service[key]) for key in ("container_name", "hostname") if service.get(key)]
    if with_generated and not service.get("container_name"):
        # The names that the two generations give to the first container.
        found += [f"{project}-{name}-1", f"{project}_{name}_1"]
    return tuple(dict.fromkeys(found))


def mentions(value: Any, names: Iterable[str]) -> bool:
    """Whether a text anywhere in `value` has one of the names as a host: a word of its own, no part of a longer one."""
    alternatives = "|".join(re.escape(name) for name in names)
    pattern = re.compile(rf"(?<![\w.-])(?:{alternatives})(?![\w-])", re.IGNORECASE)
    return any(pattern.search(text) for text in _texts(value))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif value is not None:
        yield str(value)


def graces_s(model: Model) -> dict[str, int]:
    """How many seconds each service that says so is given to end, rounded up: `stop_grace_period`, such as "1m30s"."""
    units_ms = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1, "us": 0.001, "ns": 0.000_001}
    found = {}
    for name, service in services_of(model).items():
        parts = re.findall(r"(\d+(?:\.\d+)?)(h|ms|us|ns|m|s)", str(service.get("stop_grace_period") or ""))
        if parts:
            found[name] = math.ceil(sum(float(number) * units_ms[unit] for number, unit in parts) / 1000)
    return found


def says(service: Service) -> dict[str, Any]:
    """What of a service may name whom it calls: its environment, its commands, its healthcheck."""
    return {key: service.get(key) for key in ("environment", "command", "entrypoint", "healthcheck")}


def share_a_network(one: Service, other: Service) -> bool:
    """Whether both are on one network, where names are looked up."""
    return bool(networks_of(one).keys() & networks_of(other).keys())


def lives_with(service: Service) -> str | None:
    """The service whose network this one shares."""
    mode = str(service.get("network_mode") or "")
    return mode.removeprefix("service:") if mode.startswith("service:") else None


def leans_on(service: Service, name: str) -> bool:
    """Whether a service has volumes or a namespace of another one's container: it has to be created anew with it."""
    shared = f"service:{name}"
    owners = {owner for owner, _ in volumes_from(service)}
    return name in owners or any(service.get(key) == shared for key in ("network_mode", "pid", "ipc"))


def replicas_of(service: Service) -> int:
    """How many containers of a service there are to be, by its file."""
    return int((service.get("deploy") or {}).get("replicas") or service.get("scale") or 1)


def has_no_names(service: Service) -> bool:
    """Whether its network knows no names: the host's, none at all, or the engine's old bridge."""
    return str(service.get("network_mode") or "") in _NO_NAMES
