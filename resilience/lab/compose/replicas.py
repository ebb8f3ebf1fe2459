"""Further replicas of the gateway, started and taken out one by one through the Docker SDK: what the autoscaler does on compose.

A replica is a copy of the first one: image, command, environment, labels (so that taking down the project takes it along), published admin port. It gets the
next number, and a name in compose's own manner, from which it learns who it is.

Out: created in the project's own network, where it reaches its dependencies, and started. Only once it is ready does it join the network `front`, under the
name `gateway`: HAProxy takes every address that Docker's DNS has for that name to be well until its checks have found otherwise.

In: told to be unready (SIGUSR2) while it serves on; when HAProxy's checks have seen that and no request comes any more, told to drain (SIGUSR1); when it has
ended, removed. Nobody is cut off: `lost: "== 0"` is what a plan expects of it.

Synchronous but for waiting: every call to the engine runs in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import aiohttp
import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from resilience.lab.compose.engine import NUMBER_LABEL, Engine
from resilience.lab.ports import LOOPBACK
from resilience.lab.probing import probing_session, read_json
from resilience.lab.scaling import requests_answered
from resilience.lab.system import StackError

log = logging.getLogger("chaos_spike.lab")

_COPIED: Final = (
    "Image",
    "Cmd",
    "Entrypoint",
    "Env",
    "Labels",
    "Healthcheck",
    "ExposedPorts",
    "WorkingDir",
    "User",
    "StopTimeout",
)
_SERVICE: Final = "gateway"
_FRONT: Final = "front"
_NETWORK_LABEL: Final = "com.docker.compose.network"
_READY_S: Final = 45.0
_LOOK_S: Final = 0.25
_UNSEEN_S: Final = 2.0
"""HAProxy asks every 500 ms and believes the third answer."""
_QUIET_S: Final = 0.75
_EMPTY_S: Final = 10.0


class Replica:
    """One further gateway that runs: an autoscaler's `Leaver`."""

    def __init__(self, api: docker.APIClient, container: str, name: str, admin_url: str) -> None:
        self.container = container
        self.name = name
        self.admin_url = admin_url
        self._api = api

    async def drain(self, limit_s: float) -> None:
        """Out of the balancer, finished with its callers, ended, removed; killed where that takes longer than `limit_s`."""
        with contextlib.suppress(NotFound):
            await self._tell("SIGUSR2")
            await self._unasked()
            await self._tell("SIGUSR1")
            until = time.monotonic() + limit_s
            while await asyncio.to_thread(_runs, self._api, self.container):
                if time.monotonic() > until:
                    log.warning("%s did not drain within %g s", self.name, limit_s)
                    break
                await asyncio.sleep(_LOOK_S)
        await asyncio.to_thread(_remove, self._api, self.container)

    async def _tell(self, signal: str) -> None:
        with contextlib.suppress(APIError):  # it has ended
            await asyncio.to_thread(self._api.kill, self.container, signal)

    async def _unasked(self) -> None:
        """Until HAProxy has had the time to see it, and then no request has come for a while."""
        since = last = time.monotonic()
        answered = -1.0
        async with probing_session() as session:
            while (now := time.monotonic()) - since < _EMPTY_S:
                await asyncio.sleep(_LOOK_S)
                seen = await requests_answered(session, self.admin_url)
                if seen is None or seen != answered:
                    answered, last = seen if seen is not None else -1.0, now
                elif now - since > _UNSEEN_S and now - last > _QUIET_S:
                    return


class Replicas:
    """Starts further gateways of one project. Numbers go on from those that compose has started."""

    def __init__(self, engine: Engine, project: str) -> None:
        self._engine = engine
        self._api: docker.APIClient = engine.api
        self._project = project
        self._number = 0

    async def start(self) -> tuple[Replica, Mapping[str, Any]]:
        """Start another, wait until it is ready, and let the balancer know; StackError, with nothing left of it, if it does not come up."""
        with _told():
            container, name = await asyncio.to_thread(self._create)
        try:
            with _told():
                await asyncio.to_thread(self._api.start, container)
                facts = await asyncio.to_thread(self._api.inspect_container, container)
            ports = facts["NetworkSettings"]["Ports"].get("9000/tcp") or []
            if not ports:
                raise StackError(f"{name} has no admin port")
            admin_url = f"http://{LOOPBACK}:{ports[0]['HostPort']}"
            told = await _ready(name, admin_url)
            with _told():
                await asyncio.to_thread(self._join_front, container)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(_remove, self._api, container))
            raise
        ready = {
            "service": _SERVICE,
            "instance": told["instance"],
            "admin": admin_url,
            "pid": int(facts["State"]["Pid"]),
            "boot": told["boot"],
            "container": container,
        }
        return Replica(self._api, container, str(told["instance"]), admin_url), ready

    def _create(self) -> tuple[str, str]:
        replicas = [each for each in self._engine.containers(self._project) if each.service == _SERVICE]
        if not replicas:
            raise StackError(f"{self._project} has no gateway to copy")
        first = self._api.inspect_container(replicas[0].id)
        self._number = max(self._number, *(each.number for each in replicas)) + 1
        name = f"{replicas[0].name.removesuffix(str(replicas[0].number))}{self._number}"
        config = {key: first["Config"].get(key) for key in _COPIED}
        config["Labels"] = {**config["Labels"], NUMBER_LABEL: str(self._number)}
        config["HostConfig"] = first["HostConfig"]
        home = first["HostConfig"]["NetworkMode"]
        config["NetworkingConfig"] = {"EndpointsConfig": {home: {}}}
        created = self._api.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
        return str(created["Id"]), name

    def _join_front(self, container: str) -> None:
        wanted = {"label": [f"com.docker.compose.project={self._project}", f"{_NETWORK_LABEL}={_FRONT}"]}
        networks = self._api.networks(filters=wanted)
        if not networks:
            raise StackError(f"{self._project} has no network {_FRONT!r}")
        self._api.connect_container_to_network(container, networks[0]["Id"], aliases=[_SERVICE])


async def _ready(name: str, admin_url: str) -> Mapping[str, Any]:
    """What it tells of itself once it is ready."""
    until = time.monotonic() + _READY_S
    async with probing_session() as session:
        while time.monotonic() < until:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with session.get(f"{admin_url}/health/ready") as answer:
                    told = await read_json(session, f"{admin_url}/breakers") if answer.status == 200 else None
                if told is not None:
                    return told
            await asyncio.sleep(_LOOK_S)
    raise StackError(f"{name} was not ready within {_READY_S:g} s")


def _runs(api: docker.APIClient, container: str) -> bool:
    try:
        return bool(api.inspect_container(container)["State"]["Running"])
    except NotFound:
        return False
    except (DockerException, requests.RequestException):
        return True  # the next look tells


def _remove(api: docker.APIClient, container: str) -> None:
    try:
        api.remove_container(container, v=True, force=True)
    except (DockerException, requests.RequestException) as error:
        # It bears the project's labels: taking that down takes it along.
        log.warning("a gateway could not be removed: %s", error)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except (DockerException, requests.RequestException, OSError) as error:
        raise StackError(f"no further gateway could be started: {error}") from error
