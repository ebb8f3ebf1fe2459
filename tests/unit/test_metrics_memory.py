"""What an hour at 20,000/s takes in memory: bins are kept packed, and are unpacked one at a time."""

import tracemalloc
from array import array

import numpy as np

from resilience.load.tally import ROW, Tally
from resilience.metrics.fold import LoadTable
from resilience.metrics.histogram import Histogram

S = 10**9
SECONDS = 120


def second_of(worker, seed):
    """The message of a worker that started and ended 5,000 operations in a second."""
    draw = np.random.default_rng(seed)
    due = np.arange(5_000) * (S // 5_000)
    done = due + draw.lognormal(np.log(8e6), 0.5, 5_000).astype(np.int64)
    tally = Tally("quotes", (), S, 0)
    tally.offer(array("q", due.tolist()))
    tally.fold(
        [
            ROW.pack(d, d + 1_000, d + 2_000, 0, d + 3_000, e, 0)
            for d, e in zip(due.tolist(), done.tolist(), strict=True)
        ]
    )
    (message,) = tally.drain(worker)
    return message


def test_load_table_takes_little_memory_a_second_also_while_it_is_asked():
    """Four workers at 5,000/s each: less than 40 kB a second, and going through all seconds takes no more than a few of them."""
    messages = [second_of(worker, worker) for worker in range(4)]
    tracemalloc.start()
    try:
        table = LoadTable()
        for second in range(SECONDS):
            for message in messages:
                table.add({**message, "s": second})
        kept, _ = tracemalloc.get_traced_memory()
        assert kept / SECONDS < 40_000
        tracemalloc.reset_peak()
        for _, found in table.seconds("quotes"):
            assert found.histograms["r"].count == 20_000
        assert table.bin("quotes").histograms["r"].count == 20_000 * SECONDS
        _, peak = tracemalloc.get_traced_memory()
        assert peak - kept < 5_000_000
    finally:
        tracemalloc.stop()


def test_load_table_knows_each_workers_lag():
    """One of many that starts late is found by its own."""
    table = LoadTable()
    for worker in range(3):
        table.add(second_of(worker, worker))
    lags = table.lags("quotes", "")
    assert {worker: lag.count for worker, lag in lags.items()} == {0: 5_000, 1: 5_000, 2: 5_000}
    assert table.lags("quotes", "nowhere") == {}


def test_histogram_total_is_the_sum_of_its_parts():
    """Packed or not, many or few."""
    parts = [Histogram() for _ in range(5)]
    for k, part in enumerate(parts):
        part.record_all(range(1_000 * k, 1_000 * k + 700))
        if k % 2:
            part.compact()
    whole = Histogram()
    for part in parts:
        whole.add(part)
    assert Histogram.total(parts) == whole
    assert Histogram.total(parts).count == whole.count == 3_500
    assert Histogram.total([]) == Histogram()
