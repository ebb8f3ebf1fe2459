"""What a followed breaker promises: written in the plan, or said by the lab that it runs in. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from resilience.breaker.spec import BreakerSpec, SpecError
from resilience.plan.schema import Breaker, Plan


def specification(plan: Plan, breaker: Breaker, facts: Mapping[str, str]) -> BreakerSpec:
    """Specification of a breaker of a plan; `facts` are the system's. Raises `SpecError`.

    A lab without a breaker has no specification, unless the plan stimulates it: such a plan asks whether there is a breaker at
    all, and what is not there is held to the ideal.
    """
    mapping: dict[str, Any]
    if breaker.spec == "lab":
        mapping = json.loads(facts.get("breaker_spec", "{}"))
        if mapping.get("dialect") in (None, "none"):
            if breaker.load not in plan.stimulus:
                raise SpecError("spec", "the lab runs without a circuit breaker")
            mapping["dialect"] = "strict"
    else:
        mapping = dict(breaker.spec)
    if breaker.dialect is not None:
        mapping["dialect"] = breaker.dialect
    return BreakerSpec.from_mapping(mapping)
