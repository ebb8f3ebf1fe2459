"""How a specification is written: each key, the field it sets, and how its value is read.

A reader takes what stood in the file and gives the value of the field (durations in nanoseconds), or raises ValueError
with a sentence about what would do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

NS_PER_MS: Final = 1_000_000


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number, at least {least}, not {value!r}")
        return value

    return read


def _ms(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e12:
        raise ValueError(f"must be milliseconds, not {value!r}")
    return round(value * NS_PER_MS)


def _number(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}, not {value!r}")
        return float(value)

    return read


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")  # noqa: TRY004 - the caller turns ValueError into SpecError
    return value


def _permits(value: Any) -> int | None:
    return None if value == "unbounded" or value is None else _whole(1)(value)


_CLASS: Final = _one_of("failure", "success", "neutral", "any")

KEYS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "trip": ("trip", _one_of("consecutive", "count", "time", "never")),
    "failures": ("failures", _whole(1)),
    "window": ("window", _whole(1)),
    "window_ms": ("window_ns", _ms),
    "bucket_ms": ("bucket_ns", _ms),
    "tumbling": ("tumbling", _flag),
    "tumbling_from": ("tumbling_from", _one_of("closing", "activity")),
    "trips_on": ("trips_on", _one_of("any", "failure")),
    "counted_at": ("counted_at", _one_of("outcome", "start")),
    "window_survives": ("window_survives", _flag),
    "minimum_calls": ("minimum_calls", _whole(0)),
    "ratio": ("ratio", _number(0, 1)),
    "strictly_above": ("strictly_above", _flag),
    "slow_ms": ("slow_ns", _ms),
    "slow_ratio": ("slow_ratio", _number(0, 1)),
    "rejections_count": ("rejections_count", _flag),
    "evaluation_ms": ("evaluation_ns", _ms),
    "timeout_as": ("timeout_as", _CLASS),
    "cancelled_as": ("cancelled_as", _CLASS),
    "excluded_as": ("excluded_as", _CLASS),
    "timeout_ms": ("timeout_ns", _ms),
    "wait_ms": ("wait_ns", _ms),
    "wait_max_ms": ("wait_max_ns", _ms),
    "backoff": ("backoff", _number(1, 1000)),
    "wait_cap_ms": ("wait_cap_ns", _ms),
    "entry": ("entry", _one_of("lazy", "timer", "on_read")),
    "late_failure_restarts_wait": ("late_failure_restarts_wait", _flag),
    "late_failure_opens": ("late_failure_opens", _flag),
    "late_failure_may_restart": ("late_failure_may_restart", _flag),
    "success_while_open_closes": ("success_while_open_closes", _flag),
    "permitted": ("permitted", _permits),
    "probes": ("probes", _one_of("concurrent", "total", "serialised", "probabilistic")),
    "excess": ("excess", _one_of("rejects", "queues")),
    "dwell_ms": ("dwell_ns", _ms),
    "dwell_leads_to": ("dwell_leads_to", _one_of("open", "closed")),
    "successes": ("successes", _whole(1)),
    "results": ("results", _whole(1)),
    "successes_of": ("successes_of", _whole(1)),
    "close_ratio": ("close_ratio", _number(0, 1)),
    "reopen_on_failure": ("reopen_on_failure", _flag),
    "stale": ("stale", _one_of("ignored", "counted", "either")),
    "stale_frees_permit": ("stale_frees_permit", _flag),
    "manual": ("manual", _one_of("reported", "possible")),
    "instances": ("instances", _whole(1)),
    "scope": ("scope", _one_of("instance", "shared")),
    "reject_ms": ("reject_ns", _ms),
    "half_open_event": ("half_open_event", _one_of("entry", "probe_end", "none")),
    "events": ("events", _flag),
    "event_delay_ms": ("event_delay_ns", _ms),
    "self_loops": ("self_loops", _flag),
    "openings_max": ("openings_max", _whole(0)),
    "horizon_ms": ("horizon_ns", _ms),
    "eps_ms": ("eps_ns", _ms),
    "delta_ms": ("delta_ns", _ms),
}
