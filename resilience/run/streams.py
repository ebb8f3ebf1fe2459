"""From a plan's load streams to what the load workers are told. Pure."""

from __future__ import annotations

from resilience.load.model import PhaseWindow, RateSegment, Stream
from resilience.plan.requests import http_request
from resilience.plan.schema import Plan
from resilience.plan.timeline import Timeline


def load_phases(timeline: Timeline) -> tuple[PhaseWindow, ...]:
    """The phases as the workers account for them."""
    return tuple(PhaseWindow(p.name, p.start_ns, p.end_ns, p.judge) for p in timeline.phases)


def load_streams(plan: Plan, timeline: Timeline, base_url: str, seed: int) -> tuple[Stream, ...]:
    """All streams of a plan; relative URLs are taken from the system's base URL."""
    recorded = {breaker.load for breaker in plan.breakers.values()}
    headers = {breaker.load: breaker.header for breaker in plan.breakers.values()}
    return tuple(
        Stream(
            name=name,
            shape=tuple(
                RateSegment(s.start_ns, s.end_ns, s.start_per_s, s.end_per_s) for s in timeline.segments[name]
            ),
            arrival=stream.arrival,
            request=http_request(stream.http, base_url, headers.get(name)),
            deadline_ns=stream.http.deadline,
            timeout_ns=stream.http.timeout,
            record_calls=name in recorded,
            in_flight_cap=stream.in_flight,
            connections=stream.connections,
            # Streams must not share a sequence of random numbers, and must keep theirs when others come or go.
            seed=seed ^ int.from_bytes(name.encode()[:6], "big"),
        )
        for name, stream in plan.load.items()
    )
