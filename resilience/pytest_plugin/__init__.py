"""What tests take from chaos-spike: toxics, specifications, errors. The fixtures are in the top-level `chaos_spike_pytest`."""

from resilience.pytest_plugin.asserting import assert_conforms
from resilience.pytest_plugin.errors import ChaosSetupError, InvalidRun
from resilience.pytest_plugin.specs import Spec
from resilience.pytest_plugin.toxics import (
    Toxic,
    bandwidth,
    down,
    latency,
    limit_data,
    reset_peer,
    slicer,
    slow_close,
    timeout,
    toxic,
)

__all__ = [
    "ChaosSetupError",
    "InvalidRun",
    "Spec",
    "Toxic",
    "assert_conforms",
    "bandwidth",
    "down",
    "latency",
    "limit_data",
    "reset_peer",
    "slicer",
    "slow_close",
    "timeout",
    "toxic",
]
