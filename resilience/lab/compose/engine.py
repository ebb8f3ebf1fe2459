"""The Docker engine, as far as a stack needs it: look at a project's containers, get images, take a project down.

Everything goes by labels, which both generations of compose set alike (`com.docker.compose.project` ...), and nothing by names or
by parsing what a program prints. So a project can be looked at and removed without its compose file, whoever made it, and
however far its creation got.

Synchronous: callers on an event loop use a thread. Every failure is a `StackError` that says what to do.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, NotFound

from resilience.lab.system import StackError

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"

_DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_TIMEOUT_S = 30
# pip may be silent for long while it downloads.
_BUILD_TIMEOUT_S = 900
_REMOVAL_S = 30.0
# A dead runner's compose may still be creating: what is removed is looked for again.
_SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a project. `ports` maps "9000/tcp" to the port on the host; `pid` is 0 where it does not run."""

    id: str
    name: str
    service: str
    number: int
    image: str
    state: str
    health: str | None
    exit_code: int
    pid: int
    ports: Mapping[str, int]

    @property
    def trouble(self) -> str | None:
        """What is wrong with it for good, in words; `None` while it may still come right."""
        if self.state in {"exited", "dead"}:
            return f"ended at its start (exit {self.exit_code})"
        if self.health == "unhealthy":
            return "did not get healthy"
        return None

    @property
    def serves(self) -> bool:
        """Running, and healthy by its own check."""
        return self.state == "running" and self.health in {None, "healthy"}


