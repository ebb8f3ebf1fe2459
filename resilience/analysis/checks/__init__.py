"""The checkers of a plan's expectations: one module a kind, and the registry that says which there are."""

from resilience.analysis.checks.amplification import check_amplification
from resilience.analysis.checks.base import Checker
from resilience.analysis.checks.breakers import check_conforms, check_opens
from resilience.analysis.checks.load import check_load
from resilience.analysis.checks.recovery import check_recovers
from resilience.analysis.checks.resources import check_resource
from resilience.plan.schema import (
    AmplificationExpectation,
    ConformsExpectation,
    LoadExpectation,
    OpensExpectation,
    RecoversExpectation,
    ResourceExpectation,
)

__all__ = ["CHECKERS", "Checker"]

CHECKERS: dict[type, Checker] = {
    LoadExpectation: check_load,
    OpensExpectation: check_opens,
    ConformsExpectation: check_conforms,
    RecoversExpectation: check_recovers,
    AmplificationExpectation: check_amplification,
    ResourceExpectation: check_resource,
}
