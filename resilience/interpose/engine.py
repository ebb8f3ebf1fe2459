"""The Docker engine, as far as interposition needs it beyond what a stack does: a project's state, and looks inside of its networks.

Containers, networks and volumes are found by compose's labels. Nothing of a user's is removed but containers of the services that are
named, as compose would when it creates them anew: stopped with their grace, volumes kept.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, DockerException, NotFound

from resilience.interpose import look_inside
from resilience.interpose.model import LABEL
from resilience.interpose.proving import Socket, View
from resilience.lab.compose.engine import PROJECT_LABEL, SERVICE_LABEL, Engine
from resilience.lab.system import StackError

LOOK_LABEL = "io.chaos-spike.look"
"""On the short-lived containers that look inside of a network; its value is the project."""

HASH_LABEL = "com.docker.compose.config-hash"
FILES_LABEL = "com.docker.compose.project.config_files"
DIRECTORY_LABEL = "com.docker.compose.project.working_dir"
ONE_OFF_LABEL = "com.docker.compose.oneoff"

_LOOK_S = 30
_ANONYMOUS = 64


@dataclass(frozen=True, slots=True)
class Member:
    """One container of a project.

    `files` are the compose files as they were spelled, relative to `started_in`; `directory` is where compose takes relative paths from. `anonymous` are the places where it has volumes without a name of their own; `interposed` is the dependency that it stands for.
    """

    id: str
    name: str
    service: str
    running: bool
    health: str | None
    exit_code: int
    config_hash: str
    files: str
    directory: str
    anonymous: tuple[str, ...]
    addresses: frozenset[str]
    stop_grace_s: int | None
    pid: int
    interposed: str

    @property
    def from_a_pipe(self) -> bool:
        """Whether compose was given its file over a pipe, as we do, and no user does from day to day."""
        return self.files in {"", "-"}  # 1.29, and v2

    @property
    def started_in(self) -> Path:
        """Where compose was called, as far as `files` show: 1.29 spells them from there, and notes the folder of the first one."""
        folder = Path(self.directory)
        depth = len(within := Path(self.files.partition(",")[0]).parent.parts)
        if depth and folder.parts[-depth:] == within and not Path(self.files).is_absolute():
            return Path(*folder.parts[:-depth])
        return folder

    @property
    def serves(self) -> bool:
        """Running, and healthy by its own check."""
        return self.running and self.health in {None, "healthy"}


class ProjectEngine(Engine):
    """An `Engine` that can look at a project, stop parts of it, and look inside."""

    def members(self, project: str) -> tuple[Member, ...]:
        """The project's containers, running or not, without those of `compose run`."""
        found = []
        with told(f"the containers of {project} cannot be listed"):
            for row in self._api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={project}"}):
                with contextlib.suppress(NotFound):  # it went while we looked
                    member = _member(self._api.inspect_container(row["Id"]))
                    if (row.get("Labels") or {}).get(ONE_OFF_LABEL, "False").lower() != "true":
                        found.append(member)
        return tuple(sorted(found, key=lambda each: (each.service, each.name)))

    def exposed(self, image: str) -> tuple[str, ...] | None:
        """The ports that an image exposes, such as "6379/tcp"; `None` where the image is not here to be asked."""
        with told(f"the image {image} cannot be looked up"):
            try:
                facts = self._api.inspect_image(image)  # type: ignore[no-untyped-call]
            except NotFound:
                return None
        return tuple(sorted(facts.get("Config", {}).get("ExposedPorts") or {}))

    def owners(self, project: str) -> dict[str, str]:
        """Who has which address in the project's networks; the gateway is the host."""
        found: dict[str, str] = {}
        with told(f"the networks of {project} cannot be looked at"):
            ids = {
                joined["NetworkID"]
                for row in self._api.containers(filters={"label": f"{PROJECT_LABEL}={project}"})
                for joined in (row.get("NetworkSettings", {}).get("Networks") or {}).values()
            }
            for network in ids:
                with contextlib.suppress(NotFound):
                    facts = self._api.inspect_network(network)
                    for pool in facts.get("IPAM", {}).get("Config") or ():
                        if pool.get("Gateway"):
                            found[pool["Gateway"]] = "this host"
                    for each in (facts.get("Containers") or {}).values():
                        for key in ("IPv4Address", "IPv6Address"):
                            found[str(each.get(key) or "").partition("/")[0]] = str(each["Name"])
        return found

    def kept(self, project: str) -> tuple[frozenset[str], frozenset[str]]:
        """(volumes, networks) of a project by name."""
        wanted = {"label": f"{PROJECT_LABEL}={project}"}
        with told(f"the volumes of {project} cannot be listed"):
            volumes = {row["Name"] for row in self._api.volumes(filters=wanted).get("Volumes") or ()}
            networks = {row["Name"] for row in self._api.networks(filters=wanted)}
        return frozenset(volumes), frozenset(networks)

    def remove_members(
        self, members: Iterable[Member], graces_s: Mapping[str, int], *, with_volumes: bool
    ) -> None:
        """Stop and remove containers; those that are gone already count as removed.

        `graces_s` says for how long a service is asked to end before it is killed, here and below.
        """

        def remove(member: Member) -> None:
            with _gone():
                if member.running:
                    self._api.stop(member.id, timeout=_grace_s(member, graces_s))
            with _gone():
                self._api.remove_container(member.id, v=with_volumes, force=True)

        with told("a container cannot be removed"):
            self._each(remove, members)

    def restart_members(self, members: Iterable[Member], graces_s: Mapping[str, int]) -> None:
        """Restart running containers: connections and looked-up names of before are gone with their processes."""

        def restart(member: Member) -> None:
            with _gone():
                self._api.restart(member.id, timeout=_grace_s(member, graces_s))

        with told("a container cannot be restarted"):
            self._each(restart, [each for each in members if each.running])

    def stop_members(self, members: Iterable[Member], graces_s: Mapping[str, int]) -> None:
        """Stop containers."""

        def stop(member: Member) -> None:
            with _gone():
                self._api.stop(member.id, timeout=_grace_s(member, graces_s))

        with told("a container cannot be stopped"):
            self._each(stop, members)

    def remove_rest(self, project: str, volumes: frozenset[str], networks: frozenset[str]) -> None:
        """Remove volumes and networks of a project, except the named ones."""
        now_volumes, now_networks = self.kept(project)
        with told(f"what is left of {project} cannot be removed"):
            for network in now_networks - networks:
                with _gone():
                    self._api.remove_network(network)
            for volume in now_volumes - volumes:
                with _gone():
                    self._api.remove_volume(volume, force=True)

    def last_words(self, member: Member) -> str:
        """The last lines that a container logged."""
        try:
            return bytes(self._api.logs(member.id, tail=8)).decode(errors="replace").rstrip()
        except (DockerException, requests.RequestException):
            return ""

    def remove_networks(self, project: str, ending: str) -> None:
        """Remove the project's networks whose name ends so."""
        _, networks = self.kept(project)
        with told(f"a network of {project} cannot be removed"):
            for network in networks:
                if network.endswith(f"_{ending}"):
                    with _gone():
                        self._api.remove_network(network)

    def remove_looks(self, project: str) -> None:
        """Remove what a look left behind that was cut off."""
        with told("a container of ours cannot be removed"):
            for row in self._api.containers(all=True, filters={"label": f"{LOOK_LABEL}={project}"}):
                with _gone():
                    self._api.remove_container(row["Id"], v=True, force=True)

    def views(
        self, project: str, image: str, members: Sequence[Member], names: Sequence[str]
    ) -> tuple[View, ...]:
        """What each running member sees: what `names` lead to, and its sockets."""

        def look(member: Member) -> View:
            said = self.look(project, image, member, "look", names)
            sockets = tuple(Socket(*row) for row in said["sockets"])
            led = {name: tuple(addresses) for name, addresses in said["resolved"].items()}
            return View(member.service, member.name, member.addresses, led, sockets)

        with ThreadPoolExecutor(max_workers=3, thread_name_prefix="look") as pool:
            return tuple(pool.map(look, [each for each in members if each.running]))

    def look(
        self, project: str, image: str, member: Member, what: str, names: Sequence[str]
    ) -> Mapping[str, Any]:
        """Run `look_inside` in a member's network; StackError where that cannot be done."""
        text = Path(look_inside.__file__).read_text(encoding="utf-8")
        with told(f"the network of {member.name} cannot be looked into"):
            made = self._api.create_container(
                image,
                command=["python", "-ISB", "-c", text, what, *names],
                labels={LOOK_LABEL: project},
                host_config=self._api.create_host_config(network_mode=f"container:{member.id}"),
            )
            try:
                self._api.start(made["Id"])
                status = self._api.wait(made["Id"], timeout=_LOOK_S)["StatusCode"]
                out = bytes(self._api.logs(made["Id"], stdout=True, stderr=False)).decode(errors="replace")
                if status != 0:
                    err = bytes(self._api.logs(made["Id"], stdout=False, stderr=True)).decode(
                        errors="replace"
                    )
                    raise StackError(f"the network of {member.name} cannot be looked into: {err[-300:]}")
                answer: Mapping[str, Any] = json.loads(out)
                return answer
            finally:
                with _gone():
                    self._api.remove_container(made["Id"], v=True, force=True)

    @staticmethod
    def _each(work: Any, members: Iterable[Member]) -> None:
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="members") as pool:
            list(pool.map(work, members))


