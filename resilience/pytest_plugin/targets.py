"""`chaos.container(...)` and `chaos.process(...)`: faults of tests on what runs, instead of on what passes.

Each verb gives a fault as `chaos.fault` does: a context manager, healed and verified after its block, guarded by the same guardian. Naming a container or a
process is leave to hurt it; nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from faults.blast_radius import BlastRadius
from faults.nemesis import Nemesis
from faults.processes import FreezeFault, KillFault, RestartFault, Revival
from resilience.lab.system import LocalProcess, System
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.faulting import FaultHandle, Maker, Steering
from resilience.run.locating import process_now

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
_LONGEST_NS = 3600 * 10**9

Make = Callable[..., FaultHandle]
"""`SessionFaults.make_on` of a test: (on, made, what, name, max_duration)."""


class ContainerFaults:
    """What can be done to one container. Every verb takes `name` and `max_duration` (seconds), as `chaos.fault` does."""

    def __init__(self, make: Make, container: str, engine: str) -> None:
        self._make = make
        self._container = container
        self._engine = engine

    def pause(self, **options: Any) -> FaultHandle:
        """Its processes stand still: connections stay open, nobody answers."""
        return self._fault("PauseFault", "pause", options)

    def kill(self, **options: Any) -> FaultHandle:
        """Killed; started again when it is healed. What was in memory is lost."""
        return self._fault("KillFault", "kill", options)

    def stop(self, *, grace_s: int = 1, **options: Any) -> FaultHandle:
        """Asked to end, killed after the grace (at most 5 s); started again when it is healed."""
        return self._fault("StopFault", "stop", options, grace_s=grace_s)

    def restart(self, **options: Any) -> FaultHandle:
        """Killed and started at once."""
        return self._fault("RestartFault", "restart", options)

    def disconnect(self, network: str | None = None, **options: Any) -> FaultHandle:
        """Out of a network, or of the only one that it is in; in again under the same names when it is healed."""
        return self._fault("DisconnectFault", "disconnect", options, network=network)

    def cpu(self, cores: float, **options: Any) -> FaultHandle:
        """The CPU time of so many cores, no more."""
        return self._fault("ThrottleFault", "cpu", options, cpus=cores)

    def _fault(self, kind: str, verb: str, options: dict[str, Any], **more: Any) -> FaultHandle:
        def made(fault_id: str, limit_ns: int) -> Nemesis:
            from faults import containers  # noqa: PLC0415 - Docker's client takes a while to import

            nemesis: Nemesis = getattr(containers, kind)(
                fault_id, self._container, limit_ns, self._engine, **more
            )
            return nemesis

        radius = BlastRadius(allow=frozenset({f"container:{self._container}"}), max_duration_ns=_LONGEST_NS)
        on = Steering(f"{self._engine} {self._container}", radius)
        return self._make(on, (made,), f"{self._container[:24]}-{verb}", **options)


class ProcessFaults:
    """What can be done to one process of this host: one of the lab's by name, or one of the test's own."""

    def __init__(
        self, make: Make, where: str, found: Callable[[], tuple[int, Revival | None]], radius: BlastRadius
    ) -> None:
        self._make = make
        self._where = where
        self._found = found
        self._radius = radius

    def freeze(self, **options: Any) -> FaultHandle:
        """It and all below it stand still."""
        return self._fault("freeze", lambda i, pid, ns, _: FreezeFault(i, pid, ns), options)

    def kill(self, *, revival: Revival | None = None, **options: Any) -> FaultHandle:
        """Killed; started again when it is healed. A process of the test's own needs `revival`: how it comes back."""
        return self._fault("kill", partial(_ended, KillFault, revival), options)

    def restart(self, *, revival: Revival | None = None, **options: Any) -> FaultHandle:
        """Killed and started again at once."""
        return self._fault("restart", partial(_ended, RestartFault, revival), options)

    def _fault(self, verb: str, make: Callable[..., Nemesis], options: dict[str, Any]) -> FaultHandle:
        def made(fault_id: str, limit_ns: int) -> Nemesis:
            pid, known = self._found()
            return make(fault_id, pid, limit_ns, known)

        makers: tuple[Maker, ...] = (made,)
        on = Steering(f"process {self._where}", self._radius)
        return self._make(on, makers, f"{self._where}-{verb}", **options)


def _ended(
    kind: type[KillFault],
    given: Revival | None,
    fault_id: str,
    pid: int,
    limit_ns: int,
    known: Revival | None,
) -> Nemesis:
    revival = given or known
    if revival is None:
        raise ChaosSetupError(
            'say how the process comes back: revival=Revival(("command", ...), "127.0.0.1:8080")'
        )
    return kind(fault_id, pid, limit_ns, revival=revival)


def container_named(where: Any) -> str:
    """The container that a test means: its name or whole id, a docker-py container, or one of testcontainers."""
    if isinstance(where, str):
        return where
    wrapped = where.get_wrapped_container() if hasattr(where, "get_wrapped_container") else where
    found = getattr(wrapped, "id", None)
    if not isinstance(found, str):
        raise ChaosSetupError(f"a {type(where).__qualname__} is no container that a fault could be put on")
    return found


def processes_of(
    make: Make, where: Any, target: Callable[[], System], call: Callable[..., Any]
) -> ProcessFaults:
    """Faults on a process: a name of the target's, a pid, or what has one (`subprocess.Popen`, `psutil.Process`)."""
    if isinstance(where, str):
        system = target()
        if where not in system.processes:
            known = ", ".join(sorted(system.processes)) or "none"
            raise ChaosSetupError(f"the target has no process {where!r}; it has {known}")
        point = system.processes[where]
        keeper = system.owners[0]

        def now() -> tuple[int, Revival]:
            found: LocalProcess = call(process_now(point, where))
            return found.pid, Revival(found.revive, found.ready, returns=True, keeper=keeper)

        radius = BlastRadius(processes=frozenset(system.owners), max_duration_ns=_LONGEST_NS)
        return ProcessFaults(make, where, now, radius)
    pid = where if isinstance(where, int) else getattr(where, "pid", None)
    if not isinstance(pid, int) or isinstance(pid, bool):
        raise ChaosSetupError(f"a {type(where).__qualname__} is no process that a fault could be put on")
    radius = BlastRadius(processes=frozenset({pid}), max_duration_ns=_LONGEST_NS)
    return ProcessFaults(make, str(pid), lambda: (pid, None), radius)
