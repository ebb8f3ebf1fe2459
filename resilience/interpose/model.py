"""What interposition speaks of: what was asked for, what came of it, and why it was refused. Frozen values, nothing else.

A compose model is what `compose config` prints, as plain mappings and lists: every variable filled in, every `extends`, `env_file`
and profile resolved, by compose itself. It holds secrets: nobody prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Model = Mapping[str, Any]
"""A resolved compose file."""

LABEL = "io.chaos-spike.interposed"
"""On every container that interposition adds or renames; its value is the dependency's name in the file."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One dependency that is to be interposed: its service; a port, if one was named; what its tap can read of the traffic.

    `name` is what plans call it; the service's name where none is given.
    """

    service: str
    port: int | None = None
    name: str | None = None
    protocol: str = "tcp"
    correlate: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be interposed, and what its owner can do about it."""

    service: str
    reason: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.service}: {self.reason}\n  way out: {self.way_out}"


class InterposeRefused(Exception):  # noqa: N818 - a refusal is an answer, not an accident
    """Something in the file cannot be interposed. Nothing was changed."""

    def __init__(self, refusals: tuple[Refusal, ...]) -> None:
        super().__init__("\n".join(str(each) for each in refusals))
        self.refusals = refusals


@dataclass(frozen=True, slots=True)
class Facts:
    """What the file does not say: the project's name, how its compose joins names, what images expose, and our image.

    `exposed` maps a service to its image's ports, such as "6379/tcp". `admin_ports` are free ports of 127.0.0.1, two for each
    dependency in the order of asking. `absent` are the services whose image is not on this machine: nobody knows what it exposes.
    """

    project: str
    separator: str
    image: str
    exposed: Mapping[str, tuple[str, ...]]
    admin_ports: tuple[int, ...]
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Gate:
    """One port of one dependency behind its tap and proxy. `name` is that of both."""

    name: str
    port: int
    protocol: str
    correlate: str | None


@dataclass(frozen=True, slots=True)
class Front:
    """A dependency and what stands in its place.

    `service` is the name that callers use, `real` the service that has the dependency now, `proxy` the one that answers to its
    name; `names` are all names that lead there. `callers` say themselves that they use it; `reachers` could, being on one of
    its networks. `admin_port` and `tap_port` are on 127.0.0.1.
    """

    service: str
    real: str
    proxy: str
    names: tuple[str, ...]
    gates: tuple[Gate, ...]
    callers: tuple[str, ...]
    reachers: tuple[str, ...]
    admin_port: int
    tap_port: int


@dataclass(frozen=True, slots=True)
class Interposition:
    """The rewritten model, and who stands where in it. `warnings` are sentences for people."""

    model: Model
    fronts: tuple[Front, ...]
    warnings: tuple[str, ...]

    @property
    def services(self) -> Mapping[str, tuple[str, ...]]:
        """For each service of the original file that is now two: the two."""
        return {front.service: (front.proxy, front.real) for front in self.fronts}

    @property
    def callers(self) -> tuple[str, ...]:
        """Every service that says it uses one of the dependencies, under its name in the rewritten model."""
        renamed = {front.service: front.real for front in self.fronts}
        found = {renamed.get(caller, caller) for front in self.fronts for caller in front.callers}
        return tuple(sorted(found))
