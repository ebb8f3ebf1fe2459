"""The proof that nothing goes past the proxies: from what was seen to what is wrong. Pure.

Three things are asked, of the network as it is and not of the file:

1. From each container that shares a network with the dependency, every name of it leads to the proxy or nowhere, and its first name
   to the proxy.
2. Every TCP socket of the dependency's own ports has the proxy, or the dependency itself, at its other end.
3. No socket of those containers leads to the dependency. A connection that its caller has closed is gone from the dependency's table
   and stays in the caller's for a minute (TIME_WAIT), and the other way round: looking at both ends, once a minute at least, sees
   short connections, too. Not seen: one that a reset ended between two looks.

Listening sockets have no other end. What shares the dependency's network namespace is inside of it, and is not looked at.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from resilience.interpose.model import Front

_LISTENS = "0A"
_UNPASSED = "port"
_UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Socket:
    """One line of a kernel's table of TCP sockets; `state` is the kernel's hexadecimal number."""

    local: str
    local_port: int
    remote: str
    remote_port: int
    state: str


@dataclass(frozen=True, slots=True)
class View:
    """What one container sees. `resolved` has the addresses of each name that was asked for."""

    service: str
    container: str
    addresses: frozenset[str]
    resolved: Mapping[str, tuple[str, ...]]
    sockets: tuple[Socket, ...]


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason why the proxies are not proved to be the only way. `text` is a sentence for people."""

    service: str
    kind: str
    text: str

    @property
    def is_grave(self) -> bool:
        """Whether it speaks against the proof; a port that nobody passes on, and that nobody could look, are only told."""
        return self.kind not in {_UNPASSED, _UNSEEN}

    @property
    def is_unseen(self) -> bool:
        """Whether nothing speaks for the proof, either."""
        return self.kind == _UNSEEN


def bypasses(
    front: Front,
    proxy: Iterable[View],
    real: Iterable[View],
    others: Sequence[View],
    owners: Mapping[str, str],
) -> tuple[Doubt, ...]:
    """Everything that speaks against `front`: names that lead elsewhere, and connections past the proxy.

    `others` are the containers that share a network with the dependency; `owners` names who has an address.
    """
    proxies = frozenset(address for view in proxy for address in view.addresses)
    reals = tuple(real)
    inside = frozenset(address for view in reals for address in view.addresses)
    ports = {gate.port for gate in front.gates}
    found = [doubt for view in others for doubt in _names(front, view, proxies)]
    seen: dict[str, str] = {}
    for view in reals:
        for each in view.sockets:
            if each.local_port in ports and _is_foreign(each, proxies | inside | view.addresses):
                who = owners.get(each.remote, "somebody")
                seen.setdefault(f"{who} ({each.remote})", f"port {each.local_port}")
    for view in others:
        for each in view.sockets:
            if each.remote in inside and each.remote_port in ports and each.state != _LISTENS:
                seen.setdefault(f"{view.container} ({each.local})", f"port {each.remote_port}")
    found += [
        Doubt(front.service, "bypass", f"{who} has a connection to {front.service} past the proxy ({port})")
        for who, port in sorted(seen.items())
    ]
    return tuple(found)


def _names(front: Front, view: View, proxies: frozenset[str]) -> Iterable[Doubt]:
    for name in front.names:
        led = view.resolved.get(name, ())
        if name == front.service and not led:
            yield Doubt(front.service, "name", f"{view.container} does not resolve {name}")
        elif astray := [address for address in led if address not in proxies]:
            yield Doubt(
                front.service,
                "name",
                f"in {view.container} the name {name} leads to {', '.join(astray)}, not to the proxy alone",
            )


def _is_foreign(each: Socket, known: frozenset[str]) -> bool:
    if each.state == _LISTENS or each.remote in known:
        return False
    address = ipaddress.ip_address(each.remote)
    return not (address.is_loopback or address.is_unspecified)


def unreached(front: Front, said: Mapping[str, str]) -> tuple[Doubt, ...]:
    """What the proxy cannot reach of its dependency; `said` has for "host:port" why not, or nothing."""
    return tuple(
        Doubt(front.service, "unreached", f"the proxy of {front.service} does not reach {address}: {why}")
        for address, why in said.items()
        if why
    )


def unpassed(front: Front, real: Iterable[View]) -> tuple[Doubt, ...]:
    """Ports at which the dependency listens and its proxy does not: whoever calls them by name is refused."""
    passed = {gate.port for gate in front.gates}
    ports = {
        each.local_port
        for view in real
        for each in view.sockets
        if each.state == _LISTENS and not ipaddress.ip_address(each.local).is_loopback
    }
    return tuple(
        Doubt(
            front.service,
            _UNPASSED,
            f"{front.service} listens at {port} as well, where its proxy does not; if anybody calls that, name it: "
            f"--dependency {front.service}:{port}",
        )
        for port in sorted(ports - passed)
    )


def unseen(front: Front, others: Sequence[View]) -> tuple[Doubt, ...]:
    """Where none runs who could call the dependency, no name was looked up, and none of them is proved."""
    if others:
        return ()
    return (
        Doubt(
            front.service,
            _UNSEEN,
            f"nobody runs who could call {front.service}: none of its names was looked up; prove it again (--prove) once one does",
        ),
    )


def silent(front: Front, before: Mapping[str, int], after: Mapping[str, int]) -> tuple[Doubt, ...]:
    """A dependency whose first port nothing passed between two readings of what had passed it."""
    name = front.gates[0].name
    if after.get(name, 0) > before.get(name, 0):
        return ()
    return (
        Doubt(
            front.service,
            "silent",
            f"nothing passed the proxy of {front.service} under load: it is not used, or is reached another way",
        ),
    )
