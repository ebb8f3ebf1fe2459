"""The toxics: one file each, pure, and the tuple that says which there are.

Adding one is a module, a line in `OWN_TOXICS`, and a test that calls `faults.testing.check_toxic`.
"""

from dataclasses import fields

from faults.model import Direction
from faults.toxics.bandwidth import Bandwidth
from faults.toxics.bandwidth_shared import BandwidthShared
from faults.toxics.base import Aimed, Toxic
from faults.toxics.corrupt import Corrupt
from faults.toxics.fail_first import FailFirst
from faults.toxics.http_fault import HttpFault
from faults.toxics.latency import Latency
from faults.toxics.latency_lognormal import LatencyLognormal
from faults.toxics.latency_normal import LatencyNormal
from faults.toxics.latency_pareto import LatencyPareto
from faults.toxics.latency_sine import LatencySine
from faults.toxics.latency_step import LatencyStep
from faults.toxics.limit_data import LimitData
from faults.toxics.limit_time import LimitTime
from faults.toxics.noop import Noop
from faults.toxics.refuse import Refuse
from faults.toxics.reset_peer import ResetPeer
from faults.toxics.slicer import Slicer
from faults.toxics.slow_close import SlowClose
from faults.toxics.timeout import RestartingTimeout, Timeout

__all__ = ["OWN_TOXICS", "TOXICS", "Toxic", "attribute_types", "only_stream", "toxic_class"]

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

COMPATIBLE_TOXICS: tuple[type[Toxic], ...] = (RestartingTimeout,)
"""Those that take the place of ours in compatible mode."""

OWN_TOXICS: tuple[type[Toxic], ...] = (
    BandwidthShared,
    Corrupt,
    FailFirst,
    HttpFault,
    LatencyLognormal,
    LatencyNormal,
    LatencyPareto,
    LatencySine,
    LatencyStep,
    LimitTime,
    Refuse,
)
"""The toxics that only the embedded server has."""


def toxic_class(kind: str, *, own: bool = True) -> type[Toxic] | None:
    """Find a toxic by the wire's `type`, None where there is none; without `own`, as Toxiproxy has it."""
    known = TOXICS + OWN_TOXICS if own else COMPATIBLE_TOXICS + TOXICS
    return next((toxic for toxic in known if toxic.kind == kind), None)


def attribute_types(toxic: type[Toxic] | Toxic) -> dict[str, type]:
    """Return a toxic's attributes in the wire's order: name to int, float or str."""
    of_name: dict[object, type] = {"int": int, "float": float, "str": str, int: int, float: float, str: str}
    return {field.name: of_name[field.type] for field in fields(toxic)}  # type: ignore[arg-type]  # every toxic is a dataclass


def only_stream(toxic: type[Toxic]) -> Direction | None:
    """Return the only direction in which a toxic makes sense; None where it does in both."""
    aimed: object = toxic  # the class itself has the attribute
    return aimed.only_stream if isinstance(aimed, Aimed) else None
