"""The checkers of a plan's expectations: one module a kind, and the registry that says which there are."""

from resilience.analysis.checks.amplification import check_amplification
from resilience.analysis.checks.base import Checker
from resilience.analysis.checks.breakers import check_conforms, check_opens
from resilience.analysis.checks.caches import check_cache
from resilience.analysis.checks.data import check_coherence, check_hit_rate, check_orders
from resilience.analysis.checks.load import check_load
from resilience.analysis.checks.metastable import check_metastable
from resilience.analysis.checks.recovery import check_recovers
from resilience.analysis.checks.resources import check_resource
from resilience.analysis.checks.scaling import check_scaling
from resilience.analysis.checks.sockets import check_sockets
from resilience.analysis.checks.wholeness import check_health, check_pool
from resilience.plan.schema import (
    AmplificationExpectation,
    ConformsExpectation,
    LoadExpectation,
    OpensExpectation,
    RecoversExpectation,
    ResourceExpectation,
)
from resilience.plan.schema.expect_promises import (
    CacheExpectation,
    CoherenceExpectation,
    HealthExpectation,
    HitRateExpectation,
    MetastableExpectation,
    OrdersExpectation,
    PoolExpectation,
    ScalingExpectation,
    SocketsExpectation,
)

__all__ = ["CHECKERS", "Checker"]

CHECKERS: dict[type, Checker] = {
    LoadExpectation: check_load,
    OpensExpectation: check_opens,
    ConformsExpectation: check_conforms,
    RecoversExpectation: check_recovers,
    AmplificationExpectation: check_amplification,
    ResourceExpectation: check_resource,
    SocketsExpectation: check_sockets,
    ScalingExpectation: check_scaling,
    CoherenceExpectation: check_coherence,
    HitRateExpectation: check_hit_rate,
    CacheExpectation: check_cache,
    OrdersExpectation: check_orders,
    PoolExpectation: check_pool,
    HealthExpectation: check_health,
    MetastableExpectation: check_metastable,
}
