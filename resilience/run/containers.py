"""What the containers of the system under test take, and when they run: asked of their engine. An observer: it writes down, it judges nothing.

`resource` events, one a container and second: `{"service", "process", "pid", "rss_bytes", "cpu_s"}`, for the whole container: `process` is its name in plans,
`rss_bytes` what its processes hold in memory without the page cache that the kernel could take back (as `docker stats` shows it), `cpu_s` the
CPU time since its start. `pid` is that of its main process, so that a container that was started again is not taken for the same process; when it ends, the last
event of that pid has `gone`.

`container` events, at each change: `{"name", "service", "state"}`, with Docker's own words: running, paused, exited, restarting; `removed` where there is no such
container any more; and in which `networks` it is. What a fault did to a container is seen here by somebody who did not inject it.

An engine that goes away takes its containers along: a `doubt`, which makes the run invalid, whatever its figures say.

Replicas that come later (an autoscaler) are found by the project's label and told by the same events. The SDK is synchronous: it asks in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import DockerException, NotFound

from resilience.lab.system import System
from resilience.run.clock import now_ns

Emit = Callable[[dict[str, Any]], None]

EVERY_S: Final = 1.0
_LOOK_S: Final = 0.25
_TIMEOUT_S: Final = 5
_AT_ONCE: Final = 24
_AWAY: Final = (
    "the Docker engine went away during the run: containers end with it, and what became of them nobody saw"
)
_PROJECT_LABEL: Final = "com.docker.compose.project"
_SERVICE_LABEL: Final = "com.docker.compose.service"
_NUMBER_LABEL: Final = "com.docker.compose.container-number"
_REPLICATED: Final = "gateway"


async def watch_containers(system: System, emit: Emit, interval_s: float = EVERY_S) -> None:
    """Follow the containers of a system until cancelled; a gap while their engine does not answer."""
    watch = _Watch(system)
    try:
        # An engine takes a second and more to say what a container takes: how containers are is asked beside that.
        await asyncio.gather(
            _asked_again(watch.engine, watch.changes, emit, _LOOK_S),
            _asked_again(watch.engine, watch.figures, emit, interval_s),
        )
    finally:
        watch.close()


async def _asked_again(
    engine: str, ask: Callable[[], list[dict[str, Any]]], emit: Emit, interval_s: float
) -> None:
    silent = doubted = False
    while True:
        lo = now_ns()
        try:
            events = await asyncio.to_thread(ask)
        except (DockerException, requests.RequestException, OSError) as error:
            if not silent:
                emit({"kind": "gap", "source": "containers", "lost": None, "at": [lo, now_ns()]})
                emit(
                    {"kind": "log", "level": "warning", "text": f"the Docker engine does not answer: {error}"}
                )
            silent = True
            if not doubted and await asyncio.to_thread(_is_away, engine):
                doubted = True
                emit({"kind": "doubt", "text": _AWAY})
        else:
            silent = False
            at = [lo, now_ns()]
            for event in events:
                emit({**event, "at": at})
        await asyncio.sleep(max(0.0, interval_s - (now_ns() - lo) / 1e9))


def runs(engine: str, container: str) -> bool:
    """Ask whether a container runs; False where there is none. True while the engine does not say: who is gone was seen to be."""
    try:
        with _client(engine) as api:
            return bool(api.inspect_container(container)["State"]["Running"])
    except NotFound:
        return False
    except (DockerException, requests.RequestException, OSError):
        return True


def _is_away(engine: str) -> bool:
    """Whether nobody listens at an engine's address; one that is merely slow is there."""
    parts = urlsplit(engine)
    try:
        if parts.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(_TIMEOUT_S)
                sock.connect(parts.path)
        else:
            address = (parts.hostname or "", parts.port or 2375)
            socket.create_connection(address, timeout=_TIMEOUT_S).close()
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


@contextlib.contextmanager
def _client(engine: str) -> Iterator[docker.APIClient]:
    api = docker.APIClient(base_url=engine, version="auto", timeout=_TIMEOUT_S, num_pools=_AT_ONCE)
    try:
        yield api
    finally:
        api.close()


