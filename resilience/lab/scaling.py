"""The lab's autoscaler at work: measures the gateways, starts and drains some, and shows what it did.

Runs inside the supervisor of the embedded lab, and in the runner's process where the gateways are containers.

Every half second it asks each gateway's admin port for its metrics. A new gateway accepts from the socket that all share as soon as it serves. One
that is taken out is told to drain: it accepts no more, answers with `Connection: close`, and ends when nobody is connected.

`GET /scaling` on its own loopback port: `{"now_ns", "gateways": [{"instance", "admin_url", "pid", "boot", "container", "decided_ns", "leaving_ns"}], "gone": [{"instance",
"decided_ns", "leaving_ns", "gone_ns"}]}`; `decided_ns` is null for those that were there from the start. An observer sees for itself whether and when an instance
is ready or gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic_ns
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from resilience.lab.autoscaler import AutoscalePolicy, Autoscaler
from resilience.lab.ports import LOOPBACK, listening_socket
from resilience.lab.service import DRAIN_S
from resilience.lab.system import Instance, StackError

LOG = logging.getLogger("chaos_spike.lab")

_LOOK_S = 0.5
_ASK_S = 1.0
_COUNTER = "lab_requests"
_CHECKS = "/health/ready"
"""What a balancer asks by itself."""


class Leaver(Protocol):
    """What can be taken out: a child process, or a container."""

    async def drain(self, limit_s: float) -> None:
        """Let it finish with its callers, then end; ended all the same after `limit_s`."""


@dataclass(slots=True)
class Gateway:
    """One gateway that the autoscaler knows."""

    child: Leaver
    instance: Instance
    decided_ns: int | None = None
    leaving_ns: int | None = None
    gone_ns: int | None = None
    container: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As `/scaling` shows it."""
        return {
            "instance": self.instance.name,
            "admin_url": self.instance.admin_url,
            "pid": self.instance.pid,
            "boot": self.instance.boot,
            "container": self.container,
            "decided_ns": self.decided_ns,
            "leaving_ns": self.leaving_ns,
            "gone_ns": self.gone_ns,
        }


Start = Callable[[], Awaitable[tuple[Leaver, Mapping[str, Any]]]]
"""Start another gateway; how it is taken out again, and its ready line."""


@dataclass(slots=True)
class Scaling:
    """One autoscaler. `start` runs it, `stop` ends it; gateways themselves are ended by whoever owns their children."""

    policy: AutoscalePolicy
    gateways: list[Gateway]
    start_another: Start
    idle: bool = False
    """Looks, and does nothing: the lab's mistake `never-scales`."""
    _gone: list[Gateway] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Begin to look; the address that shows what was done."""
        app = web.Application()
        app.router.add_get("/scaling", self._show)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        sock = listening_socket(LOOPBACK, 0)
        await web.SockSite(self._runner, sock).start()
        self._task = asyncio.create_task(self._run())
        return f"http://{LOOPBACK}:{sock.getsockname()[1]}"

    async def stop(self) -> None:
        """End it; harmless when it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "now_ns": monotonic_ns(),
                "gateways": [gateway.to_json() for gateway in self.gateways],
                "gone": [gateway.to_json() for gateway in self._gone],
            }
        )

    async def _run(self) -> None:
        scaler = Autoscaler(self.policy)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S)) as session:
            while True:
                await asyncio.sleep(_LOOK_S)
                answered = await self._answered(session)
                if answered is None:
                    continue
                step = scaler.look(monotonic_ns() / 1e9, answered, len(self.gateways))
                if step is None or self.idle:
                    continue
                LOG.info("autoscaler: %s, %d gateways", step, len(self.gateways))
                try:
                    await (self._out() if step == "out" else self._in())
                except Exception:
                    # One step that failed (an engine that took too long) must not end the autoscaler: the system would be blamed.
                    LOG.exception("autoscaler: %s failed; it is looked at again", step)
                    continue
                scaler.stepped()

    async def _answered(self, session: aiohttp.ClientSession) -> float | None:
        """Requests that all gateways have answered; None when one could not be asked."""
        total = 0.0
        for gateway in self.gateways:
            answered = await requests_answered(session, gateway.instance.admin_url)
            if answered is None:
                return None
            total += answered
        return total

    async def _out(self) -> None:
        decided_ns = monotonic_ns()
        try:
            child, ready = await self.start_another()
        except StackError as error:
            LOG.warning("no further gateway: %s", error)
            return
        instance = Instance(
            ready["service"], ready["instance"], ready.get("admin"), ready["pid"], ready["boot"]
        )
        self.gateways.append(Gateway(child, instance, decided_ns, container=ready.get("container")))

    async def _in(self) -> None:
        """Take out the youngest that we started ourselves."""
        mine = [gateway for gateway in self.gateways if gateway.decided_ns is not None]
        if not mine:
            return
        gateway = mine[-1]
        gateway.leaving_ns = monotonic_ns()
        await gateway.child.drain(DRAIN_S + 2)
        gateway.gone_ns = monotonic_ns()
        self.gateways.remove(gateway)
        self._gone.append(gateway)


async def requests_answered(session: aiohttp.ClientSession, admin_url: str | None) -> float | None:
    """Requests of callers that a gateway has answered, by its own count; a balancer's checks are none. None where it cannot be asked."""
    try:
        async with session.get(f"{admin_url}/metrics") as response:
            text = await response.text()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        if family.name == _COUNTER
        for sample in family.samples
        if sample.name == f"{_COUNTER}_total" and sample.labels.get("route") != _CHECKS
    )