def _member(facts: Mapping[str, Any]) -> Member:
    labels = facts["Config"].get("Labels") or {}
    state = facts["State"]
    joined = (facts["NetworkSettings"].get("Networks") or {}).values()
    found = {str(each.get(key) or "") for each in joined for key in ("IPAddress", "GlobalIPv6Address")}
    return Member(
        id=facts["Id"],
        name=facts["Name"].lstrip("/"),
        service=labels.get(SERVICE_LABEL, ""),
        running=bool(state["Running"]),
        health=(state.get("Health") or {}).get("Status"),
        exit_code=int(state.get("ExitCode") or 0),
        config_hash=labels.get(HASH_LABEL, ""),
        files=labels.get(FILES_LABEL, ""),
        directory=labels.get(DIRECTORY_LABEL, ""),
        anonymous=tuple(
            str(mount["Destination"])
            for mount in facts.get("Mounts") or ()
            if mount.get("Type") == "volume" and _is_anonymous(str(mount.get("Name", "")))
        ),
        addresses=frozenset(found - {""}),
        stop_grace_s=facts["Config"].get("StopTimeout"),
        pid=int(state.get("Pid") or 0),
        interposed=labels.get(LABEL, ""),
    )


def sockets_from_here(member: Member) -> tuple[Socket, ...] | None:
    """A container's sockets as this host's kernel shows them; `None` where its processes are not this host's (a virtual machine)."""
    folder = Path(f"/proc/{member.pid}")
    found: list[Socket] = []
    try:
        if not member.pid or member.id not in (folder / "cgroup").read_text():
            return None
        for table in ("tcp", "tcp6"):
            with contextlib.suppress(FileNotFoundError):
                text = (folder / "net" / table).read_text()
                found += [Socket(*row) for row in look_inside.sockets_in(text)]  # type: ignore[arg-type]
    except OSError:
        return None
    return tuple(found)


def _grace_s(member: Member, graces_s: Mapping[str, int]) -> int:
    """As compose: what the file says, else what the container does, else ten seconds."""
    return graces_s.get(member.service, member.stop_grace_s if member.stop_grace_s is not None else 10)


def _is_anonymous(name: str) -> bool:
    return len(name) == _ANONYMOUS and all(each in "0123456789abcdef" for each in name)


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Turn the client's errors into a StackError."""
    try:
        yield
    except (DockerException, requests.RequestException, ValueError, KeyError) as error:
        raise StackError(f"{what}: {error}") from error


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    """Gone, going, or never there: what was wanted."""
    try:
        yield
    except APIError as error:
        if error.status_code not in {403, 404, 409}:
            raise
