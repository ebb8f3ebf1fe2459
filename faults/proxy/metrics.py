"""Prometheus metrics under Toxiproxy's names: bytes received and sent, per direction, proxy, listener and upstream.

Counts of connections that are gone are kept; those of open ones are read when asked, so that the data plane does no
more than add to an integer per read. (Toxiproxy counts a connection only once it has ended.) Runtime metrics are
those of this process: Python's, under prometheus-client's names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from faults.model import Direction
from faults.proxy.connection import Connection
from faults.proxy.listener import Listener
from faults.proxy.store import StoredProxy

__all__ = ["ByteTotals", "Metrics"]

_LABELS = ("direction", "proxy", "listener", "upstream")
_Key = tuple[str, str, str, str]


class ByteTotals:
    """Bytes by labels, of connections that are gone."""

    def __init__(self) -> None:
        self.gone: dict[_Key, tuple[int, int]] = {}

    def add(self, proxy: StoredProxy, connection: Connection) -> None:
        """Count a connection that has ended."""
        _add(self.gone, proxy, connection)

    def with_open(
        self, proxies: Mapping[str, StoredProxy], listeners: Mapping[str, Listener]
    ) -> dict[_Key, tuple[int, int]]:
        """Return all totals, open connections included."""
        totals = dict(self.gone)
        for name, listener in listeners.items():
            for connection in listener.connections:
                _add(totals, proxies[name], connection)
        return totals


def _add(totals: dict[_Key, tuple[int, int]], proxy: StoredProxy, connection: Connection) -> None:
    for direction in Direction:
        link = connection.link(direction)
        key = (direction.value, proxy.name, proxy.listen, proxy.upstream)
        received_bytes, sent_bytes = totals.get(key, (0, 0))
        totals[key] = (received_bytes + link.source.received_bytes, sent_bytes + link.sent_bytes)


class Metrics(Collector):
    """What GET /metrics answers; `proxies` and `runtime` say which families there are."""

    def __init__(
        self,
        totals: ByteTotals,
        stored: Mapping[str, StoredProxy],
        listeners: Mapping[str, Listener],
        *,
        proxies: bool,
        runtime: bool,
    ) -> None:
        self._totals = totals
        self._stored = stored
        self._listeners = listeners
        self._registry = CollectorRegistry()
        if proxies:
            self._registry.register(self)
        if runtime:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)
            GCCollector(registry=self._registry)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Give the families to prometheus-client."""
        received = CounterMetricFamily(
            "toxiproxy_proxy_received_bytes", "Bytes read from the source", labels=_LABELS
        )
        sent = CounterMetricFamily(
            "toxiproxy_proxy_sent_bytes", "Bytes written to the destination", labels=_LABELS
        )
        for key, (received_bytes, sent_bytes) in sorted(
            self._totals.with_open(self._stored, self._listeners).items()
        ):
            received.add_metric(key, received_bytes)
            sent.add_metric(key, sent_bytes)
        yield received
        yield sent

    def exposition(self) -> tuple[bytes, str]:
        """Return the body and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
