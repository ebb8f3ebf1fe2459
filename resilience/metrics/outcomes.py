"""What can become of one operation that a plan offered: exactly one of these twelve, always.

The categories are exclusive and exhaustive, so that for every stream, phase and second

    offered = ok + degraded + shed + 4xx + 5xx + connect + timeout + reset + protocol + wrong_data + dropped + unfinished

holds: the conservation law that `validity` checks. `offered` is counted from the schedule as it is consumed, the
categories when operations end; the law therefore says something.

`late` and `good` are overlays, not categories: late = ok or degraded after the deadline; good = ok within it.
"""

from typing import Final

OK: Final = "ok"
"""Answered, with an expected status and content, not degraded."""
DEGRADED: Final = "degraded"
"""Answered as expected, but marked by the target as a fallback."""
SHED: Final = "shed"
"""Refused on purpose: 429 or 503 (or a client-side breaker that is open)."""
CLIENT_ERROR: Final = "4xx"
SERVER_ERROR: Final = "5xx"
CONNECT: Final = "connect"
"""No connection: refused, unreachable, name not found, TLS handshake failed, or no connection within the time-out."""
TIMEOUT: Final = "timeout"
"""A connection was had, and no complete answer within the time-out."""
RESET: Final = "reset"
"""The connection was closed or reset before the answer was complete."""
PROTOCOL: Final = "protocol"
"""The peer does not speak the protocol: garbage, endless headers."""
WRONG_DATA: Final = "wrong_data"
"""A well-formed answer that the plan did not expect."""
DROPPED: Final = "dropped"
"""Due, but never started: the stream was at its in-flight cap. A failed arrival."""
UNFINISHED: Final = "unfinished"
"""Still running when the run ended: a right-censored failure."""

CATEGORIES: Final[tuple[str, ...]] = (
    OK,
    DEGRADED,
    SHED,
    CLIENT_ERROR,
    SERVER_ERROR,
    CONNECT,
    TIMEOUT,
    RESET,
    PROTOCOL,
    WRONG_DATA,
    DROPPED,
    UNFINISHED,
)
"""All categories; an outcome's code on the hot path is its index here."""

CODE: Final[dict[str, int]] = {name: code for code, name in enumerate(CATEGORIES)}

COUNTERS: Final[tuple[str, ...]] = ("offered", "attempts", *CATEGORIES, "late", "good")
"""Every key of a bin's `n`."""

HISTOGRAMS: Final[tuple[str, ...]] = (
    "r",
    "service",
    "lag",
    "degraded_r",
    "shed_r",
    "failed_r",
    "pool",
    "connect",
)
"""Every histogram of a bin, in nanoseconds.

r: response time (done - intended) of ok and degraded operations. degraded_r: of degraded ones alone. shed_r: of shed
ones. failed_r: time until every other operation that was started had failed. service: done - sent, of ok and degraded.
lag: start - intended, of all that were started. pool: acquired - start, of all that got a connection. connect: how long
new connections took.
"""
