"""The rewriting of a compose model so that proxies stand in front of dependencies. Pure: model in, model out.

    D becomes D--real      same networks, without its other names, published ports and static addresses
    chaos-D is added       D's networks, all of D's names, its published ports and static addresses; tap and proxy to D--real
    whoever spoke of D     links lead to chaos-D; volumes, namespaces and conditions to D--real, and chaos-D must be healthy, too

Why rename: two holders of one name split the look-ups between them; a service's own name cannot be taken off a network that it joins;
and the proxy would resolve a name that it took over to itself.

Invariants, held by property tests: a service that does not speak of D is the same afterwards, to the byte; D's configuration is all in D--real
and chaos-D; nothing but those two and the conditions of callers is added; putting the names back gives the file that came in.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from resilience.interpose.model import (
    LABEL,
    Facts,
    Front,
    Gate,
    InterposeRefused,
    Interposition,
    Model,
    Wanted,
)
from resilience.interpose.reading import (
    depends_on,
    links_of,
    lives_with,
    mentions,
    names_of,
    networks_of,
    port_of,
    says,
    services_of,
    share_a_network,
    volumes_from,
)
from resilience.interpose.refusing import proxy_name, real_name, refusals, tcp_ports, warnings

ADMIN_NETWORK = "chaos-spike-admin"
"""Added where a dependency is on internal networks only: nothing is published from those."""

_ADMIN_PORTS = range(8474, 8574)
_ADDRESSES = ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address")

_Services = dict[str, dict[str, Any]]


def interpose(model: Model, wanted: Sequence[Wanted], facts: Facts) -> Interposition:
    """The rewritten model; InterposeRefused with every reason against it."""
    if found := refusals(model, wanted, facts):
        raise InterposeRefused(found)
    told = warnings(model, wanted, facts)
    original = services_of(model)
    changed: dict[str, Any] = copy.deepcopy(dict(model))
    if str(changed.get("version", "")).startswith("2"):
        changed["version"] = "2.4"  # conditions need 2.1, and 2.4 has everything of it
    fronts = [_front(each, original, facts, index) for index, each in enumerate(wanted)]
    services: _Services = changed["services"]
    for each, front in zip(wanted, fronts, strict=True):
        real = services.pop(each.service)
        services[front.proxy] = _proxy(front, real, facts)
        if _is_internal(model, original[each.service]):
            services[front.proxy]["networks"][ADMIN_NETWORK] = {}
            changed["networks"] = {**(changed.get("networks") or {}), ADMIN_NETWORK: {}}
        services[front.real] = _real(front, real, facts)
    for front in fronts:
        for name, service in services.items():
            if name != front.proxy:
                _redirect(service, front)
    return Interposition(changed, tuple(fronts), told)


def _front(wanted: Wanted, services: Mapping[str, Any], facts: Facts, index: int) -> Front:
    name = wanted.service
    service = services[name]
    names = names_of(name, service, facts.project)
    ports = tcp_ports(wanted, service, facts.exposed.get(name, ()))
    called = wanted.name or name
    gates = [
        # Only of the port that was named is it known what it speaks.
        Gate(called, port, wanted.protocol, wanted.correlate)
        if position == 0
        else Gate(f"{called}-{port}", port, "tcp", None)
        for position, port in enumerate(ports)
    ]
    others = {other: said for other, said in services.items() if other != name}
    return Front(
        service=name,
        real=real_name(name),
        proxy=proxy_name(name),
        names=names,
        gates=tuple(gates),
        callers=tuple(sorted(other for other, said in others.items() if _calls(said, name, names))),
        reachers=tuple(sorted(other for other, said in others.items() if share_a_network(said, service))),
        admin_port=facts.admin_ports[2 * index],
        tap_port=facts.admin_ports[2 * index + 1],
    )


def _calls(service: Mapping[str, Any], name: str, names: Sequence[str]) -> bool:
    """Whether a service says that it uses another: by waiting for it, a link, or its name where callers are told of it."""
    linked = {target for target, _ in links_of(service)}
    return name in depends_on(service) or name in linked or mentions(says(service), names)


def _proxy(front: Front, real: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    taken = {gate.port for gate in front.gates}
    admin, tap = [port for port in _ADMIN_PORTS if port not in taken][:2]
    points = [
        f"--point={gate.name},{gate.port},{front.real}:{gate.port},{gate.protocol}"
        + (f",{gate.correlate}" if gate.correlate else "")
        for gate in front.gates
    ]
    service: dict[str, Any] = {
        "image": facts.image,
        "command": [
            *("python", "-m", "faults.proxy.front", "--host=0.0.0.0", "--listen-host=0.0.0.0"),
            *(f"--admin-port={admin}", f"--tap-port={tap}", *points),
        ],
        "labels": {LABEL: front.service},
        "networks": {network: _with_names(said, front.names) for network, said in networks_of(real).items()},
        "ports": [
            *(entry for entry in real.get("ports") or () if _moves(entry, taken)),
            f"127.0.0.1:{front.admin_port}:{admin}",
            f"127.0.0.1:{front.tap_port}:{tap}",
        ],
        # Where the engine restarts the dependency, it must find its proxy again.
        "restart": real.get("restart") or "no",
        "stop_grace_period": "3s",
        "healthcheck": {
            "test": ["CMD", "python", "-ISB", "/app/compose/healthy.py", str(tap), "/taps"],
            "interval": "2s",
            "timeout": "4s",
            "retries": 15,
        },
    }
    if real.get("profiles"):
        service["profiles"] = copy.deepcopy(real["profiles"])
    return service


def _with_names(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    kept = {key: value for key, value in copy.deepcopy(dict(said)).items() if key != "mac_address"}
    return {**kept, "aliases": list(names)}


def _moves(entry: Any, taken: set[int]) -> bool:
    numbers, protocol = port_of(entry)
    return protocol == "tcp" and set(numbers) <= taken


def _real(front: Front, service: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The dependency under its new name: all that it was, without the names and addresses that callers have."""
    real = copy.deepcopy(dict(service))
    for key in ("container_name", "hostname", "domainname"):
        real.pop(key, None)
    taken = {gate.port for gate in front.gates}
    if "ports" in real:
        real["ports"] = [entry for entry in real["ports"] if not _moves(entry, taken)]
        if not real["ports"]:
            del real["ports"]
    networks = networks_of(service)
    real["networks"] = {
        network: {key: value for key, value in said.items() if key not in ("aliases", *_ADDRESSES)} or None
        for network, said in networks.items()
    }
    if any(said.get(key) for said in networks.values() for key in _ADDRESSES[:2]):
        # It must not be given, by chance, the address that the proxy is about to take.
        real["depends_on"] = {
            **depends_on(service),
            front.proxy: {"condition": "service_started"},
        }
    if "build" in real and not real.get("image"):
        # Compose names what it builds after the service: the image that is here already bears the old name.
        real["image"] = f"{facts.project}{facts.separator}{front.service}"
    own = [name for name in front.names if mentions(says(service), [name])]
    if own:
        # What calls itself by its name means itself, and not the proxy.
        real["extra_hosts"] = [*_extra_hosts(real), *(f"{name}:127.0.0.1" for name in own)]
    labels = real.get("labels") or {}
    real["labels"] = (
        {**labels, LABEL: front.service}
        if isinstance(labels, Mapping)
        else [*labels, f"{LABEL}={front.service}"]
    )
    return real


