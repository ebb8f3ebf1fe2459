"""What a verdict on the built-in breaker plan must show, whatever stack it ran on."""

from __future__ import annotations

import re
from typing import Any

HEALTHY = re.compile(r"closed( open half_open)+ closed")


def assert_each_gateway_opened_and_closed(verdict: dict[str, Any]) -> None:
    """Per instance closed (open half_open)+ closed, each step seen in events and on the wire."""
    instances = verdict["breakers"]["pricing"]["instances"]
    assert {instance["instance"] for instance in instances} == {"gateway-1", "gateway-2"}
    for instance in instances:
        assert HEALTHY.fullmatch(" ".join(instance["states"])), instance["states"]
        for step in instance["path"][1:]:
            assert step["evidence"]["events"], step
            assert step["evidence"]["wire"], step
