"""The compose stack: the lab in containers, one project per run, gone afterwards.

    HAProxy ──▶ gateways ──▶ tap ──▶ one Toxiproxy per dependency ──▶ pricing, PostgreSQL, Redis

Up: engine and compose are looked for, dead runners' projects are swept, images are provided, the project is noted in the
state directory, `compose up` creates it, and its containers are watched meanwhile: one that ends or that does not get
healthy ends the wait at once, with its last log lines. Whatever fails, nothing is left.

Control ports (HAProxy, tap, each Toxiproxy) are free ports of 127.0.0.1 chosen here, so that they stay the same when a
container restarts; replicas' admin ports are the engine's choice and read back. Containers of this host share its
CLOCK_MONOTONIC, which all evidence is stamped with. That is checked, not assumed: an engine in a virtual machine has
a clock of its own and is refused.

A runner that dies leaves the project up, healed by the guardian; the next start or `chaos-spike undo` takes it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import aiohttp

from faults.journal import default_state_dir
from resilience.lab.breakers.registry import breaker_spec, check_breaker
from resilience.lab.compose.command import ComposeCommand, find_compose
from resilience.lab.compose.engine import Container, Engine
from resilience.lab.compose.images import compose_folder, provide_images
from resilience.lab.compose.journal import Project, forget_project, sweep_projects, write_project
from resilience.lab.compose.reading import check_clock, gateways, proxy_points, published, system_facts
from resilience.lab.embedded import options_from
from resilience.lab.gateway.context import INSTANCE_HEADER
from resilience.lab.identity import ProcessId
from resilience.lab.options import LabOptions
from resilience.lab.ports import check_port, free_port
from resilience.lab.probing import probing_session
from resilience.lab.settings import PREFIX, SettingsError
from resilience.lab.system import Instance, StackError, System

PORT_PREFIX = "CHAOS_SPIKE_PORT_"
TIMEOUT_VARIABLE = "CHAOS_SPIKE_COMPOSE_TIMEOUT_S"
_PORTS = ("GATEWAY", "TAP", "TOXIPROXY_PRICING", "TOXIPROXY_DB", "TOXIPROXY_CACHE")
_TIMEOUT_S = 120.0
_POLL_S = 0.5
_TRIES = 3
_ROUTED_S = 15.0
_TAKEN = ("port is already allocated", "address already in use", "ports are not available")


class ComposeStack:
    """A `Stack` on the Docker engine of this host. One project at a time; it may be brought up again after `down`."""

    def __init__(
        self,
        options: LabOptions | None = None,
        *,
        gateways: int | None = None,
        breaker: str | None = None,
        state_dir: Path | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._options = options_from(options, gateways=gateways, breaker=breaker)
        self._state_dir = state_dir or default_state_dir()
        self._environ = dict(os.environ if environ is None else environ)
        self._engine: Engine | None = None
        self._project: str | None = None

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
        except SettingsError as error:
            raise StackError(str(error)) from error
        try:
            return await self._up()
        except BaseException:
            await asyncio.shield(self.down())
            raise

    async def _up(self) -> System:
        engine = self._engine = await asyncio.to_thread(Engine.connect, self._environ)
        environ = {**self._environ, "DOCKER_HOST": engine.address}
        compose = await asyncio.to_thread(find_compose, environ)
        await asyncio.to_thread(sweep_projects, self._state_dir, environ)
        folder = compose_folder()
        environ |= await asyncio.to_thread(provide_images, engine, folder, environ)
        project = f"chaos-spike-{secrets.token_hex(4)}"
        owner = ProcessId.of(os.getpid())
        assert owner is not None  # we run
        # Noted first: from here on there may be something to remove.
        write_project(self._state_dir, Project(project, engine.address, owner))
        self._project = project
        await self._create(compose, folder, environ | self._variables(project))
        return await self._system(engine, compose, project)

    async def down(self) -> None:
        """Remove every container, network and volume of the project; harmless when none is up."""
        engine, self._engine = self._engine, None
        project, self._project = self._project, None
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
        return await gateways(await asyncio.to_thread(self._engine.containers, self._project))

    def _variables(self, project: str) -> dict[str, str]:
        """What the compose file wants to know, ports excepted."""
        return {
            "COMPOSE_PROJECT_NAME": project,
            "COMPOSE_ANSI": "never",
            "CHAOS_SPIKE_BUILD_CONTEXT": ".",  # images are ready: nothing is built from here
            f"{PREFIX}DB_PASSWORD": secrets.token_hex(16),
            f"{PREFIX}JWT_SECRET": secrets.token_hex(32),
            **self._options.breaker.to_environ(),
        }

    async def _create(self, compose: ComposeCommand, folder: Path, environ: Mapping[str, str]) -> None:
        """`compose up`; once more with other ports when somebody took one of ours meanwhile."""
        fixed = {name: port for name in _PORTS if (port := environ.get(PORT_PREFIX + name))}
        for name, port in fixed.items():
            _check_fixed(name, port)
        for attempt in range(1, _TRIES + 1):
            ports = {PORT_PREFIX + name: fixed.get(name) or str(free_port()) for name in _PORTS}
            with tempfile.TemporaryFile() as said:
                process = await self._start(compose, folder, {**environ, **ports}, said)
                if await self._watched(process) == 0:
                    return
                said.seek(0)
                text = said.read().decode(errors="replace").strip()
            taken = any(words in text for words in _TAKEN)
            if not taken or attempt == _TRIES or fixed:
                raise StackError(_explain_failure(compose, text, taken=taken))
            await self._remove()

    async def _start(
        self, compose: ComposeCommand, folder: Path, environ: Mapping[str, str], said: IO[bytes]
    ) -> asyncio.subprocess.Process:
        assert self._project is not None
        words = [*compose.words, "-f", str(folder / "docker-compose.yml"), "-p", self._project]
        words += ["up", "-d", "--no-build", "--scale", f"gateway={self._options.gateways}"]
        return await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=dict(environ),
            start_new_session=True,  # a Ctrl-C is for us: we end it, then remove what it made
            preexec_fn=_die_with_parent(),
        )

    async def _watched(self, process: asyncio.subprocess.Process) -> int:
        """Wait for compose to end and for every container to be healthy; its exit status."""
        assert self._engine is not None
        assert self._project is not None
        limit_s = float(self._environ.get(TIMEOUT_VARIABLE) or _TIMEOUT_S)
        deadline = time.monotonic() + limit_s
        try:
            while True:
                containers = await asyncio.to_thread(self._engine.containers, self._project)
                bad = [each for each in containers if each.trouble]
                if bad:
                    raise StackError(await asyncio.to_thread(self._why, bad[0], str(bad[0].trouble)))
                if process.returncode:
                    return process.returncode
                if process.returncode == 0 and containers and all(each.serves for each in containers):
                    return 0
                if time.monotonic() > deadline:
                    late = next((each for each in containers if not each.serves), None)
                    message = f"was not healthy within {limit_s:g} s"
                    if late is None:
                        raise StackError(f"compose did not create the lab within {limit_s:g} s")
                    raise StackError(await asyncio.to_thread(self._why, late, message))
                await asyncio.sleep(_POLL_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _why(self, container: Container, what: str) -> str:
        """What is wrong with a container, its last log lines, and what to do."""
        assert self._engine is not None
        log = self._engine.tail(container)
        check = self._engine.health_said(container) if container.health not in {None, "healthy"} else ""
        return (
            f"{container.service} ({container.name}, image {container.image}) {what}"
            + (f"; its last log lines:\n{log}" if log else "; it has logged nothing")
            + (f"\nits healthcheck said: {check}" if check else "")
            + f"\nWay out: if this machine is merely slow, allow more seconds in {TIMEOUT_VARIABLE}; "
            "`--stack embedded` runs the same plans without containers."
        )

    async def _remove(self) -> None:
        assert self._engine is not None
        assert self._project is not None
        await asyncio.to_thread(self._engine.remove_project, self._project)

    async def _system(self, engine: Engine, compose: ComposeCommand, project: str) -> System:
        containers = await asyncio.to_thread(engine.containers, project)
        points = await proxy_points(containers)
        instances = await gateways(containers)
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
            facts={**facts, "breaker_spec": json.dumps(breaker_spec(self._options.breaker))},
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


def _check_fixed(name: str, port: str) -> None:
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise StackError(f"{PORT_PREFIX}{name}={port!r} is no port: 1 to 65535")
    try:
        check_port(name.lower().replace("_", "-"), int(port))
    except StackError as error:
        raise StackError(f"{error} (it is fixed by {PORT_PREFIX}{name})") from error


def _explain_failure(compose: ComposeCommand, text: str, *, taken: bool) -> str:
    tail = "\n".join(text.splitlines()[-8:])
    message = f"{compose} could not bring the lab up:\n{tail}"
    if taken:
        message += (
            "\nWay out: stop what uses that port (`docker ps` shows containers that publish one), "
            f"or choose another in {PORT_PREFIX}GATEWAY and its like."
        )
    return message


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


def _die_with_parent() -> Callable[[], None] | None:
    """For Linux, between fork and exec: a runner that is killed takes its compose along, before it creates more."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel
