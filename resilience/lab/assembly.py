"""The lab's processes put together in order, and taken apart in the opposite one. Runs inside the supervisor.

Start: database, cache, proxies, taps and pricing side by side; then the proxies and taps are told of the dependencies;
then the gateways. If anything fails, what was started is taken down before the error leaves.

End: first the services (their callers are gone), then the databases, and the tap and the toxic proxy *last*: until
everything that they front is down, a fault's healing can be seen on them. Each group is ended together and has its
own grace; after it come kills, so the whole takes less than `handshake.STOP_BUDGET_S` even if every process hangs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resilience.lab.binaries import postgres_programs, valkey_program
from resilience.lab.breakers.registry import breaker_spec, check_breaker, library_version
from resilience.lab.broken import NEVER_SCALES, broken_from
from resilience.lab.child import Child, Program
from resilience.lab.databases import DATABASE, USER, Server, start_postgres, start_valkey
from resilience.lab.front import build_points
from resilience.lab.handshake import DATABASE_GRACE_S, FRONT_GRACE_S, SERVICE_GRACE_S
from resilience.lab.options import LabOptions
from resilience.lab.ports import LOOPBACK, check_port, listening_socket, port_taken
from resilience.lab.revival import Kept, Revivals
from resilience.lab.rundir import make_run_directory, sweep_run_directories, write_owner
from resilience.lab.scaling import Gateway, Scaling
from resilience.lab.settings import PREFIX, SettingsError
from resilience.lab.system import Instance, ProxyPoint, StackError, System
from resilience.lab.unprivileged import account

_REMOVALS = 20


class Assembly:
    """One lab. `up` once, `down` any number of times."""

    def __init__(self, options: LabOptions, environ: Mapping[str, str]) -> None:
        self._options = options
        self._environ = environ
        self._directory: Path | None = None
        self._sockets: list[socket.socket] = []
        self._gateway_environ: dict[str, str] = {}
        # In the order of ending: services, databases, front.
        self._services: list[Child] = []
        self._databases: list[Child] = []
        self._front: list[Child] = []
        self._scaling: Scaling | None = None
        self._revivals = Revivals(self._replaced)

    async def up(self) -> System:
        """Start everything; StackError, with nothing left behind, if that fails."""
        try:
            self._check()
            async with asyncio.timeout(self._options.start_timeout_s):
                return await self._start()
        except BaseException as error:
            children = (*self._services, *self._databases, *self._front)
            started = ", ".join(child.program.name for child in children) or "nothing"
            await self.down()
            if isinstance(error, TimeoutError):
                limit = f"{self._options.start_timeout_s:g} s"
                raise StackError(f"the lab was not up within {limit} (started: {started})") from None
            if isinstance(error, BaseExceptionGroup):
                raise _first(error) from error
            raise

    async def down(self) -> None:
        """End everything and remove every file; harmless when nothing is up."""
        # Both before the processes: they would start others in their place.
        await self._revivals.stop()
        if self._scaling is not None:
            await self._scaling.stop()
            self._scaling = None
        # Ours first: once the gateways are gone, callers are to be refused, not left waiting in a queue.
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        for group, grace_s in (
            (self._services, SERVICE_GRACE_S),
            (self._databases, DATABASE_GRACE_S),
            (self._front, FRONT_GRACE_S),
        ):
            await asyncio.gather(*(child.stop(grace_s) for child in group))
            group.clear()
        if self._directory is not None:
            await _remove(self._directory)
            self._directory = None

    def _check(self) -> None:
        """Everything that can be known to fail before anything is started."""
        self._options.check()
        try:
            check_breaker(self._options.breaker)
            broken_from(self._environ)
        except SettingsError as error:
            raise StackError(str(error)) from error
        for name, port in self._options.ports.items():
            check_port(name, port)
        sweep_run_directories(self._environ)

    async def _start(self) -> System:
        who = account(self._environ)
        programs, valkey = await asyncio.to_thread(lambda: (postgres_programs(who), valkey_program()))
        directory = self._directory = make_run_directory(self._environ, who)
        logs = Path(self._options.log_dir) if self._options.log_dir else directory / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        ports = self._options.ports
        async with asyncio.TaskGroup() as group:
            postgres_task = group.create_task(
                self._database(start_postgres(directory, logs, programs, who, ports.get("postgres")))
            )
            cache_task = group.create_task(
                self._database(start_valkey(directory, logs, valkey, ports.get("valkey")))
            )
            proxy_task = group.create_task(
                self._ready(
                    self._front, _module("toxiproxy", "faults.proxy", "--port", self._port("toxiproxy")), logs
                )
            )
            tap_task = group.create_task(
                self._ready(
                    self._front, _module("tap", "faults.proxy.tap", "--port", self._port("tap")), logs
                )
            )
            pricing_task = group.create_task(self._pricing(logs))
        postgres, cache, pricing = postgres_task.result(), cache_task.result(), pricing_task.result()
        points = await build_points(
            proxy_task.result()["admin"],
            tap_task.result()["control"],
            {
                "pricing": pricing["url"].removeprefix("http://"),
                "db": f"{LOOPBACK}:{postgres.port}",
                "cache": f"{LOOPBACK}:{cache.port}",
            },
        )
        url, gateways = await self._gateways(points, postgres, cache, logs)
        self._revivals.keep("redis", Kept(cache.child, points["cache"].upstream, cache.again))
        self._revivals.keep("postgres", Kept(postgres.child, points["db"].upstream, postgres.again))
        system = self._system(
            url, points, (*(g.instance for g in gateways), _instance(pricing)), postgres, cache
        )
        system = replace(system, processes=await self._revivals.start())
        if self._options.autoscale is None:
            return system
        return replace(system, facts={**system.facts, "autoscaler": await self._autoscale(gateways, logs)})

    async def _database(self, starting: Any) -> Server:
        server: Server = await starting
        self._started(self._databases, server.child)
        return server

    async def _ready(self, group: list[Child], program: Program, logs: Path) -> Mapping[str, Any]:
        child = await Child.start(program, logs / f"{program.name}.log")
        self._started(group, child)
        return await child.ready()

    def _started(self, group: list[Child], child: Child) -> None:
        """Remember it, and write it down for whoever may have to tidy up after us."""
        group.append(child)
        self._write_owner()

    def _write_owner(self) -> None:
        assert self._directory is not None  # something was started in it
        children = (*self._services, *self._databases, *self._front)
        write_owner(self._directory, [child.identity for child in children if child.identity])

    def _replaced(self, old: Child, new: Child) -> None:
        """One of ours was killed, and started again: the new one is ended, and tidied up after, in its place."""
        for group in (self._services, self._databases, self._front):
            group[:] = [new if child is old else child for child in group]
        self._write_owner()

    def _port(self, name: str) -> str:
        return str(self._options.ports.get(name, 0))

    def _listen(self, name: str) -> socket.socket:
        port = self._options.ports.get(name, 0)
        try:
            sock = listening_socket(LOOPBACK, port)
        except OSError as error:
            raise port_taken(name, port, error) from error
        self._sockets.append(sock)
        return sock

    async def _pricing(self, logs: Path) -> Mapping[str, Any]:
        def program(port: str) -> Program:
            return _module(
                "pricing",
                "resilience.lab.pricing",
                *("--instance", "pricing-1", "--port", port),
                environ=self._options.environ,
            )

        child = await Child.start(program(self._port("pricing")), logs / "pricing.log")
        self._started(self._services, child)
        facts = await child.ready()
        address = facts["url"].removeprefix("http://")
        self._keep_service("pricing", child, address, program(address.rpartition(":")[2]), logs)
        return facts

    def _keep_service(self, name: str, child: Child, ready: str, program: Program, logs: Path) -> None:
        """Offer to start one of our services again, as `program` on the port that it has."""

        async def again() -> Child:
            new = await Child.start(program, logs / f"{program.name}.log")
            try:
                await new.ready()
            except BaseException:
                await new.stop(1.0)
                raise
            return new

        self._revivals.keep(name, Kept(child, ready, again))

    async def _gateways(
        self, points: Mapping[str, ProxyPoint], postgres: Server, cache: Server, logs: Path
    ) -> tuple[str, list[Gateway]]:
        """(the shared base URL, the gateways): all accept from one socket that they inherit."""
        sock = self._listen("gateway")
        self._gateway_environ = {
            **self._options.breaker.to_environ(),
            **self._options.environ,
            f"{PREFIX}PRICING_URL": f"http://{points['pricing'].listen}",
            f"{PREFIX}DATABASE_URL": _database_url(points, postgres),
            f"{PREFIX}CACHE_URL": _cache_url(points, cache),
            f"{PREFIX}JWT_SECRET": secrets.token_hex(32),
        }
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._gateway(number, sock, logs))
                for number in range(1, self._options.gateways + 1)
            ]
        url = f"http://{LOOPBACK}:{sock.getsockname()[1]}"
        return url, [Gateway(child, _instance(ready)) for child, ready in (task.result() for task in tasks)]

    async def _gateway(self, number: int, sock: socket.socket, logs: Path) -> tuple[Child, Mapping[str, Any]]:
        """Start one gateway on the shared socket; its child and its ready line."""
        name = f"gateway-{number}"

        def program(admin_port: str) -> Program:
            return _module(
                name,
                "resilience.lab.gateway",
                *("--instance", name, "--listen-fd", str(sock.fileno())),
                *("--admin-port", admin_port),
                environ=self._gateway_environ,
                pass_fds=(sock.fileno(),),
            )

        child = await Child.start(program(self._port(f"admin-{number}")), logs / f"{name}.log")
        self._started(self._services, child)
        facts = await child.ready()
        if self._options.autoscale is None:  # else they come and go as the autoscaler decides
            admin = facts["admin"].removeprefix("http://")
            self._keep_service(name, child, admin, program(admin.rpartition(":")[2]), logs)
        return child, facts

    async def _autoscale(self, gateways: list[Gateway], logs: Path) -> str:
        """Let an autoscaler start and drain gateways; where it shows what it does."""
        policy = self._options.autoscale
        assert policy is not None  # the caller has looked
        numbers = itertools.count(self._options.gateways + 1)
        (sock,) = self._sockets
        self._scaling = Scaling(
            policy,
            gateways,
            lambda: self._gateway(next(numbers), sock, logs),
            idle=NEVER_SCALES in broken_from(self._environ),
        )
        return await self._scaling.start()

    def _system(
        self,
        url: str,
        points: Mapping[str, ProxyPoint],
        instances: tuple[Instance, ...],
        postgres: Server,
        cache: Server,
    ) -> System:
        pids: dict[str, tuple[int, ...]] = {}
        for child in (*self._services, *self._databases, *self._front):
            service = child.program.name.partition("-")[0]
            pids[service] = (*pids.get(service, ()), child.pid)
        breaker = self._options.breaker
        return System(
            stack="embedded",
            base_url=url,
            proxies=dict(points),
            instances=instances,
            pids=pids,
            owners=(os.getpid(),),
            facts={
                "postgres": postgres.version,
                "valkey": cache.version,
                "breaker_library": library_version(breaker.library),
                "breaker_spec": json.dumps(breaker_spec(breaker)),
            },
            addresses={"db": _database_url(points, postgres), "cache": _cache_url(points, cache)},
        )


def _database_url(points: Mapping[str, ProxyPoint], postgres: Server) -> str:
    """The database through its tap and proxy, as the gateways and a plan's loads reach it."""
    return f"postgresql://{USER}:{postgres.password}@{points['db'].listen}/{DATABASE}?sslmode=disable"


def _cache_url(points: Mapping[str, ProxyPoint], cache: Server) -> str:
    """The cache, likewise."""
    return f"redis://:{cache.password}@{points['cache'].listen}/0"


async def _remove(directory: Path) -> None:
    """Remove `directory`; again, while somebody who is just being killed still writes to it."""
    for _ in range(_REMOVALS):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():  # noqa: ASYNC240 - the lab is down: nobody waits for this loop
            return
        await asyncio.sleep(0.05)


def _module(
    name: str,
    module: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> Program:
    """One of our own services, by module. `-P`: a folder `resilience` where we were started is somebody else's."""
    return Program(
        name,
        [sys.executable, "-P", "-m", module, "--die-with-parent", *arguments],
        environ=environ or {},
        pass_fds=pass_fds,
    )


def _instance(ready: Mapping[str, Any]) -> Instance:
    return Instance(
        service=ready["service"],
        name=ready["instance"],
        admin_url=ready.get("admin"),
        pid=ready["pid"],
        boot=ready["boot"],
    )


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of several errors, a StackError if there is one: the others are mostly its consequences."""
    stack_errors, others = errors.split(StackError)
    error: BaseException = stack_errors or others or errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
