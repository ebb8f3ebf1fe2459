"""The schema of a plan: what a person writes in YAML, as pydantic models.

A plan is a value: everything in it can be built in Python with the same names. Models are frozen and refuse unknown
keys. Nothing here knows files, lines, clocks or sockets: `loader` adds positions to errors, `compile` gives times.
"""

from __future__ import annotations

from resilience.plan.schema.base import Model
from resilience.plan.schema.breakers import Breaker, Observe
from resilience.plan.schema.calls import (
    Degraded,
    HttpLoad,
    PostgresLoad,
    RedisLoad,
    ScriptLoad,
    SessionLoad,
    SessionStep,
    WebSocketLoad,
)
from resilience.plan.schema.contained import ComposeProject, ComposeSystem, Ready, ServiceProxy, ServiceTap
from resilience.plan.schema.expect import (
    EXPECTATION_KEYS,
    LOAD_FIGURES,
    AmplificationExpectation,
    ConformsExpectation,
    Expectation,
    LoadExpectation,
    OpensExpectation,
    RecoversExpectation,
    ResourceExpectation,
    RuleName,
)
from resilience.plan.schema.faults import Allow, Fault, Toxic
from resilience.plan.schema.load import Herd, LoadStream, Phase, PhaseRate, Ramp, Replay
from resilience.plan.schema.plan import Abort, Plan
from resilience.plan.schema.stimulus import HealthyAnswer, Rejected, Stimulus
from resilience.plan.schema.system import External, ExternalInstance, ExternalProxy, Lab, LabBreaker

__all__ = [
    "EXPECTATION_KEYS",
    "LOAD_FIGURES",
    "Abort",
    "Allow",
    "AmplificationExpectation",
    "Breaker",
    "ComposeProject",
    "ComposeSystem",
    "ConformsExpectation",
    "Degraded",
    "Expectation",
    "External",
    "ExternalInstance",
    "ExternalProxy",
    "Fault",
    "HealthyAnswer",
    "Herd",
    "HttpLoad",
    "Lab",
    "LabBreaker",
    "LoadExpectation",
    "LoadStream",
    "Model",
    "Observe",
    "OpensExpectation",
    "Phase",
    "PhaseRate",
    "Plan",
    "PostgresLoad",
    "Ramp",
    "Ready",
    "RecoversExpectation",
    "RedisLoad",
    "Rejected",
    "Replay",
    "ResourceExpectation",
    "RuleName",
    "ScriptLoad",
    "ServiceProxy",
    "ServiceTap",
    "SessionLoad",
    "SessionStep",
    "Stimulus",
    "Toxic",
    "WebSocketLoad",
]
