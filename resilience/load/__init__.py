"""The spike engine: schedules, drivers, workers. `SpikeLoadGenerator` is its face in Python.

Names are imported when they are asked for: whoever needs the model alone does not load the engine.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resilience.load.spike import SpikeLoadGenerator

__all__ = ["SpikeLoadGenerator"]


def __getattr__(name: str) -> Any:
    """Import the public class on first use."""
    if name == "SpikeLoadGenerator":
        from resilience.load.spike import SpikeLoadGenerator  # noqa: PLC0415 - see above

        return SpikeLoadGenerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
