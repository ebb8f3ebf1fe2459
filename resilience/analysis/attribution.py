"""Whether calls can be given to the instances that answered them at all. Pure.

Two breakers judged as one look like one broken breaker. Where a system is known to have several instances of a service and not one
call says which of them answered, nothing that the calls show may be held against anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resilience.analysis.evidence import RunEvidence
from resilience.plan.schema import Breaker

_INSTANCE = 8
"""The place of the answering instance in a call's row."""


class Unattributed(ValueError):  # noqa: N818 - a reason, not a mistake
    """The evidence cannot be given to one instance; the message says why."""


def refuse_unattributed(evidence: RunEvidence, breaker: Breaker, rows: Sequence[Sequence[Any]]) -> None:
    """Raise `Unattributed` where several instances have the breaker and no call names its own."""
    listed = evidence.environment.get("system", {}).get("instances", [])
    service = breaker.instances.service if breaker.instances is not None else None
    if service is None and evidence.plan.lab is not None:
        service = "gateway"
    names = [entry["name"] for entry in listed if service in (None, entry["service"])]
    if len(names) > 1 and rows and all(row[_INSTANCE] is None for row in rows):
        raise Unattributed(
            f"unattributed: {', '.join(names)} answer behind one address, and no answer names its instance in "
            f"{breaker.header}"
        )
