"""What the supervisor and its owner say to each other: one line each way.

The supervisor answers its start with `{"ready": true, "system": {...}}` or `{"ready": false, "error": "..."}`; the owner
ends it with "stop". How long the parts of an end may take is agreed here, too, so that an owner knows how long to wait
before it has to assume the worst.
"""

from __future__ import annotations

import json

from resilience.lab.system import StackError, System

STOP = b"stop\n"

SERVICE_GRACE_S = 2.0
DATABASE_GRACE_S = 2.0
FRONT_GRACE_S = 1.5
STOP_BUDGET_S = SERVICE_GRACE_S + DATABASE_GRACE_S + FRONT_GRACE_S + 1.0


def ready_line(system: System) -> dict[str, object]:
    """What a supervisor says whose lab is up."""
    return {"ready": True, "system": system.to_json()}


def error_line(error: str) -> dict[str, object]:
    """What a supervisor says that could not bring it up."""
    return {"ready": False, "error": error}


def system_of(line: bytes | str) -> System:
    """The system of a ready line; StackError with the error of the other kind."""
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise StackError("the lab's supervisor died before it said anything")
    if not answer.get("ready"):
        raise StackError(str(answer.get("error", "the lab's supervisor gave no reason")))
    return System.from_json(answer["system"])
