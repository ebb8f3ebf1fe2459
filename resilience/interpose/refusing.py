"""What is refused, and what is only warned of. Pure: a function of the resolved file, and of what images expose.

Each refusal has its reason and a way out. They are collected, not raised one by one: whoever mends a file wants to see all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from resilience.interpose.model import Facts, Model, Refusal, Wanted
from resilience.interpose.reading import (
    Service,
    has_no_names,
    hosts_of,
    links_of,
    lives_with,
    mentions,
    names_of,
    networks_of,
    ports_of,
    replicas_of,
    says,
    services_of,
    share_a_network,
)

_ADVERTISES = re.compile(
    r"kafka|redpanda|mongo|cassandra|scylla|elasticsearch|opensearch|zookeeper|etcd|consul|cockroach|pulsar|"
    r"redis-cluster|nats",
    re.IGNORECASE,
)
_CLUSTERED = re.compile(r"cluster-enabled|--replSet|ADVERTISED_LISTENERS|advertise[-_.]", re.IGNORECASE)
_ADDRESS = re.compile(r"(?<![\d.])(?!0\.0\.0\.0|127\.)\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?(?![\d.])")


def real_name(service: str) -> str:
    """The service that has the dependency while it is interposed."""
    return f"{service}--real"


def proxy_name(service: str) -> str:
    """The service that answers to its name."""
    return f"chaos-{service}"


def tcp_ports(wanted: Wanted, service: Service, exposed: Sequence[str]) -> tuple[int, ...]:
    """The ports that the proxy listens at: the one that was named and those of the file, else those of the image.

    The port that was named comes first; the others, in order. Empty where nobody says any.
    """
    said = {
        number for kind in ("expose", "ports") for number, proto in ports_of(service, kind) if proto == "tcp"
    }
    if wanted.port is not None:
        return (wanted.port, *sorted(said - {wanted.port}))
    if said:
        return tuple(sorted(said))
    return tuple(sorted({n for n, proto in ports_of({"expose": list(exposed)}, "expose") if proto == "tcp"}))


def refusals(model: Model, wanted: Sequence[Wanted], facts: Facts) -> tuple[Refusal, ...]:
    """Every reason against interposing what is wanted."""
    known = services_of(model)
    found: list[Refusal] = []
    seen: set[str] = set()
    for each in wanted:
        if each.service not in known:
            found.append(_unknown(each.service, sorted(known)))
        elif each.service in seen:
            found.append(Refusal(each.service, "is named twice", "name each service once"))
        else:
            found += _of_network(each.service, known[each.service], model)
            found += _of_ports(each, known[each.service], facts)
            found += _of_names(each.service, known, facts)
            found += _of_callers(each.service, known, facts)
        seen.add(each.service)
    return tuple(found)


def _unknown(name: str, known: Sequence[str]) -> Refusal:
    return Refusal(
        name,
        f"is no service of this file ({', '.join(known)})",
        "name a service; one in a profile needs `--profile NAME`. What runs outside of the file is reached through a proxy of "
        "your own: `external: {proxies: {NAME: {listen: ..., upstream: ...}}}` in a plan",
    )


def _of_network(name: str, service: Service, model: Model) -> Iterator[Refusal]:
    owner = lives_with(service)
    mode = str(service.get("network_mode") or "")
    if owner is not None:
        yield Refusal(
            name,
            f"has no network of its own: it shares that of {owner}",
            f"interpose {owner} with the port of {name}",
        )
    elif mode:
        yield Refusal(
            name,
            f"has network_mode {mode!r}: there is no name there that a proxy could take over",
            "give it a network of the project: remove `network_mode`",
        )
    for network in networks_of(service):
        said = (model.get("networks") or {}).get(network) or {}
        if said.get("external"):
            yield Refusal(
                name,
                f"is on the network {network}, which is external: callers outside of this file would go on calling it directly, or lose it",
                f"let a file of its own (an override) put {name} on a network of this project instead",
            )
        if said.get("driver") == "overlay":
            yield Refusal(
                name,
                f"is on the network {network}, which is Swarm's (overlay)",
                "run the file with docker compose on a bridge network; a Swarm is not interposed",
            )


def _of_ports(wanted: Wanted, service: Service, facts: Facts) -> Iterator[Refusal]:
    said = [*ports_of(service, "ports"), *ports_of(service, "expose")]
    exposed = list(facts.exposed.get(wanted.service, ()))
    ports = tcp_ports(wanted, service, exposed)
    if not ports:
        said += ports_of({"expose": exposed}, "expose")
    udp = sorted({number for number, protocol in said if protocol != "tcp"})
    if udp:
        yield Refusal(
            wanted.service,
            f"has the port {udp[0]}/udp, and a proxy passes on TCP only",
            "leave it out, or let an override take the UDP port away while it is interposed",
        )
    elif not ports:
        yield _without_port(wanted.service, service, facts)


def _without_port(name: str, service: Service, facts: Facts) -> Refusal:
    say = f"write it into the file (expose: [PORT]), or name it where you interpose: --dependency {name}:PORT"
    if name not in facts.absent:
        return Refusal(name, "tells no port, and neither does its image", say)
    what = f"image {service['image']}" if service.get("image") else "image"
    get = "build" if service.get("build") else "pull"
    return Refusal(
        name,
        f"tells no port, and its {what} is not on this machine to be asked",
        f"bring it here (`docker compose {get} {name}`) and try again; or {say}",
    )


def _of_names(name: str, known: Mapping[str, Service], facts: Facts) -> Iterator[Refusal]:
    for taken in (real_name(name), proxy_name(name)):
        if taken in known:
            yield Refusal(
                name, f"needs the name {taken}, and a service has it", f"rename the service {taken}"
            )
    own = set(names_of(name, known[name], facts.project, with_generated=False))
    for other, service in known.items():
        if other == name or not share_a_network(service, known[name]):
            continue
        both = own & set(names_of(other, service, facts.project, with_generated=False))
        if both:
            yield Refusal(
                name,
                f"shares the name {min(both)} with {other}: a call to it may reach either",
                f"give them names of their own, or take the alias {min(both)} away from one of them",
            )


def _of_callers(name: str, known: Mapping[str, Service], facts: Facts) -> Iterator[Refusal]:
    names = set(names_of(name, known[name], facts.project))
    for other, service in known.items():
        if other == name:
            continue
        for key, what in (("extra_hosts", "an address of its own"), ("external_links", "a link of its own")):
            said = hosts_of(service, key) if key == "extra_hosts" else _linked(service)
            if taken := names & set(said):
                yield Refusal(
                    name,
                    f"{other} has {what} for {min(taken)} ({key}), and would go past the proxy",
                    f"remove that entry from {key} of {other}",
                )
        for target, alias in links_of(service):
            if target != name and alias in names:
                yield Refusal(
                    name,
                    f"{other} knows {target} under the name {alias}",
                    f"link {target} under another name in {other}",
                )


def _linked(service: Service) -> list[str]:
    return [str(link).rpartition(":")[2] for link in service.get("external_links") or ()]


def warnings(model: Model, wanted: Sequence[Wanted], facts: Facts) -> tuple[str, ...]:
    """What may go differently from how its owner thinks, one sentence each."""
    known = services_of(model)
    found: list[str] = []
    for each in wanted:
        name, service = each.service, known[each.service]
        count = replicas_of(service)
        if count > 1:
            found.append(f"{name} has {count} replicas: one proxy stands before all of them")
        said = {"image": service.get("image"), **says(service)}
        if _ADVERTISES.search(str(service.get("image"))) or _CLUSTERED.search(str(said)):
            found.append(
                f"{name} may tell its clients addresses to connect to (a cluster's protocol): those would go past the proxy; "
                "the proof finds connections that do"
            )
        if _ADDRESS.search(str(says(service))):
            found.append(
                f"{name} names IP addresses: where it lets clients in by address, the proxy's is the one it sees now"
            )
        if any(str(label).startswith("traefik.") for label in service.get("labels") or ()):
            found.append(f"{name} is found by its labels: what routes by them goes past the proxy")
        if service.get("hostname"):
            found.append(
                f"{name} loses its hostname {service['hostname']} to the proxy: what names its data after it will not find them"
            )
        for other, sidecar in known.items():
            if lives_with(sidecar) == name:
                found.append(f"{other} shares the network of {name}: what passes between the two is not seen")
            elif has_no_names(sidecar) and mentions(says(sidecar), names_of(name, service, facts.project)):
                found.append(f"{other} is on no network of the project: how it calls {name} cannot be proved")
    return tuple(found)
