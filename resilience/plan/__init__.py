"""Plans: their schema, loading them with file:line errors, compiling them to a timeline."""

from resilience.plan.compile import compile_plan
from resilience.plan.files import load_plan
from resilience.plan.loader import LoadedPlan, load_text
from resilience.plan.problems import PlanInvalid, Problem
from resilience.plan.schema import Plan
from resilience.plan.timeline import FaultSpan, Operation, PhaseSpan, Segment, Timeline

__all__ = [
    "FaultSpan",
    "LoadedPlan",
    "Operation",
    "PhaseSpan",
    "Plan",
    "PlanInvalid",
    "Problem",
    "Segment",
    "Timeline",
    "compile_plan",
    "load_plan",
    "load_text",
]
