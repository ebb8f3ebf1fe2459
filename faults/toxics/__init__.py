"""The toxics: one file each, pure, and the tuple that says which there are.

Adding one is a module, a line in `TOXICS`, and a test that calls `faults.testing.check_toxic`.
"""

from faults.toxics.bandwidth import Bandwidth
from faults.toxics.base import Toxic
from faults.toxics.latency import Latency
from faults.toxics.limit_data import LimitData
from faults.toxics.noop import Noop
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.slicer import Slicer
from faults.toxics.slow_close import SlowClose
from faults.toxics.timeout import Timeout

__all__ = ["TOXICS", "Toxic", "toxic_class"]

TOXICS: tuple[type[Toxic], ...] = (
    Bandwidth,
    Latency,
    LimitData,
    Noop,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
)
"""Every toxic that exists."""


def toxic_class(kind: str) -> type[Toxic] | None:
    """Find a toxic by the wire's `type`, None where there is none."""
    return next((toxic for toxic in TOXICS if toxic.kind == kind), None)
