"""A system in the user's own compose files: which files, when it is ready, and which of its services are interposed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from resilience.plan.fields import DurationNs, Name
from resilience.plan.schema.base import Model


class ComposeProject(Model):
    """The compose files, in order, relative to the plan; and what is given to compose with them.

    With a `project` of its own the run gets containers of its own, beside those of a project that is up already.
    """

    files: Annotated[tuple[str, ...], Field(min_length=1)]
    project: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")] | None = None
    env_file: str | None = None
    profiles: tuple[str, ...] = ()


class Ready(Model):
    """The system is ready once a GET of `url` is answered with a status below 400. Its origin is the base of the loads' URLs."""

    url: str
    within: DurationNs = 60_000_000_000


class ComposeSystem(Model):
    """The system of somebody's compose files. `watch` are services whose processes are measured."""

    compose: ComposeProject
    ready: Ready
    watch: tuple[Name, ...] = ()


class ServiceTap(Model):
    """What the tap in front of a service can read: requests of HTTP, by a header that names each call; else connections only."""

    protocol: Literal["tcp", "http"] = "tcp"
    correlate: str | None = None


class ServiceProxy(Model):
    """A service of the compose files that is interposed, at this port where it has several or tells none."""

    service: Name
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tap: ServiceTap = ServiceTap()
