"""How punctual the engine is, on a machine that has nothing else to do.

A herd of 500 users on connections that were opened beforehand: from the first to the last request written. And a steady 5,000/s
from one worker: lag, the time from when a request was due to when it was started. Both are figures of the generator alone; the
target is nginx on another core.
"""

from functools import partial

from bench.drive import S, drive, stream_of
from bench.neighbours import Neighbours
from bench.rows import Row, measured, skipped
from bench.target import target
from resilience.load.model import Herd, RateSegment

HERD = 500
RATE = 5_000.0
SECONDS = 5
SPREAD_MS = 20.0
LAG_MS = 3.0


def main(rounds: int = 5) -> list[Row]:
    """The rows of this benchmark."""
    spreads: list[float] = []
    lags: list[float] = []
    longest: list[float] = []
    neighbours = Neighbours()
    with target() as served:
        for _ in range(rounds):
            spreads.append(neighbours.quietly(partial(_spread_ms, served.url), [served.pid]))
            lag_ms, max_ms = neighbours.quietly(partial(_lag_ms, served.url), [served.pid])
            lags.append(lag_ms)
            longest.append(max_ms)
    unit = "ms from the first to the last write"
    return [
        measured(f"herd of {HERD} on open connections", spreads, unit, at_most=SPREAD_MS),
        measured(
            f"lag p99 at {RATE:.0f}/s from one worker", lags, "ms", at_most=LAG_MS, longest_ms=max(longest)
        ),
        skipped("punctuality, neighbours", neighbours.told(), rounds),
    ]


def _spread_ms(url: str) -> float:
    driven = drive(stream_of(url, Herd(HERD, S), connections=HERD), seconds=2)
    if driven.total.counts["good"] != HERD:
        raise RuntimeError(f"the herd was not answered: {driven.total.counts}")
    (end,) = driven.kind("end")
    return float(end["herd_spread_ns"]) / 1e6


def _lag_ms(url: str) -> tuple[float, float]:
    shape = (RateSegment(0, SECONDS * S, RATE, RATE),)
    lag = drive(stream_of(url, shape, connections=64), seconds=SECONDS).total.histograms["lag"]
    return (lag.quantile(0.99) or 0) / 1e6, (lag.max() or 0) / 1e6
