"""Which services of a file are dependencies, where nobody names them: those that others say they call, at ports that are known. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from resilience.interpose.model import Facts, Model, Refusal, Wanted
from resilience.interpose.reading import (
    depends_on,
    links_of,
    mentions,
    names_of,
    ports_of,
    says,
    services_of,
)
from resilience.interpose.refusing import refusals, tcp_ports

_ENDED = "service_completed_successfully"


@dataclass(frozen=True, slots=True)
class Choice:
    """What can be interposed, and what is left out, with the reason."""

    wanted: tuple[Wanted, ...]
    left_out: tuple[Refusal, ...]


def choose(model: Model, facts: Facts) -> Choice:
    """Every service that another one calls; one-shot jobs are nobody's dependency."""
    wanted: list[Wanted] = []
    left_out: list[Refusal] = []
    for name in services_of(model):
        if not callers_of(model, name, facts.project):
            continue
        each = Wanted(name)
        if refused := refusals(model, [each], facts):
            left_out.append(refused[0])
        else:
            wanted.append(each)
    return Choice(tuple(wanted), tuple(left_out))


def callers_of(model: Model, name: str, project: str) -> tuple[str, ...]:
    """The services that say they call another."""
    known = services_of(model)
    names = names_of(name, known[name], project)
    found = []
    for other, service in known.items():
        if other == name:
            continue
        waits = depends_on(service).get(name)
        if waits is not None and waits.get("condition") == _ENDED:
            continue
        linked = any(target == name for target, _ in links_of(service))
        if waits is not None or linked or mentions(says(service), names):
            found.append(other)
    return tuple(sorted(found))


def entrances(model: Model, dependencies: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """(service, published port) of what is reached from this host and is nobody's dependency: where a load belongs."""
    found = []
    for name, service in services_of(model).items():
        if name in dependencies:
            continue
        for entry in service.get("ports") or ():
            published = published_port(entry)
            if published is not None:
                found.append((name, published))
    return tuple(found)


def published_port(entry: object) -> int | None:
    """The port on the host that an entry of `ports` fixes; `None` where the engine chooses, or where it is not TCP."""
    if isinstance(entry, dict):
        text, protocol = str(entry.get("published") or ""), str(entry.get("protocol") or "tcp")
    else:
        whole, _, protocol = str(entry).partition("/")
        parts = whole.rsplit(":", 2)
        text = parts[-2] if len(parts) > 1 else ""
    first = text.partition("-")[0]
    return int(first) if first.isdecimal() and (protocol or "tcp") == "tcp" else None


def first_port(model: Model, name: str, facts: Facts) -> int | None:
    """The port at which a service is most likely called."""
    ports = tcp_ports(Wanted(name), services_of(model)[name], facts.exposed.get(name, ()))
    exposed = [
        n
        for n, protocol in ports_of({"expose": list(facts.exposed.get(name, ()))}, "expose")
        if protocol == "tcp"
    ]
    both = [port for port in ports if port in exposed]
    return (both or list(ports) or [None])[0]  # type: ignore[list-item]
