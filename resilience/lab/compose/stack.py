"""The compose stack: the lab in containers, one project per run, gone afterwards.

    HAProxy ──▶ gateways ──▶ tap ──▶ one Toxiproxy per dependency ──▶ pricing, PostgreSQL, Redis

Up: engine and compose are looked for, dead runners' projects are swept, images are provided, the project is noted in the
state directory, and then it is created (creation.py). Whatever fails, nothing is left.

Containers of this host share its CLOCK_MONOTONIC, which all evidence is stamped with. That is checked, not assumed: an
engine in a virtual machine has a clock of its own and is refused.

A runner that dies leaves the project up, healed by the guardian; the next start or `chaos-spike undo` takes it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from faults.journal import default_state_dir
from resilience.lab.autoscaler import AutoscalePolicy
from resilience.lab.breakers.registry import breaker_spec, check_breaker
from resilience.lab.broken import NEVER_SCALES, broken_from
from resilience.lab.compose.command import ComposeCommand, find_compose
from resilience.lab.compose.creation import Creation
from resilience.lab.compose.doors import Doors
from resilience.lab.compose.engine import Container, Engine
from resilience.lab.compose.images import OWN_PROXY_FILE, compose_folder, own_proxy, provide_images
from resilience.lab.compose.journal import Project, forget_project, sweep_projects, write_project
from resilience.lab.compose.reading import (
    ADMIN_PORT,
    GATEWAY,
    addresses,
    check_clock,
    container_points,
    gateways,
    proxy_points,
    published,
    system_facts,
)
from resilience.lab.compose.replicas import Replica, Replicas
from resilience.lab.embedded import options_from
from resilience.lab.gateway.context import INSTANCE_HEADER
from resilience.lab.identity import ProcessId
from resilience.lab.options import LabOptions
from resilience.lab.probing import probing_session
from resilience.lab.scaling import Gateway, Scaling
from resilience.lab.settings import PREFIX, SettingsError
from resilience.lab.system import Instance, StackError, System

log = logging.getLogger("chaos_spike.lab")

_ROUTED_S = 15.0


class ComposeStack:
    """A `Stack` on the Docker engine of this host. One project at a time; it may be brought up again after `down`."""

    def __init__(
        self,
        options: LabOptions | None = None,
        *,
        gateways: int | None = None,
        breaker: str | None = None,
        autoscale: AutoscalePolicy | None = None,
        state_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options_from(options, gateways=gateways, breaker=breaker, autoscale=autoscale)
        self._state_dir = state_dir or default_state_dir()
        self._environ = dict(os.environ if environ is None else environ)
        self._engine: Engine | None = None
        self._project: str | None = None
        self._scaling: Scaling | None = None
        self._doors: Doors | None = None
        self._password = ""

    def describe(self) -> str:
        """Such as "compose lab: 2 gateways, breaker purgatory"."""
        gateways = f"{self._options.gateways} gateway{'s' if self._options.gateways > 1 else ''}"
        return f"compose lab: {gateways}, breaker {self._options.breaker.library}"

    async def up(self) -> System:
        """Create the project and wait until it serves; StackError, with nothing left behind, if it does not."""
        if self._project is not None:
            raise StackError("this lab is already up")
        self._options.check()
        try:
            check_breaker(self._options.breaker)
            broken_from(self._environ)
            own_proxy(self._environ)
        except SettingsError as error:
            raise StackError(str(error)) from error
        try:
            return await self._up()
        except BaseException:
            try:
                await asyncio.shield(self.down())
            except StackError as left:
                # Why it did not come up matters more; what is left stays noted, for the next start or `undo`.
                log.warning("%s", left)
            raise

    async def _up(self) -> System:
        engine = self._engine = await asyncio.to_thread(Engine.connect, self._environ)
        environ = {**self._environ, "DOCKER_HOST": engine.address}
        compose = await asyncio.to_thread(find_compose, environ)
        await asyncio.to_thread(sweep_projects, self._state_dir, environ)
        folder = compose_folder()
        with tempfile.TemporaryDirectory(prefix="chaos-spike-build-") as scratch:
            environ |= await _abandonable(_provide, folder, environ, Path(scratch))
        project = f"chaos-spike-{secrets.token_hex(4)}"
        owner = ProcessId.of(os.getpid())
        assert owner is not None  # we run
        # Noted first: from here on there may be something to remove.
        write_project(self._state_dir, Project(project, engine.address, owner))
        self._project = project
        self._password = secrets.token_hex(16)
        files = [folder / "docker-compose.yml", *([folder / OWN_PROXY_FILE] if own_proxy(environ) else [])]
        creation = Creation(engine, compose, tuple(files), project, self._options.gateways)
        await creation.run(environ | self._variables(project))
        system = await self._system(engine, compose, project)
        if self._options.autoscale is None:
            return system
        url = await self._autoscale(self._options.autoscale, engine, project, system.instances)
        return replace(system, facts={**system.facts, "autoscaler": url})

    async def _autoscale(
        self, policy: AutoscalePolicy, engine: Engine, project: str, instances: tuple[Instance, ...]
    ) -> str:
        """Let an autoscaler start and take out further gateways; where it shows what it does."""
        replicas = Replicas(engine, project)
        # Those that compose has started stay: an autoscaler takes out what it has started itself.
        there = [
            Gateway(Replica(engine.api, each.name, each.name, each.admin_url or ""), each)
            for each in instances
        ]
        self._scaling = Scaling(
            policy, there, replicas.start, idle=NEVER_SCALES in broken_from(self._environ)
        )
        return await self._scaling.start()

    async def down(self) -> None:
        """Remove every container, network and volume of the project; harmless when none is up."""
        engine, self._engine = self._engine, None
        project, self._project = self._project, None
        scaling, self._scaling = self._scaling, None
        doors, self._doors = self._doors, None
        if scaling is not None:
            # Before the gateways: it would start others in their place.
            await scaling.stop()
        if doors is not None:
            await doors.close()
        if engine is None:
            return
        try:
            if project is not None:
                await asyncio.to_thread(engine.remove_project, project)
                forget_project(self._state_dir, project)
        finally:
            await asyncio.to_thread(engine.close)

    async def instances(self) -> tuple[Instance, ...]:
        """The gateways as they are now, replicas added and restarted ones included."""
        if self._engine is None or self._project is None:
            return ()
        containers = await asyncio.to_thread(self._engine.containers, self._project)
        return await gateways(containers, self._doors.urls if self._doors else {})

    def _variables(self, project: str) -> dict[str, str]:
        """What the compose file wants to know, ports excepted."""
        return {
            "COMPOSE_PROJECT_NAME": project,
            "COMPOSE_ANSI": "never",
            "CHAOS_SPIKE_BUILD_CONTEXT": ".",  # images are ready: nothing is built from here
            f"{PREFIX}DB_PASSWORD": self._password,
            f"{PREFIX}JWT_SECRET": secrets.token_hex(32),
            **self._options.breaker.to_environ(),
        }

    async def _system(self, engine: Engine, compose: ComposeCommand, project: str) -> System:
        containers = await asyncio.to_thread(engine.containers, project)
        points = await proxy_points(engine.address, containers)
        doors = self._doors = Doors(partial(engine.port_now, port=ADMIN_PORT))
        await doors.open(each.id for each in containers if each.service == GATEWAY)
        instances = await gateways(containers, doors.urls)
        await check_clock(instances)
        base_url = published(containers, "haproxy", "8080/tcp")
        await self._routed(base_url, {each.name for each in instances})
        facts = await asyncio.to_thread(system_facts, engine, compose, containers)
        return System(
            stack="compose",
            base_url=base_url,
            proxies=points,
            instances=instances,
            pids=_pids(containers),
            addresses=addresses(containers, self._password),
            containers=container_points(engine.address, containers),
            facts={
                **facts,
                "project": project,
                "breaker_spec": json.dumps(breaker_spec(self._options.breaker)),
            },
        )

    async def _routed(self, base_url: str, names: set[str]) -> None:
        """Wait until the balancer sends requests to every replica: the load must not find only one of them."""
        seen: set[str] = set()
        deadline = time.monotonic() + _ROUTED_S
        async with probing_session() as session:
            while not names <= seen:
                if time.monotonic() > deadline:
                    raise StackError(
                        f"HAProxy at {base_url} does not route to {', '.join(sorted(names - seen))} "
                        f"(it answered for: {', '.join(sorted(seen)) or 'nobody'})"
                    )
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    async with session.get(f"{base_url}/health/live") as response:
                        if name := response.headers.get(INSTANCE_HEADER):
                            seen.add(name)
                        if response.status == 200:
                            continue
                await asyncio.sleep(0.1)


def _provide(folder: Path, environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    with Engine.connect(environ) as engine:
        return provide_images(engine, folder, environ, scratch)


async def _abandonable(work: Callable[..., dict[str, str]], *arguments: Any) -> dict[str, str]:
    """Run `work` in a thread that nobody waits for when we are cancelled.

    Pulling and building take minutes, and a Ctrl-C means now: the engine ends both when their connection breaks, which it does
    with this process.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[dict[str, str]] = loop.create_future()

    def settle(result: dict[str, str] | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result or {})

    def run() -> None:
        result, failure = None, None
        try:
            result = work(*arguments)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the one who waits is to meet it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has gone: we were abandoned
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="images", daemon=True).start()
    return await outcome


def _pids(containers: tuple[Container, ...]) -> dict[str, tuple[int, ...]]:
    """The containers' main processes, where they are processes that this host can see."""
    pids: dict[str, tuple[int, ...]] = {}
    for each in containers:
        if each.pid and _runs_here(each):
            pids[each.service] = (*pids.get(each.service, ()), each.pid)
    return pids


def _runs_here(container: Container) -> bool:
    """Whether the pid is one of this host's, and not one of a virtual machine's or of another pid namespace."""
    try:
        return container.id in Path(f"/proc/{container.pid}/cgroup").read_text()
    except OSError:
        return False
