"""From a plan's load streams to what the load workers are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from resilience.load.model import PhaseWindow, Stream
from resilience.plan.addresses import resolved, unknown_addresses
from resilience.plan.arrivals import shape_of
from resilience.plan.calls import request_of
from resilience.plan.schema import Plan
from resilience.plan.templates import leading_name
from resilience.plan.timeline import Timeline


def load_phases(timeline: Timeline) -> tuple[PhaseWindow, ...]:
    """The phases as the workers account for them."""
    return tuple(PhaseWindow(p.name, p.start_ns, p.end_ns, p.judge) for p in timeline.phases)


def load_streams(
    plan: Plan, timeline: Timeline, base_url: str, seed: int, told: Mapping[str, str] | None = None
) -> tuple[Stream, ...]:
    """All streams of a plan; relative URLs are taken from the system's base URL, names in braces from what it tells."""
    recorded = {breaker.load for breaker in plan.breakers.values()}
    headers = {breaker.load: breaker.header for breaker in plan.breakers.values()}
    addresses = resolved(plan, base_url, told or {})
    return tuple(
        Stream(
            name=name,
            shape=shape_of(timeline.segments[name], timeline.shapes.get(name)),
            arrival=stream.arrival,
            request=request_of(stream, addresses, headers.get(name)),
            deadline_ns=stream.call.deadline,
            timeout_ns=stream.call.timeout,
            record_calls=name in recorded,
            in_flight_cap=stream.in_flight,
            connections=stream.connections,
            # Streams must not share a sequence of random numbers, and must keep theirs when others come or go.
            seed=seed ^ int.from_bytes(name.encode()[:6], "big"),
        )
        for name, stream in plan.load.items()
    )


def missing_addresses(plan: Plan, base_url: str, told: Mapping[str, str]) -> tuple[str, ...]:
    """Addresses that the plan's loads use and the system that is up does not have."""
    nowhere = unknown_addresses(resolved(plan, base_url, told))
    calls = (stream.call for stream in plan.load.values())
    used = {leading_name(str(getattr(call, key, ""))) for call in calls for key in ("url", "dsn")}
    return tuple(sorted(name for name in used if name in nowhere))
