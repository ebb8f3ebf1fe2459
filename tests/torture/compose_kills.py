"""Runners killed at random moments, on docker-compose: the lab in containers, Shopify's Toxiproxy in front of its price service.

The lab comes up once and is taken down at the end, whatever happens. One runner after the other breaks its Toxiproxy and is killed, as in
`kills`; the fallback for a control API that does not answer (restart that container) is declared as a plan's run declares it.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from kills import Trial, report, trial

from faults.undo import Undo
from resilience.lab.compose.stack import ComposeStack
from resilience.lab.system import ProxyPoint


class ToxiproxyTarget:
    """One proxy of a server that counts nothing: a late request shows as a fault that is seen after the thaw."""

    def __init__(self, point: ProxyPoint) -> None:
        self._point = point

    @property
    def arguments(self) -> tuple[str, str, str]:
        """As a run on compose tells its faults."""
        undo = Undo("docker.restart", {"engine": self._point.engine, "container": self._point.container})
        return self._point.admin_url, self._point.upstream, json.dumps(undo.to_json())

    def clean(self) -> bool:
        """Ask the server; one that does not answer is not clean."""
        try:
            proxy = self._asked()
        except OSError:
            return False
        return bool(proxy["enabled"]) and not proxy["toxics"]

    def left(self) -> str:
        """What the server says."""
        try:
            return json.dumps(self._asked())
        except OSError as error:
            return str(error)

    def injections_since(self, moment_ns: int) -> int:
        """Nobody counts them here."""
        del moment_ns
        return 0

    def _asked(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._point.admin_url}/proxies", timeout=2) as answer:
            proxies: dict[str, dict[str, Any]] = json.load(answer)
        return proxies[self._point.proxy]


def run_compose_kills(count: int, seed: int) -> dict[str, Any]:
    """Kill `count` runners, one after the other."""
    return asyncio.run(_run(count, seed))


async def _run(count: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="chaos-spike-torture-") as folder:
        stack = ComposeStack(state_dir=Path(folder))
        system = await stack.up()
        try:
            target = ToxiproxyTarget(system.proxies["pricing"])
            trials: list[Trial] = []
            for number in range(count):
                dice = random.Random(seed * 100_003 + number)
                trials.append(await asyncio.to_thread(trial, number, dice, target))
        finally:
            await stack.down()
    return {**report(trials), "late_requests_of_thawed_runners": "not counted by this server"}
