"""`compose up`, watched: until every container is healthy, or until one shows that it never will be.

What the gateways call comes first, then the gateways and who is before them. Compose itself would wait in between for the engine's
healthchecks, but says little when they fail, and they run seldom: often ones would take cores from the system under test. So its output is
only kept for when it refuses, and each container's own healthcheck is run here until it passes: twice five seconds less a start. One that ends,
or that the engine finds unhealthy, ends the wait at once with its last log lines.

Control ports (HAProxy, tap, each Toxiproxy) are free ports of 127.0.0.1 chosen here, so that they stay the same when a
container restarts; a variable fixes one. Where somebody takes a chosen port first, all is tried again with others.
Replicas' admin ports are the engine's choice. On Linux compose dies with its runner, before it creates more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from resilience.lab.compose.command import ComposeCommand
from resilience.lab.compose.engine import Container, Engine
from resilience.lab.ports import check_port, free_ports
from resilience.lab.system import StackError

PORT_PREFIX = "CHAOS_SPIKE_PORT_"
TIMEOUT_VARIABLE = "CHAOS_SPIKE_COMPOSE_TIMEOUT_S"
_PORTS = ("GATEWAY", "TAP", "TOXIPROXY_PRICING", "TOXIPROXY_DB", "TOXIPROXY_CACHE")
_TIMEOUT_S = 120.0
_POLL_S = 0.25
INTERVAL_VARIABLE = "CHAOS_SPIKE_HEALTH_INTERVAL"
_INTERVAL = "30s"
"""Between two healthchecks of the engine, of which nothing waits here: each is a process in a container beside the system under test."""
CALLED = (
    *("pricing", "postgres", "redis"),
    *("toxiproxy-pricing", "toxiproxy-db", "toxiproxy-cache"),
    "tap",
)
CALLERS = ("gateway", "haproxy")
"""The services of the compose file, in the order in which they come up."""
_TRIES = 3
_TAKEN = ("port is already allocated", "address already in use", "ports are not available")


@dataclass(slots=True)
class _Wait:
    """How long it may take, until when that is, and whose healthchecks have passed."""

    limit_s: float
    deadline: float
    passed: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Creation:
    """What is to be created, and by what. Removing what a failed creation has left is the caller's part."""

    engine: Engine
    compose: ComposeCommand
    files: tuple[Path, ...]
    project: str
    gateways: int

    async def run(self, environ: Mapping[str, str]) -> None:
        """Create the project and wait until it is healthy; StackError that says why it is not."""
        limit_s = _limit_s(environ)
        fixed = {name: port for name in _PORTS if (port := environ.get(PORT_PREFIX + name))}
        for name, port in fixed.items():
            _check_fixed(name, port)
        for attempt in range(1, _TRIES + 1):
            free = map(str, free_ports(len(_PORTS)))
            ports = {
                PORT_PREFIX + name: fixed.get(name) or port for name, port in zip(_PORTS, free, strict=True)
            }
            text = await self._bring_up({**environ, **ports}, limit_s)
            if text is None:
                return
            taken = any(words in text.lower() for words in _TAKEN)
            if not taken or attempt == _TRIES:
                raise StackError(_explain(self.compose, text, taken=taken))
            await asyncio.to_thread(self.engine.remove_project, self.project)

    async def _bring_up(self, environ: Mapping[str, str], limit_s: float) -> str | None:
        """Create all of it; `None` once it is healthy, or what compose said where it refused."""
        wait = _Wait(limit_s, time.monotonic() + limit_s)
        for services in (CALLED, CALLERS):
            with tempfile.TemporaryFile() as said:
                if await self._watched(await self._start(environ, services, said), wait) != 0:
                    said.seek(0)
                    return said.read().decode(errors="replace").strip()
        return None

    async def _start(
        self, environ: Mapping[str, str], services: Sequence[str], said: IO[bytes]
    ) -> asyncio.subprocess.Process:
        files = [word for file in self.files for word in ("-f", str(file))]
        words = [*self.compose.words, *files, "-p", self.project, "up", "-d", "--no-build", "--no-deps"]
        words += ["--scale", f"gateway={self.gateways}"] if "gateway" in services else []
        return await asyncio.create_subprocess_exec(
            *words,
            *services,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**environ, INTERVAL_VARIABLE: environ.get(INTERVAL_VARIABLE) or _INTERVAL},
            start_new_session=True,  # a Ctrl-C is for us: we end it, then remove what it made
            preexec_fn=_die_with_parent(),
        )

    async def _watched(self, process: asyncio.subprocess.Process, wait: _Wait) -> int:
        """Wait for compose to end and for every container that there is to be healthy; its exit status."""
        try:
            while True:
                over = process.returncode is not None  # before we look: what it creates last is to be seen
                containers = await asyncio.to_thread(self.engine.containers, self.project)
                for container in containers:
                    if trouble := container.trouble:
                        raise StackError(await asyncio.to_thread(self._why, container, trouble))
                if process.returncode:
                    return process.returncode
                late = await self._late(containers, wait.passed)
                if over and containers and not late:
                    return 0
                if time.monotonic() > wait.deadline:
                    if not late:
                        raise StackError(f"{self.compose} did not create the lab within {wait.limit_s:g} s")
                    trouble = f"was not healthy within {wait.limit_s:g} s"
                    raise StackError(await asyncio.to_thread(self._why, late[0], trouble))
                await asyncio.sleep(_POLL_S)
        finally:
            if process.returncode is None:
                # Its whole session: v2 is a plugin, the child of the program that we started.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def _late(self, containers: Sequence[Container], passed: set[str]) -> list[Container]:
        """Those that do not serve yet: the engine has not found so, and neither has their healthcheck when it was run here."""
        asked = [each for each in containers if each.state == "running" and not each.serves]
        asked = [each for each in asked if each.id not in passed]
        found = await asyncio.gather(*(asyncio.to_thread(self.engine.check_passes, each) for each in asked))
        passed |= {each.id for each, passes in zip(asked, found, strict=True) if passes}
        return [each for each in containers if not each.serves and each.id not in passed]

    def _why(self, container: Container, trouble: str) -> str:
        """What is wrong with a container, its last log lines, and what to do."""
        log = self.engine.tail(container)
        lines = [f"{container.service} ({container.name}, image {container.image}) {trouble}"]
        lines[0] += "; its last log lines:" if log else "; it has logged nothing"
        lines += [log] if log else []
        if container.state == "running":
            if check := self.engine.health_said(container):
                lines.append(f"its healthcheck said: {check}")
            lines.append(
                f"Way out: where this machine is merely slow, allow more seconds in {TIMEOUT_VARIABLE};"
            )
        else:
            lines.append("Way out: mend what its log names (docs/compose.md lists the variables);")
        lines.append("`--stack embedded` runs the same plans without containers.")
        return "\n".join(lines)


def _limit_s(environ: Mapping[str, str]) -> float:
    text = environ.get(TIMEOUT_VARIABLE) or str(_TIMEOUT_S)
    try:
        return float(text)
    except ValueError:
        raise StackError(f"{TIMEOUT_VARIABLE}={text!r} is no number of seconds") from None


def _check_fixed(name: str, port: str) -> None:
    if not port.isdigit() or not 1 <= int(port) <= 65535:
        raise StackError(f"{PORT_PREFIX}{name}={port!r} is no port: 1 to 65535")
    try:
        check_port(name.lower().replace("_", "-"), int(port))
    except StackError as error:
        raise StackError(f"{error} (it is fixed by {PORT_PREFIX}{name})") from error


def _explain(compose: ComposeCommand, text: str, *, taken: bool) -> str:
    tail = "\n".join(text.splitlines()[-8:])
    message = f"{compose} could not bring the lab up:\n{tail}"
    if taken:
        message += (
            "\nWay out: stop what uses that port (`docker ps` shows containers that publish one), "
            f"or choose another in {PORT_PREFIX}GATEWAY and its like."
        )
    return message


def _die_with_parent() -> Callable[[], None] | None:
    """For Linux, between fork and exec: the kernel is to kill it when our process ends."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return ask_kernel
