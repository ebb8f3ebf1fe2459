"""`SpikeLoadGenerator`: the engine for people who write Python, not plans.

    generator = SpikeLoadGenerator("http://127.0.0.1:8080/quote/{i}", deadline_s=0.5)
    metrics = await generator.run(spike(50, 400, before_s=5, rise_s=2, hold_s=10, fall_s=2, after_s=5))
    assert metrics.valid, metrics.validity.reasons
    assert metrics.overall.p99_ms < 300

The load comes from worker processes, as in a plan's run; nothing of it runs on the caller's event loop but reading messages.
"""

import asyncio
import secrets
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

from resilience.load import schedule
from resilience.load.engine import LoadEngine
from resilience.load.model import Arrival, PhaseWindow, Shape, Stream, run_end_ns
from resilience.load.requests import HttpRequest, Request
from resilience.metrics.fold import LoadTable
from resilience.metrics.spike_metrics import SpikeLoadMetrics
from resilience.metrics.validity import judge_validity

_LEAD_NS = 50_000_000
"""Between telling the workers the epoch and the epoch: long enough for every worker to have heard it."""
_MARGIN_S = 5.0


class SpikeLoadGenerator:
    """Drives one request, or any other operation, with the shapes that it is given. Can be used again and again."""

    def __init__(
        self,
        request: Request | str,
        *,
        name: str = "load",
        deadline_s: float = 1.0,
        timeout_s: float = 10.0,
        connections: int = 64,
        in_flight_cap: int = 10_000,
        workers: int = 1,
        arrival: Arrival = "uniform",
        seed: int = 0,
        record_calls: bool = False,
    ) -> None:
        """Say what to drive; a text is the URL of a GET. Times in seconds; see `Stream` for what they bound."""
        self._request = HttpRequest(url=request) if isinstance(request, str) else request
        self._name = name
        self._deadline_ns = round(deadline_s * 1e9)
        self._timeout_ns = round(timeout_s * 1e9)
        self._connections = connections
        self._in_flight_cap = in_flight_cap
        self._workers = workers
        self._arrival: Arrival = arrival
        self._seed = seed
        self._record_calls = record_calls

    async def run(self, shape: Shape, phases: Sequence[PhaseWindow] = ()) -> SpikeLoadMetrics:
        """Offer a shape and wait until everything has ended.

        Without `phases` there is one, "all", as long as the shape, and until the last WebSocket user has left. Raises EngineError if the workers cannot be started.
        """
        stream = Stream(
            name=self._name,
            shape=shape,
            arrival=self._arrival,
            request=self._request,
            deadline_ns=self._deadline_ns,
            timeout_ns=self._timeout_ns,
            record_calls=self._record_calls,
            in_flight_cap=self._in_flight_cap,
            connections=self._connections,
            seed=self._seed,
        )
        end_ns = schedule.end_ns(shape) + getattr(self._request, "hold_ns", 0)
        windows = tuple(phases) or (PhaseWindow("all", 0, end_ns),)
        end_ns = max(end_ns, run_end_ns(windows))
        messages: list[dict[str, Any]] = []
        async with LoadEngine(
            [stream], windows, workers=self._workers, run_id=secrets.token_hex(4), on_message=messages.append
        ) as engine:
            await engine.prepare()
            await engine.start(monotonic_ns() + _LEAD_NS)
            await engine.finish((end_ns + self._timeout_ns) / 1e9 + _MARGIN_S)
        table = LoadTable.from_messages(messages, windows)
        scheduled = {self._name: schedule.counts_by_phase(stream, windows)}
        validity = judge_validity(table, scheduled, messages, windows)
        return SpikeLoadMetrics(self._name, windows, table, validity, messages)

    def run_blocking(self, shape: Shape, phases: Sequence[PhaseWindow] = ()) -> SpikeLoadMetrics:
        """`run` for code without an event loop."""
        return asyncio.run(self.run(shape, phases))
