"""What may be touched at all. Pure decisions; the session asks before it journals anything.

By default a fault may be steered through, and may hurt, loopback addresses only. Everything else must be named, as a
host, a host and port, or a network. Names are never resolved: a name that is not `localhost` is foreign until it is
allowed, whatever it points to today.

Containers may be hurt where they bear one of the session's labels, or are named as `container:NAME`; processes where their
pid (or that of a process they descend from) is in `processes`. By default there is neither.

The control plane (admin endpoints, taps, the runner itself) may never be hurt, named or not: a fault there would cut
the way back.
"""

import ipaddress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

__all__ = ["BlastRadius", "ContainerReach", "Reach", "address_of_url"]

_SECOND_NS: Final = 1_000_000_000
_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost"})


@dataclass(frozen=True, slots=True)
class ContainerReach:
    """A container that a fault hurts: its id, its name without a slash, and its labels as `key=value`."""

    id: str
    name: str
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reach:
    """What one fault uses and what it hurts.

    `control_url` is what it is steered through: an admin URL, the address of a Docker engine, or nothing where this host's
    kernel is enough. `hurts` are the `host:port` addresses whose traffic suffers, `processes` the pids (each with
    all below it), `ancestors` what all of them descend from, and `containers` the containers.
    """

    control_url: str
    hurts: tuple[str, ...] = ()
    processes: tuple[int, ...] = ()
    containers: tuple[ContainerReach, ...] = ()
    ancestors: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class BlastRadius:
    """The bounds of one session.

    `allow` names what may be touched beyond loopback: "host", "host:port", "10.1.0.0/16", "container:NAME". `control_plane` holds
    `host:port` addresses, containers as "container:NAME" or "container:ID", and processes as "process:PID", that no fault may hurt.
    `labels` ("key=value", or "key" for any value) are those of containers that may be hurt, `processes` the pids that may, with all below.
    """

    allow: frozenset[str] = frozenset()
    max_simultaneous: int = 8
    max_duration_ns: int = 600 * _SECOND_NS
    control_plane: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    processes: frozenset[int] = frozenset()

    def refusal(self, reach: Reach, *, duration_ns: int, active: int) -> str | None:
        """Return why this fault is refused, in one sentence, or None. `active` counts the faults now in place."""
        if active >= self.max_simultaneous:
            return f"{active} faults are in place already, and max_simultaneous is {self.max_simultaneous}"
        if not 0 < duration_ns <= self.max_duration_ns:
            return (
                f"a maximum duration of {duration_ns / _SECOND_NS:g} s is outside (0, "
                f"{self.max_duration_ns / _SECOND_NS:g}] s"
            )
        return (
            self._refusal_of_control(reach)
            or self._refusal_of_addresses(reach)
            or self._refusal_of_processes(reach)
            or next(filter(None, map(self._refusal_of_container, reach.containers)), None)
        )

    def _refusal_of_control(self, reach: Reach) -> str | None:
        url, parts = reach.control_url, urlsplit(reach.control_url)
        if (not url and reach.processes) or (parts.scheme == "unix" and parts.path.startswith("/")):
            return None  # this host's kernel, or an engine behind a file of this host
        if parts.scheme not in {"http", "https", "tcp"} or not parts.hostname:
            return f"the control address {parts.scheme}://… is not an http(s) URL with a host, nor a Docker engine's"
        if parts.username is not None or parts.password is not None:
            return "the control URL carries credentials; give them as a token, so that journals stay free of them"
        control = address_of_url(url)
        if not self._permits(control):
            return f"{control} is not on loopback; name it under `allow` to let faults be steered through it"
        return None

    def _refusal_of_processes(self, reach: Reach) -> str | None:
        steering = [str(pid) for pid in reach.processes if f"process:{pid}" in self.control_plane]
        if steering:
            return f"the process {', '.join(steering)} belongs to the control plane; a fault there would cut the way to heal it"
        foreign = [str(pid) for pid in reach.processes if pid not in self.processes]
        if not foreign or reach.ancestors & self.processes:
            return None
        return f"the process {', '.join(foreign)} is not one of the system under test"

    def _refusal_of_container(self, container: ContainerReach) -> str | None:
        names = {f"container:{container.name}", f"container:{container.id}"}
        if names & self.control_plane:
            return f"the container {container.name} belongs to the control plane; a fault there would cut the way to heal it"
        keys = {label.partition("=")[0] for label in container.labels}
        if names & self.allow or self.labels & (container.labels | keys):
            return None
        wanted = ", ".join(sorted(self.labels)) or "none is given"
        return (
            f"the container {container.name} bears no label of this run ({wanted}); "
            f"name it as `container:{container.name}` under `allow` to let faults hurt it"
        )

    def _refusal_of_addresses(self, reach: Reach) -> str | None:
        protected = {_canonical(address) for address in self.control_plane}
        if reach.control_url and not reach.control_url.startswith("unix:"):
            protected.add(_canonical(address_of_url(reach.control_url)))
        for address in reach.hurts:
            if _canonical(address) in protected:
                return f"{address} belongs to the control plane; a fault there would cut the way to heal it"
            if not self._permits(address):
                return f"{address} is not on loopback; name it under `allow` to let faults hurt it"
        return None

    def _permits(self, address: str) -> bool:
        host, port = _split(address)
        if _is_local(host):
            return True
        return any(_matches(entry, host, port) for entry in self.allow)


def address_of_url(url: str) -> str:
    """Return `host:port` of a URL, with the scheme's port where none is given (`tcp` is Docker's)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"https": 443, "tcp": 2375}.get(parts.scheme, 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(address: str) -> tuple[str, str]:
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host.lower(), rest.removeprefix(":")
    if address.count(":") > 1:  # a bare IPv6 address
        return address.lower(), ""
    host, _, port = address.partition(":")
    return host.lower().rstrip("."), port


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _is_local(host: str) -> bool:
    # Dialling the unspecified address reaches this host; servers print it for "all interfaces".
    if not host or host in _LOCAL_NAMES:
        return True
    found = _ip(host)
    return found is not None and (found.is_loopback or found.is_unspecified)


def _matches(entry: str, host: str, port: str) -> bool:
    if "/" in entry:
        found = _ip(host)
        try:
            return found is not None and found in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    allowed_host, allowed_port = _split(entry)
    return allowed_host == host and allowed_port in {"", port}


def _canonical(address: str) -> tuple[str, str]:
    host, port = _split(address)
    if _is_local(host):
        return "loopback", port
    return str(_ip(host) or host), port
