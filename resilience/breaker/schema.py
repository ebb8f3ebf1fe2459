"""JSON Schema of one line of the history format; `history.parse_jsonl` is the authority, this describes it for tools."""

from __future__ import annotations

from typing import Any, Final

from resilience.breaker.observation import COUNTERS, OUTCOMES, STATES

_TIME: Final = {
    "description": "seconds on one monotonic clock: an instant, or [earliest, latest]",
    "oneOf": [
        {"type": "number"},
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    ],
}
_TIME_OR_NULL: Final = {"anyOf": [_TIME, {"type": "null"}]}
_NAME: Final = {"type": "string", "minLength": 1}
_NAME_OR_NULL: Final = {"type": ["string", "null"], "minLength": 1}
_ID: Final = {"type": ["string", "integer"]}
_BOOT: Final = {"type": ["string", "integer", "null"]}
_FLAG: Final = {"type": ["boolean", "null"]}
_COUNT: Final = {"type": ["integer", "null"], "minimum": 0}
_STATE: Final = {"enum": list(STATES)}


def history_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one line of a history."""
    whose = {"breaker": _NAME, "instance": _NAME_OR_NULL}
    kinds: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "call": (
            {**whose, "id": _ID, "start": _TIME, "end": _TIME_OR_NULL, "outcome": {"enum": list(OUTCOMES)}},
            {
                "fallback": _FLAG,
                "boot": _BOOT,
                "decision": _TIME_OR_NULL,
                "finish": _TIME_OR_NULL,
                "note": _NAME_OR_NULL,
            },
        ),
        "arrival": (
            {**whose, "id": {"type": ["string", "integer", "null"]}, "at": _TIME},
            {"done": _TIME_OR_NULL, "boot": _BOOT, "failed": _FLAG},
        ),
        "transition": (
            {**whose, "from": _STATE, "to": _STATE, "at": _TIME},
            {"boot": _BOOT, "seq": _COUNT, "manual": _FLAG, "source": _NAME_OR_NULL},
        ),
        "state": (
            {**whose, "state": _STATE, "at": _TIME},
            {"boot": _BOOT, "failures": _COUNT, "source": _NAME_OR_NULL},
        ),
        "counter": (
            {
                **whose,
                "name": {"enum": list(COUNTERS)},
                "value": {"type": "integer", "minimum": 0},
                "at": _TIME,
            },
            {"boot": _BOOT, "source": _NAME_OR_NULL, "others": _FLAG},
        ),
        "fault": ({"name": _NAME, "on": _TIME}, {"off": _TIME_OR_NULL}),
        "boot": ({"instance": _NAME, "at": _TIME}, {"boot": _BOOT}),
        "gap": (
            {"source": _NAME},
            {"at": _TIME_OR_NULL, "lost": _COUNT, "breaker": _NAME_OR_NULL, "instance": _NAME_OR_NULL},
        ),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One line of a circuit breaker history",
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": kind}, **required, **optional},
                "required": ["kind", *required],
                "additionalProperties": False,
            }
            for kind, (required, optional) in kinds.items()
        ],
    }