def _extra_hosts(service: Mapping[str, Any]) -> list[str]:
    said = service.get("extra_hosts") or ()
    return (
        [f"{name}:{address}" for name, address in said.items()] if isinstance(said, Mapping) else list(said)
    )


def _redirect(service: dict[str, Any], front: Front) -> None:
    """Let one service speak of the proxy where it called D, and of D--real where it means its volumes, namespaces or health."""
    waits = depends_on(service)
    if front.service in waits:
        how = waits[front.service]
        kept = {name: said for name, said in waits.items() if name != front.service}
        service["depends_on"] = {
            **kept,
            front.real: how,
            front.proxy: {
                **{key: how[key] for key in ("required", "restart") if key in how},
                "condition": "service_healthy",
            },
        }
    if any(target == front.service for target, _ in links_of(service)):
        service["links"] = [
            f"{front.proxy}:{alias}" if target == front.service else f"{target}:{alias}"
            for target, alias in links_of(service)
        ]
    if any(owner == front.service for owner, _ in volumes_from(service)):
        service["volumes_from"] = [_volumes_of(entry, front) for entry in service["volumes_from"]]
    if lives_with(service) == front.service:
        service["network_mode"] = f"service:{front.real}"
    for key in ("pid", "ipc"):
        if service.get(key) == f"service:{front.service}":
            service[key] = f"service:{front.real}"


def _volumes_of(entry: Any, front: Front) -> str:
    text = str(entry)
    typed = "service:" if text.startswith("service:") else ""
    name, colon, mode = text.removeprefix("service:").partition(":")
    return f"{typed}{front.real}{colon}{mode}" if name == front.service else text


def _is_internal(model: Model, service: Mapping[str, Any]) -> bool:
    """Whether every network of a service is cut off from the host."""
    declared = model.get("networks") or {}
    return all((declared.get(network) or {}).get("internal") for network in networks_of(service))
