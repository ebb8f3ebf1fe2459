"""Figures of a load: histograms, bins, summaries, validity. `SpikeLoadMetrics` is their face in Python.

Names are imported when they are asked for: whoever needs a histogram alone does not load the rest.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilience.metrics.spike_metrics import SpikeLoadMetrics

__all__ = ["SpikeLoadMetrics"]


def __getattr__(name: str) -> Any:
    """Import the public class on first use."""
    if name == "SpikeLoadMetrics":
        from resilience.metrics.spike_metrics import SpikeLoadMetrics  # noqa: PLC0415 - see above

        return SpikeLoadMetrics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