class _Watch:
    """What was seen of each container last, so that changes are told once. `changes` and `figures` may be asked side by side."""

    def __init__(self, system: System) -> None:
        self.engine = next(iter(system.containers.values())).engine
        self._project = system.facts.get("project")
        self._names = {point.container: name for name, point in system.containers.items()}
        self._states: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._pids: dict[str, int] = {}
        self._asking = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="stats")

    def close(self) -> None:
        """Ask no more; what is being asked ends by itself."""
        self._asking.shutdown(wait=False, cancel_futures=True)

    def changes(self) -> list[dict[str, Any]]:
        """The containers that are not as they were at the last look: one question for all of them."""
        events: list[dict[str, Any]] = []
        with _client(self.engine) as api:
            label = f"{_PROJECT_LABEL}={self._project}"
            wanted = {"label": label} if self._project is not None else {"id": list(self._names)}
            rows = {row["Id"]: row for row in api.containers(all=True, filters=wanted)}
        for container, row in rows.items():
            labels = row.get("Labels") or {}
            if labels.get(_SERVICE_LABEL) == _REPLICATED:  # one that an autoscaler has started
                self._names.setdefault(container, f"{_REPLICATED}-{labels.get(_NUMBER_LABEL, '?')}")
        for container, name in list(self._names.items()):
            row = rows.get(container)
            networks = ((row or {}).get("NetworkSettings") or {}).get("Networks") or {}
            seen = ("removed" if row is None else str(row["State"]), tuple(sorted(networks)))
            if self._states.get(container) != seen:
                self._states[container] = seen
                events.append(
                    {
                        "kind": "container",
                        "name": name,
                        "service": service_of(name),
                        "state": seen[0],
                        "networks": list(seen[1]),
                    }
                )
        return events

    def figures(self) -> list[dict[str, Any]]:
        """What each container takes, and which processes have gone since the last look."""
        events: list[dict[str, Any]] = []
        with _client(self.engine) as api:
            running: dict[str, int] = {}
            for container, name in list(self._names.items()):
                pid = _pid(api, container)
                if self._pids.get(container, pid) != pid:
                    events += self._gone(container, name)
                if pid:
                    self._pids[container] = running[container] = pid
            taken = self._asking.map(lambda each: _taken(api, each), running)
            for (container, pid), figures in zip(running.items(), taken, strict=True):
                name = self._names[container]
                if figures:
                    events.append(
                        {
                            "kind": "resource",
                            "service": service_of(name),
                            "process": name,
                            "pid": pid,
                            **figures,
                        }
                    )
        return events

    def _gone(self, container: str, name: str) -> Iterator[dict[str, Any]]:
        pid = self._pids.pop(container, None)
        if pid is not None:
            yield {"kind": "resource", "service": service_of(name), "process": name, "pid": pid, "gone": True}


def _pid(api: docker.APIClient, container: str) -> int:
    """The pid of a container's main process; 0 where it does not run, or is no more."""
    try:
        return int(api.inspect_container(container)["State"].get("Pid") or 0)
    except NotFound:
        return 0


def _taken(api: docker.APIClient, container: str) -> dict[str, Any]:
    """What a container takes; empty where it is no more."""
    url = f"{api.base_url}/v{api.api_version}/containers/{container}/stats"
    answer = api.get(url, params={"stream": "false", "one-shot": "true"}, timeout=_TIMEOUT_S)
    if answer.status_code == 404:
        return {}
    answer.raise_for_status()
    return figures_of(answer.json())


def service_of(name: str) -> str:
    """The service of a container by its name in plans: "gateway" of "gateway-2"."""
    service, _, number = name.rpartition("-")
    return service if service == _REPLICATED and number else name


def figures_of(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Memory and CPU time out of an engine's `stats`; empty where it has none, such as of a container that does not run."""
    memory, cpu = stats.get("memory_stats") or {}, (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    if "usage" not in memory or "total_usage" not in cpu:
        return {}
    detail = memory.get("stats") or {}
    # The first is cgroup 2's word for it, the second cgroup 1's.
    cached = int(detail.get("inactive_file", detail.get("total_inactive_file", 0)))
    used = int(memory["usage"])
    return {
        "rss_bytes": used - cached if cached < used else used,
        "cpu_s": round(int(cpu["total_usage"]) / 1e9, 3),
    }
