"""What all chaos tests of one process share: the engine's loop, the proxy server, the fault sessions, the lab.

Each part is started when a test first needs it, and taken down at the end of the session, faults first. Under pytest-xdist
each worker process has its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.journal import default_state_dir
from resilience.lab.embedded import EmbeddedStack
from resilience.lab.external import ExternalStack
from resilience.lab.system import Instance, ProxyPoint, Stack, StackError, System
from resilience.pytest_plugin.errors import ChaosSetupError
from resilience.pytest_plugin.faulting import SessionFaults, wait_all
from resilience.pytest_plugin.layers import EmbeddedServer
from resilience.pytest_plugin.portal import Portal

LAB = "lab"


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """The command line's words."""

    seed: int
    report: Path | None = None
    keep: bool = False


class ChaosSession:
    """One per test process."""

    def __init__(self, options: ChaosOptions, allow: Iterable[str] = ()) -> None:
        self.options = options
        self.portal = Portal()
        self.faults = SessionFaults(self.portal, default_state_dir(), allow)
        self._starting = threading.Lock()
        self._server: EmbeddedServer | None = None
        self._stacks: dict[str, tuple[Stack, System]] = {}

    @property
    def server_started(self) -> bool:
        """Whether any test has needed the embedded proxy server."""
        return self._server is not None

    def admin_url(self) -> str:
        """The embedded proxy server's admin URL; started at the first asking."""
        with self._starting:
            if self._server is None:
                server = EmbeddedServer(self.options.seed)
                self.portal.call(server.start())
                self._server = server
            return self._server.admin_url

    def lab(self) -> System:
        """The reference system; brought up at the first asking."""
        return self._up(LAB, EmbeddedStack)

    def target(self, wanted: Any) -> System:
        """The target that `chaos_target` gives: "lab", a System, or a mapping like a plan's `external:`."""
        if wanted is None:
            raise ChaosSetupError(
                "there is no target: override the fixture chaos_target, so that it returns 'lab' or a mapping "
                "such as {'base_url': 'http://127.0.0.1:8080', 'proxies': {...}, 'instances': [...]}"
            )
        if wanted == LAB:
            return self.lab()
        system = wanted if isinstance(wanted, System) else system_from(wanted)
        return self._up(str(sorted(system.to_json().items(), key=str)), lambda: ExternalStack(system))

    def close(self) -> list[str]:
        """Take everything down, faults first; what went wrong, in words."""
        problems = wait_all([self.faults.close])
        for stack, _ in self._stacks.values():
            problems += wait_all([lambda stack=stack: self.portal.call(stack.down())])  # type: ignore[misc]
        if self._server is not None:
            problems += wait_all([lambda: self.portal.call(_stopped(self._server))])
        self.portal.close()
        return problems

    def _up(self, key: str, make: Any) -> System:
        with self._starting:
            if key not in self._stacks:
                try:
                    stack: Stack = make()
                    system = self.portal.call(stack.up())
                except StackError as error:
                    raise ChaosSetupError(str(error)) from error
                self._stacks[key] = (stack, system)
            return self._stacks[key][1]


async def _stopped(server: EmbeddedServer | None) -> None:
    if server is not None:
        await asyncio.shield(server.stop())


def system_from(written: Any) -> System:
    """A system from a mapping: `base_url`, `proxies` {name: {admin_url, proxy, tap_url, tap}}, `instances` [{name, admin_url}]."""
    try:
        return System(
            stack="external",
            base_url=str(written["base_url"]).rstrip("/"),
            proxies={
                name: ProxyPoint(
                    name=name,
                    admin_url=str(point["admin_url"]).rstrip("/"),
                    proxy=str(point.get("proxy", name)),
                    listen=str(point.get("listen", "")),
                    upstream=str(point.get("upstream", "")),
                    tap_url=point.get("tap_url"),
                    tap=point.get("tap"),
                )
                for name, point in written.get("proxies", {}).items()
            },
            instances=tuple(
                Instance(str(each.get("service", "service")), str(each["name"]), each.get("admin_url"))
                for each in written.get("instances", ())
            ),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ChaosSetupError(f"chaos_target: {error!r}; see docs/pytest.md for its form") from error
