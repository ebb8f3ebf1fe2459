"""`SpikeLoadGenerator`: the engine for people who write Python, not plans.

    generator = SpikeLoadGenerator("http://127.0.0.1:8080/quote/{i}", deadline_s=0.5)
    metrics = await generator.run(spike(50, 400, before_s=5, rise_s=2, hold_s=10, fall_s=2, after_s=5))
    assert metrics.valid, metrics.validity.reasons
    assert metrics.overall.p99_ms < 300

The load comes from worker processes, as in a plan's run; nothing of it runs on the caller's event loop but reading messages. With
`cluster="tcp://scheduler:8786"` they are those of a dask cluster, and schedule, counts and figures the same.
"""

import asyncio
import secrets
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

from resilience.load import schedule
from resilience.load.cluster import ClusterEngine
from resilience.load.engine import LoadEngine, OnMessage
from resilience.load.model import Arrival, PhaseWindow, Shape, Stream, run_end_ns
from resilience.load.requests import HttpRequest, Request, only_from_here
from resilience.metrics.gathered import CALLS_KEPT, Gathered
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
        workers: int | None = None,
        cluster: str = "",
        arrival: Arrival = "uniform",
        seed: int = 0,
        record_calls: bool = False,
        calls_kept: int = CALLS_KEPT,
    ) -> None:
        """Say what to drive; a text is the URL of a GET. Times in seconds; see `Stream` for what they bound.

        `cluster` is the address of a dask scheduler (extra `cluster`). `workers` are processes of this machine, 1 if nothing is
        said, or the first so many of the cluster's workers, by their addresses, else all of them.
        With `record_calls` at most `calls_kept` rows are kept of a run, a uniform sample where there are more. Raises ValueError
        for fewer than one worker.
        """
        if workers is not None and workers < 1:
            raise ValueError(f"workers is {workers}: a load needs one or more processes")
        self._request = HttpRequest(url=request) if isinstance(request, str) else request
        self._name = name
        self._deadline_ns = round(deadline_s * 1e9)
        self._timeout_ns = round(timeout_s * 1e9)
        self._connections = connections
        self._in_flight_cap = in_flight_cap
        self._workers = workers
        self._cluster = cluster
        self._arrival: Arrival = arrival
        self._seed = seed
        self._record_calls = record_calls
        self._calls_kept = calls_kept

    async def run(
        self, shape: Shape, phases: Sequence[PhaseWindow] = (), *, on_message: OnMessage | None = None
    ) -> SpikeLoadMetrics:
        """Offer a shape and wait until everything has ended.

        Without `phases` there is one, "all", as long as the shape, and until the last WebSocket user has left. What is kept of the
        run is bounded; `on_message` sees every message of the workers as it comes. Raises EngineError if the workers cannot be started;
        one that is lost or late later on makes the metrics invalid, and is named there.
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
        gathered = Gathered(windows, end_ns=end_ns, calls_kept=self._calls_kept, seed=self._seed)

        def take(message: dict[str, Any]) -> None:
            gathered.take(message)
            if on_message is not None:
                on_message(message)

        async with self._engine(stream, windows, take) as engine:
            await engine.prepare()
            epoch_ns = monotonic_ns() + (engine.lead_ns if isinstance(engine, ClusterEngine) else _LEAD_NS)
            gathered.begin(epoch_ns)
            await engine.start(epoch_ns)
            await engine.finish((end_ns + self._timeout_ns) / 1e9 + _MARGIN_S)
        scheduled = {self._name: schedule.counts_by_phase(stream, windows)}
        validity = judge_validity(gathered.table, scheduled, gathered.reports, windows)
        return SpikeLoadMetrics.of(self._name, windows, gathered, validity)

    def _engine(
        self, stream: Stream, windows: Sequence[PhaseWindow], take: OnMessage
    ) -> LoadEngine | ClusterEngine:
        run_id = secrets.token_hex(4)
        if not self._cluster:
            return LoadEngine([stream], windows, workers=self._workers or 1, run_id=run_id, on_message=take)
        return ClusterEngine(
            [stream],
            windows,
            address=self._cluster,
            workers=self._workers or 0,
            run_id=run_id,
            on_message=take,
            this_host=only_from_here(self._request),
        )

    def run_blocking(
        self, shape: Shape, phases: Sequence[PhaseWindow] = (), *, on_message: OnMessage | None = None
    ) -> SpikeLoadMetrics:
        """`run` for code without an event loop."""
        return asyncio.run(self.run(shape, phases, on_message=on_message))
