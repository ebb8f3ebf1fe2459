"""Every way in which a breaker of somebody else's can be watched, by the key under `observe:` that asks for it.

Adding one is a module with a reader and a line in `REMOTE`. An address may hold `{instance}` and `{name}`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import quote

from resilience.breaker.observers.base import Emit
from resilience.breaker.observers.envoy import OutlierReader
from resilience.breaker.observers.gobreaker import CountsReader
from resilience.breaker.observers.mapped import Fields, MappedEvents, MappedState
from resilience.breaker.observers.opossum import OpossumStates, opossum_events
from resilience.breaker.observers.polling import PolledObserver, Reader, Subject
from resilience.breaker.observers.prometheus import MetricsReader
from resilience.breaker.observers.resilience4j import TOTALS, ActuatorEvents, ActuatorStates, ActuatorTotal
from resilience.breaker.observers.streaming import StreamObserver


class Observer(Protocol):
    """What the run starts and ends."""

    @property
    def source(self) -> Mapping[str, str]:
        """What a gap of it is a gap of."""

    def run(self, emit: Emit) -> Coroutine[Any, Any, None]:
        """Emit lines until cancelled."""


@dataclass(frozen=True, slots=True)
class Request:
    """One observation that a plan asks for: where, of whom, how often, and where in the answers the words are."""

    url: str
    subject: Subject
    interval_s: float = 0.2
    fields: Fields = Fields()  # noqa: RUF009 - frozen

    @property
    def address(self) -> str:
        """The URL for this instance."""
        url = self.url.replace("{name}", self.subject.name)
        return url if self.subject.instance is None else url.replace("{instance}", self.subject.instance)


Make = Callable[[Request], tuple[Observer, ...]]


_TOTALS_S: Final = 1.0
"""Totals are asked for no more often: each is a request of its own, and the next answer makes up for one that did not come."""


def _polled(reads: str, reader: Callable[[Subject], Reader], path: str = "", *, least_s: float = 0.0) -> Make:
    def make(request: Request) -> tuple[Observer, ...]:
        # One that is called "a&b" is not to be asked for as "a".
        url = request.address.rstrip("/") + path.replace("{name}", quote(request.subject.name, safe=""))
        return (
            PolledObserver(
                reads,
                url,
                request.subject,
                reader(request.subject),
                interval_s=max(request.interval_s, least_s),
            ),
        )

    return make


def _both(*makers: Make) -> Make:
    return lambda request: tuple(observer for make in makers for observer in make(request))


def _opossum_stream(request: Request) -> tuple[Observer, ...]:
    return (StreamObserver(request.address, request.subject, opossum_events(request.subject)),)


def _mapped_stream(request: Request) -> tuple[Observer, ...]:
    return (StreamObserver(request.address, request.subject, MappedEvents(request.subject, request.fields)),)


def _mapped_poll(request: Request) -> tuple[Observer, ...]:
    reader = MappedState(request.subject, request.fields)
    return (PolledObserver("poll", request.address, request.subject, reader, interval_s=request.interval_s),)


REMOTE: Final[Mapping[str, Make]] = {
    "actuator": _both(
        _polled("events", ActuatorEvents, "/circuitbreakerevents/{name}"),
        _polled("poll", ActuatorStates, "/circuitbreakers"),
        *(
            _polled("totals", partial(ActuatorTotal, name=name), path, least_s=_TOTALS_S)
            for name, path in TOTALS.items()
        ),
    ),
    "prometheus": _polled("events", MetricsReader),
    "opossum": _polled("poll", OpossumStates),
    "opossum_events": _opossum_stream,
    "gobreaker": _polled("poll", CountsReader),
    "envoy": _polled("poll", OutlierReader),
    "json": _mapped_poll,
    "sse": _mapped_stream,
}
