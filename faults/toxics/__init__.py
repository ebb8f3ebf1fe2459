"""The toxics: one file each, pure, and the tuple that says which there are.

Adding one is a module, a line in `OWN_TOXICS`, and a test that calls `faults.testing.check_toxic`.
"""

from faults.toxics.bandwidth import Bandwidth
from faults.toxics.base import Toxic
from faults.toxics.corrupt import Corrupt
from faults.toxics.latency import Latency
from faults.toxics.limit_data import LimitData
from faults.toxics.limit_time import LimitTime
from faults.toxics.noop import Noop
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.slicer import Slicer
from faults.toxics.slow_close import SlowClose
from faults.toxics.timeout import Timeout

__all__ = ["OWN_TOXICS", "TOXICS", "Toxic", "toxic_class"]

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
"""The toxics that Toxiproxy has."""

OWN_TOXICS: tuple[type[Toxic], ...] = (Corrupt, LimitTime)
"""The toxics that only the embedded server has."""


def toxic_class(kind: str, *, own: bool = True) -> type[Toxic] | None:
    """Find a toxic by the wire's `type`, None where there is none; without `own`, only Toxiproxy's."""
    known = TOXICS + OWN_TOXICS if own else TOXICS
    return next((toxic for toxic in known if toxic.kind == kind), None)
