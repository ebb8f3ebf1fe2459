"""The gateway's Prometheus metrics, in a registry of their own: nothing global, so a process may hold several."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from resilience.lab.breakers.base import CLOSED, HALF_OPEN, OPEN
from resilience.lab.gateway.quotes import BREAKER_NAME

_STATE_VALUES = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Counters that the routes feed, and gauges that are read when somebody asks."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "lab_requests_total", "Requests answered", ["route", "status"], registry=self.registry
        )
        self._durations = Histogram(
            "lab_request_seconds", "Time to answer", ["route"], buckets=_BUCKETS, registry=self.registry
        )
        self._quotes = Counter("lab_quotes_total", "Quotes by outcome", ["outcome"], registry=self.registry)
        self._transitions = Counter(
            "lab_breaker_transitions_total", "Breaker transitions", ["breaker", "to"], registry=self.registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the pattern, never the path."""
        self._requests.labels(route, str(status)).inc()
        self._durations.labels(route).observe(seconds)

    def quoted(self, outcome: str) -> None:
        """Count one quote: live, failed, rejected or late."""
        self._quotes.labels(outcome).inc()

    def transition(self, breaker: str, target: str) -> None:
        """Count one breaker transition."""
        self._transitions.labels(breaker, target).inc()

    def watch(
        self,
        *,
        state: Callable[[], str] | None,
        sockets: Callable[[], int],
        pool: Callable[[], tuple[int, int]],
    ) -> None:
        """Add gauges that ask when they are scraped. `state` is the breaker's, if there is one."""
        if state is not None:
            gauge = Gauge(
                "lab_breaker_state", "0 closed, 1 half-open, 2 open", ["breaker"], registry=self.registry
            )
            gauge.labels(BREAKER_NAME).set_function(lambda: _STATE_VALUES[state()])
        Gauge("lab_websockets", "Live sockets", registry=self.registry).set_function(sockets)
        Gauge("lab_db_connections", "Open database connections", registry=self.registry).set_function(
            lambda: pool()[0]
        )
        Gauge("lab_db_connections_idle", "Idle database connections", registry=self.registry).set_function(
            lambda: pool()[1]
        )

    async def scrape(self, _request: web.Request) -> web.Response:
        """`/metrics`."""
        return web.Response(
            body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
