"""The embedded stack: the lab as real processes on loopback, owned by a supervisor that dies with us.

We hold the supervisor's standard input. `down` tells it to stop and waits until it has; if we die instead, however we
die, the pipe closes and the supervisor takes the lab down by itself. See supervisor.py for the order of things.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import IO

from resilience.lab.autoscaler import AutoscalePolicy
from resilience.lab.handshake import STOP, STOP_BUDGET_S, system_of
from resilience.lab.options import LabOptions
from resilience.lab.probing import instances_now
from resilience.lab.rundir import sweep_run_directories
from resilience.lab.settings import PREFIX, BreakerSettings, SettingsError
from resilience.lab.system import Instance, StackError, System

# A ready line of a lab with the most gateways is a few kilobytes.
_LINE_BYTES = 256 * 1024
_MARGIN_S = 5.0
_LAB_MODULES = ("aiohttp", "asyncpg", "jwt", "redis", "uvloop")


def options_from(
    options: LabOptions | None = None,
    *,
    gateways: int | None = None,
    breaker: str | None = None,
    settings: Mapping[str, str] | None = None,
    autoscale: AutoscalePolicy | None = None,
) -> LabOptions:
    """`options`, else what the environment says (CHAOS_SPIKE_LAB_BREAKER...), with the words given explicitly.

    `settings` are of the services, such as {"db_pool": "4"} for CHAOS_SPIKE_LAB_DB_POOL.
    """
    if options is None:
        try:
            options = LabOptions(breaker=BreakerSettings.from_environ(os.environ))
        except SettingsError as error:
            raise StackError(str(error)) from error
    if gateways is not None:
        options = replace(options, gateways=gateways)
    if breaker is not None:
        options = replace(options, breaker=replace(options.breaker, library=breaker))
    if settings:
        if (limit := settings.get("call_timeout_ms")) is not None:
            options = replace(options, breaker=replace(options.breaker, timeout_ms=int(limit)))
        options = replace(options, environ=lab_environ(settings))
    if autoscale is not None:
        options = replace(options, autoscale=autoscale)
    return options


def lab_environ(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings of the services by the names of their variables."""
    return {f"{PREFIX}{name.upper()}": value for name, value in settings.items()}


def check_lab_extra() -> None:
    """StackError if what the lab's services import is not installed."""
    missing = [module for module in _LAB_MODULES if importlib.util.find_spec(module) is None]
    if missing:
        raise StackError(f"the embedded lab needs {', '.join(missing)}: pip install 'chaos-spike[lab]'")


class EmbeddedStack:
    """A `Stack` on this host. One lab at a time; it may be brought up again after `down`."""

    def __init__(
        self,
        options: LabOptions | None = None,
        *,
        gateways: int | None = None,
        breaker: str | None = None,
        settings: Mapping[str, str] | None = None,
        autoscale: AutoscalePolicy | None = None,
    ) -> None:
        self._options = options_from(
            options, gateways=gateways, breaker=breaker, settings=settings, autoscale=autoscale
        )
        self._supervisor: asyncio.subprocess.Process | None = None
        self._system: System | None = None

    def describe(self) -> str:
        """Such as "embedded lab: 2 gateways, breaker purgatory"."""
        gateways = f"{self._options.gateways} gateway{'s' if self._options.gateways > 1 else ''}"
        return f"embedded lab: {gateways}, breaker {self._options.breaker.library}"

    async def up(self) -> System:
        """Start the lab; StackError, with nothing left behind, if it does not come up."""
        if self._supervisor is not None:
            raise StackError("this lab is already up")
        self._options.check()
        check_lab_extra()
        with tempfile.TemporaryFile() as errors:
            self._supervisor = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "resilience.lab.supervisor"),
                *("--options", json.dumps(self._options.to_json())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                limit=_LINE_BYTES,
            )
            try:
                self._system = await self._answer(self._supervisor, errors)
            except BaseException:
                await asyncio.shield(self.down())
                raise
        return self._system

    async def _answer(self, supervisor: asyncio.subprocess.Process, errors: IO[bytes]) -> System:
        assert supervisor.stdout is not None  # it is a pipe
        try:
            async with asyncio.timeout(self._options.start_timeout_s + STOP_BUDGET_S + _MARGIN_S):
                line = await supervisor.stdout.readline()
        except TimeoutError:
            raise StackError("the lab's supervisor did not answer") from None
        if line:
            return system_of(line)
        await supervisor.wait()
        errors.seek(0)
        tail = errors.read().decode(errors="replace").splitlines()[-15:]
        raise StackError("the lab's supervisor died; its last log lines:\n" + "\n".join(tail))

    async def down(self) -> None:
        """End the lab and wait until it is gone; harmless when none is up."""
        supervisor, self._supervisor, self._system = self._supervisor, None, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None  # it is a pipe
        with contextlib.suppress(ConnectionError):
            supervisor.stdin.write(STOP)
            await supervisor.stdin.drain()
        supervisor.stdin.close()
        try:
            async with asyncio.timeout(STOP_BUDGET_S + _MARGIN_S):
                await supervisor.wait()
        except TimeoutError:
            # Frozen or lost: its children die with it, and what they leave is swept.
            supervisor.send_signal(signal.SIGKILL)
            await supervisor.wait()
            await asyncio.to_thread(sweep_run_directories, os.environ)

    async def instances(self) -> tuple[Instance, ...]:
        """The instances with their current boot ids, asked on their admin ports."""
        return () if self._system is None else await instances_now(self._system.instances)
