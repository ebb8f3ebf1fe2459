"""By what a call is known on the wire: the value of its correlation header, or of a `traceparent` the trace id in it. Pure.

A service that propagates W3C Trace Context makes a new span for its own call and keeps the trace, so only the trace id is the
same before and behind it. The tap cuts it out likewise.
"""

from __future__ import annotations

from resilience.load.model import request_id

DEFAULT = "X-Request-Id"


def trace_of(value: str, correlate: str) -> str:
    """What identifies a call in the header's value."""
    parts = value.split("-")
    return parts[1] if correlate.lower() == "traceparent" and len(parts) >= 3 else value


def call_id(run_id: str, stream: str, i: int, correlate: str = DEFAULT) -> str:
    """The id under which a tap knows arrival i of a stream."""
    return trace_of(request_id(run_id, stream, i, correlate), correlate)