class Engine:
    """One connection to the engine; close it, or use it as a context manager."""

    def __init__(self, client: docker.DockerClient, address: str) -> None:
        self._client = client
        self._api = client.api
        self.address = address

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> Engine:
        """The engine of DOCKER_HOST, of the current docker context, or the default one; StackError if none answers."""
        address = engine_address(environ)
        try:
            _knock(address)
            client = docker.DockerClient(base_url=address, version="auto", timeout=_TIMEOUT_S)
        except (DockerException, requests.RequestException, OSError, ValueError) as error:
            raise StackError(explain_no_engine(address, error)) from error
        return cls(client, address)

    @property
    def api(self) -> docker.APIClient:
        """The client itself, for what a stack does beyond looking; its errors are the client's own."""
        return self._api

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def version(self) -> str:
        """The engine's version."""
        with _told("the engine's version cannot be read"):
            return str(self._api.version().get("Version", "unknown"))

    def image_id(self, name: str) -> str | None:
        """The id of an image that is here."""
        with _told(f"the image {name} cannot be looked up"):
            try:
                return str(self._api.inspect_image(name)["Id"])  # type: ignore[no-untyped-call]
            except NotFound:
                return None

    def pull(self, name: str, variable: str) -> None:
        """Get an image that is not here; StackError with the way out if no registry gives it."""
        repository, _, tag = name.partition("@") if "@" in name else name.rpartition(":")
        if not repository or "/" in tag:
            repository, tag = name, "latest"
        try:
            for line in self._api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise DockerException(line["error"])
        except (DockerException, requests.RequestException) as error:
            raise StackError(
                f"the image {name} is not here and cannot be pulled: {_reason(error)}\n"
                f"Way out: bring it with `docker load`, or name another in {variable}; "
                "`--stack embedded` needs no images."
            ) from error

    def build(self, context: Path, tag: str, arguments: Mapping[str, str], network: str | None) -> None:
        """Build compose/Dockerfile in `context`; StackError with the last lines of the build if it fails."""
        said: list[str] = []
        try:
            lines = self._api.build(
                path=str(context),
                dockerfile="compose/Dockerfile",
                tag=tag,
                buildargs=dict(arguments),
                network_mode=network,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=_BUILD_TIMEOUT_S,
            )
            for line in lines:
                said += str(line.get("stream", "")).splitlines()
                if "error" in line:
                    raise DockerException(line["error"])
        except (DockerException, requests.RequestException) as error:
            tail = "\n".join([text for text in said if text.strip()][-15:])
            raise StackError(
                f"the image of the lab's own services cannot be built: {_reason(error)}\n{tail}\n"
                "Way out: where pip needs an index of yours, set PIP_INDEX_URL; where the engine's own network has "
                "no way out, set CHAOS_SPIKE_BUILD_NETWORK=host; or name a ready image in CHAOS_SPIKE_IMAGE_LAB."
            ) from error

    def forget_old_images(self, keep: str, older_than_s: float) -> None:
        """Remove images of the lab's own services that an older source has left; what is in use stays."""
        with contextlib.suppress(DockerException, requests.RequestException):
            for image in self._api.images(filters={"label": "io.chaos-spike.image=lab"}):
                if (
                    keep not in (image.get("RepoTags") or ())
                    and time.time() - image["Created"] > older_than_s
                ):
                    with contextlib.suppress(APIError):
                        self._api.remove_image(image["Id"])

    def containers(self, project: str) -> tuple[Container, ...]:
        """The project's containers, by service and number."""
        found = []
        with _told(f"the containers of {project} cannot be listed"):
            for row in self._api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={project}"}):
                with contextlib.suppress(NotFound):  # it went while we looked
                    found.append(_container(self._api.inspect_container(row["Id"])))
        return tuple(sorted(found, key=lambda each: (each.service, each.number)))

    def port_now(self, container_id: str, port: str) -> int | None:
        """Where a container's port, such as "9000/tcp", is published on this host now; `None` where it is not."""
        with _told(f"the container {container_id[:12]} cannot be looked at"):
            try:
                return _container(self._api.inspect_container(container_id)).ports.get(port)
            except NotFound:
                return None

    def tail(self, container: Container, lines: int = 12) -> str:
        """The last lines that it logged."""
        try:
            return bytes(self._api.logs(container.id, tail=lines)).decode(errors="replace").rstrip()
        except (DockerException, requests.RequestException):
            return ""

    def health_said(self, container: Container) -> str:
        """What its last healthcheck printed."""
        try:
            checks = self._api.inspect_container(container.id)["State"].get("Health", {}).get("Log") or []
        except (DockerException, requests.RequestException):
            return ""
        return str(checks[-1].get("Output", "")).strip() if checks else ""

    def check_passes(self, container: Container) -> bool:
        """Run its healthcheck now, besides the engine; whether it passes. One that has none passes where it runs."""
        try:
            facts = self._api.inspect_container(container.id)
            kind, *words = (facts["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
            if kind == "NONE":
                return bool(facts["State"]["Running"])
            command = words if kind == "CMD" else ["/bin/sh", "-c", *words]
            job = self._api.exec_create(container.id, command)
            self._api.exec_start(job["Id"])
            return int(self._api.exec_inspect(job["Id"])["ExitCode"]) == 0
        except (DockerException, requests.RequestException):
            return False  # it has not begun, or has just ended, which its state will say

    def output(self, container: Container, command: Sequence[str]) -> str:
        """What a short command prints inside of it; empty if it cannot be run."""
        try:
            job = self._api.exec_create(container.id, list(command), stderr=False)
            return bytes(self._api.exec_start(job["Id"])).decode(errors="replace").strip()
        except (DockerException, requests.RequestException):
            return ""

    def remove_project(self, project: str) -> None:
        """Remove its containers, networks and volumes, and look twice that none came back; StackError if some stay."""
        deadline = time.monotonic() + _REMOVAL_S
        clean = 0
        while clean < 2:
            try:
                found = self._remove_once(project)
            except StackError:
                # An engine that is being started anew comes back, with what it had.
                if time.monotonic() > deadline:
                    raise
                clean = 0
                time.sleep(_SETTLE_S)
                continue
            if found:
                clean = 0
                if time.monotonic() > deadline:
                    raise StackError(
                        f"not everything of {project} could be removed; look with: "
                        f"docker ps -a --filter label={PROJECT_LABEL}={project}"
                    )
            else:
                clean += 1
            if clean < 2:
                time.sleep(_SETTLE_S if clean else 0.05)

    def _remove_once(self, project: str) -> bool:
        """Whether there was anything."""
        wanted = {"label": f"{PROJECT_LABEL}={project}"}
        with _told(f"{project} cannot be removed"):
            containers = [row["Id"] for row in self._api.containers(all=True, filters=wanted)]
            with ThreadPoolExecutor(max_workers=8, thread_name_prefix="remove") as pool:
                list(pool.map(self._remove_container, containers))
            networks = [row["Id"] for row in self._api.networks(filters=wanted)]
            for network in networks:
                with _already_going():
                    self._api.remove_network(network)
            volumes = [row["Name"] for row in self._api.volumes(filters=wanted).get("Volumes") or []]
            for volume in volumes:
                with _already_going():
                    self._api.remove_volume(volume, force=True)
        return bool(containers or networks or volumes)

    def _remove_container(self, container_id: str) -> None:
        with _already_going():
            self._api.remove_container(container_id, v=True, force=True)


def engine_address(environ: Mapping[str, str]) -> str:
    """DOCKER_HOST, else the address of the current docker context, else the default socket."""
    if chosen := environ.get("DOCKER_HOST"):
        return chosen
    try:
        context = ContextAPI.get_current_context()
        return str(context.Host or _DEFAULT_ADDRESS)
    except Exception:  # noqa: BLE001 - a damaged configuration of docker's must not keep us from its default socket
        return _DEFAULT_ADDRESS


def _knock(address: str) -> None:
    """Connect to a socket file once: the plain OSError says more than what docker-py makes of it."""
    if address.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(address.removeprefix("unix://"))


def explain_no_engine(address: str, error: BaseException) -> str:
    """One message on why no engine can be used, with the way out."""
    if isinstance(error, PermissionError) or "Permission denied" in str(error):
        return (
            f"the Docker engine at {address} may not be used by this user.\n"
            "Way out: join the group docker (`sudo usermod -aG docker $USER`, then log in again), or point DOCKER_HOST at a "
            "rootless engine of yours; `--stack embedded` needs no engine."
        )
    return (
        f"no Docker engine answers at {address} ({_reason(error)}).\n"
        "Way out: start it (Docker Desktop, or `sudo systemctl start docker`), or point DOCKER_HOST at another; "
        "`--stack embedded` needs no engine."
    )


def _container(facts: Mapping[str, Any]) -> Container:
    labels = facts["Config"].get("Labels") or {}
    state = facts["State"]
    ports = facts["NetworkSettings"].get("Ports") or {}
    return Container(
        id=facts["Id"],
        name=facts["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        number=int(labels.get(NUMBER_LABEL) or 1),
        image=facts["Config"]["Image"],
        state=state["Status"],
        health=(state.get("Health") or {}).get("Status"),
        exit_code=int(state.get("ExitCode") or 0),
        pid=int(state.get("Pid") or 0),
        ports={port: int(hosts[0]["HostPort"]) for port, hosts in ports.items() if hosts},
    )


def _reason(error: BaseException) -> str:
    """The innermost words of docker-py's nested errors."""
    if isinstance(error, APIError) and error.explanation:
        return str(error.explanation)
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    for known in (
        "No such file or directory",
        "Connection refused",
        "Name or service not known",
        "timed out",
    ):
        if known in text:
            return known
    return text


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn the client's errors into a StackError."""
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise StackError(f"{what}: {_reason(error)}") from error


@contextlib.contextmanager
def _already_going() -> Iterator[None]:
    """Gone, being removed by somebody else, or still in use for a moment: the next look decides."""
    try:
        yield
    except APIError as error:
        if error.status_code not in {403, 404, 409}:
            raise
