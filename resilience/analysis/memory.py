"""Growth of a service's memory over a run. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

MIN_SAMPLES = 10


def memory_growth_bytes(samples: Iterable[Mapping[str, Any]]) -> float | None:
    """Median of the last tenth minus median of the first tenth of the samples, per process, summed; None if too few.

    `samples` are `resource` events of one service, in order of time.
    """
    by_process: dict[int, list[int]] = defaultdict(list)
    for sample in samples:
        if "rss_bytes" in sample:
            by_process[int(sample["pid"])].append(int(sample["rss_bytes"]))
    grown = [_growth(sizes) for sizes in by_process.values() if len(sizes) >= MIN_SAMPLES]
    return sum(grown) if grown else None


def _growth(sizes: list[int]) -> float:
    tenth = max(1, len(sizes) // 10)
    return statistics.median(sizes[-tenth:]) - statistics.median(sizes[:tenth])
