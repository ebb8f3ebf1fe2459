"""Series over time: each load's rates, outcomes and response times, the processes' resources, calls per dependency.

Loads come from the exact per-second bins of the run record. A long run is drawn with bins of several seconds, merged
from the same histograms and not averaged, so that no quantile is invented; the tables are never thinned.

A bin in which nothing was offered has rates of zero and response times of NaN: there was nothing to be slow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from resilience.metrics.fold import Bin, LoadTable, Summary, summarise
from resilience.report.texts import clean, number, seconds_since, text
from resilience.report.values import LoadSeries, TimeSeries

MOST_BINS = 600
"""Bins drawn of one load: finer than a pixel is not seen, and the page has to stay small."""

ERRORS = ("4xx", "5xx", "connect", "reset", "protocol", "wrong_data", "dropped", "unfinished")
"""The outcome categories that are drawn as one: errors of any kind other than a time-out."""

Event = Mapping[str, Any]


def load_series(
    table: LoadTable, name: str, duration_s: float, objective_ms: float | None = None
) -> LoadSeries:
    """Fold one load into at most MOST_BINS bins from 0 to `duration_s` (seconds)."""
    bin_s = max(1, math.ceil(duration_s / MOST_BINS))
    starts = range(0, max(1, math.ceil(duration_s)), bin_s)
    merged = {start: Bin() for start in starts}
    for second, found in table.seconds(name):
        # A worker may be a little late with the last second of a run; what is due before time zero is not drawn.
        if second >= 0:
            merged[min(second // bin_s * bin_s, starts[-1])].add(found)
    bins = [summarise(merged[start], bin_s) for start in starts]

    def rate(*categories: str) -> tuple[float, ...]:
        return tuple(sum(each.counts.get(category, 0) for category in categories) / bin_s for each in bins)

    return LoadSeries(
        name=clean(name),
        bin_s=float(bin_s),
        start_s=tuple(float(start) for start in starts),
        offered_per_s=rate("offered"),
        completed_per_s=tuple(each.throughput_per_s for each in bins),
        goodput_per_s=rate("good"),
        outcomes={
            "ok": rate("ok"),
            "degraded": rate("degraded"),
            "shed": rate("shed"),
            "error": rate(*ERRORS),
            "timeout": rate("timeout"),
        },
        p50_ms=_quantiles(bins, "p50_ms"),
        p95_ms=_quantiles(bins, "p95_ms"),
        p99_ms=_quantiles(bins, "p99_ms"),
        max_ms=_quantiles(bins, "max_ms"),
        objective_ms=objective_ms,
    )


def _quantiles(bins: Iterable[Summary], name: str) -> tuple[float, ...]:
    values = (getattr(each, name) for each in bins)
    return tuple(math.nan if value is None else float(value) for value in values)


def resource_series(events: Iterable[Event], epoch_ns: int) -> tuple[TimeSeries, ...]:
    """Give resident memory (MiB) and processor use (cores) a service: its processes of the same second summed."""
    newest: dict[tuple[str, str], dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for event in events:
        moment = seconds_since(event.get("at", event.get("t")), epoch_ns)
        if event.get("kind") != "resource" or moment is None:
            continue
        service, second = text(event.get("service"), "?"), math.floor(moment[1])
        for field, unit, scale in (("rss_bytes", "MiB", 2.0**-20), ("cpu", "cores", 1.0)):
            value, pid = number(event.get(field)), event.get("pid")
            if value is not None:
                newest[service, unit][second][pid if isinstance(pid, int) else 0] = value * scale
    return tuple(
        TimeSeries(
            name=service,
            unit=unit,
            at_s=tuple(float(second) for second in sorted(seconds)),
            values=tuple(sum(seconds[second].values()) for second in sorted(seconds)),
        )
        for (service, unit), seconds in sorted(newest.items())
    )


def scale_series(events: Iterable[Event], epoch_ns: int) -> tuple[TimeSeries, ...]:
    """Give how many of the instances that an autoscaler started were ready; empty where none was watched or nothing changed."""
    changes: list[tuple[float, int]] = []
    for event in events:
        moment = seconds_since(event.get("at", event.get("t")), epoch_ns)
        change = (
            {"ready": 1, "leaving": -1}.get(str(event.get("step"))) if event.get("kind") == "scale" else None
        )
        if moment is not None and change:
            changes.append((moment[1], change))
    if not changes:
        return ()
    at_s, values = [0.0], [0.0]
    for when, change in sorted(changes):
        at_s.append(max(0.0, when))
        values.append(values[-1] + change)
    return (TimeSeries("ready, of those added", "instances", tuple(at_s), tuple(values)),)


def socket_series(events: Iterable[Event], epoch_ns: int) -> tuple[TimeSeries, ...]:
    """Give the sockets that each service says it has open, its instances of the same second summed; empty where it never had one."""
    newest: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for event in events:
        moment = seconds_since(event.get("at", event.get("t")), epoch_ns)
        value = number(event.get("sockets"))
        if event.get("kind") == "health" and moment is not None and moment[1] >= 0 and value is not None:
            second = math.floor(moment[1])
            newest[text(event.get("service"), "?")][second][text(event.get("instance"))] = value
    found = (
        TimeSeries(
            service,
            "sockets",
            tuple(float(second) for second in sorted(seconds)),
            tuple(sum(seconds[second].values()) for second in sorted(seconds)),
        )
        for service, seconds in sorted(newest.items())
    )
    return tuple(each for each in found if any(each.values))


def dependency_series(
    taps: Iterable[tuple[str, Iterable[Event]]], epoch_ns: int, duration_s: float
) -> tuple[TimeSeries, ...]:
    """Give the rate of requests that left the caller for each dependency, from (proxy, its tap's records)."""
    width = max(1, math.ceil(duration_s / MOST_BINS))
    starts = range(0, max(1, math.ceil(duration_s)), width)
    found: list[TimeSeries] = []
    for proxy, records in taps:
        counts: dict[int, int] = defaultdict(int)
        for record in records:
            moment = seconds_since(record.get("at"), epoch_ns) if record.get("kind") == "arrival" else None
            if moment is not None:
                counts[math.floor(moment[1] / width) * width] += 1
        if counts:
            rates = tuple(counts.get(start, 0) / width for start in starts)
            found.append(TimeSeries(clean(proxy), "per s", tuple(float(start) for start in starts), rates))
    return tuple(found)
