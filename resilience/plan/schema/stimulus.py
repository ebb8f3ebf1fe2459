"""The active stimulus: calls that put one circuit breaker through everything its rules speak of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from resilience.plan.schema.base import Model
from resilience.plan.schema.calls import HttpLoad


class Rejected(Model):
    """How an answer tells that the breaker did not let the call through: by its status, a header, or both.

    `any: true` (or just `rejected: any`): every answer that came without the dependency having been asked.
    """

    status: Annotated[int, Field(ge=100, le=599)] | None = None
    header: dict[str, str] | None = None
    any: Literal[True] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Rejected:
        if self.any and (self.status is not None or self.header is not None):
            raise ValueError("`any` takes every answer: leave status and header out")
        if not self.any and self.status is None and self.header is None:
            raise ValueError('say how a rejection is told: status: 503, or header: {X-Breaker: "rejected"}')
        if self.header is not None and len(self.header) != 1:
            raise ValueError('exactly one header tells a rejection: header: {X-Breaker: "rejected"}')
        return self


class HealthyAnswer(Model):
    """What the scripted dependency answers when it is well; everything else is decided call by call."""

    status: Annotated[int, Field(ge=200, le=299)] = 200
    headers: dict[str, str] = {}
    json_body: Annotated[Any, Field(alias="json")] = {"ok": True}


class Stimulus(Model):
    """Calls whose dependency is told what to do with each; the breaker that names it as its `load` is the one that is meant.

    `correlate` is the header that carries a call's id to the service and, passed on, to the dependency.
    """

    http: HttpLoad
    correlate: str = "X-Request-Id"
    rejected: Rejected = Rejected(status=503)
    answer: HealthyAnswer = HealthyAnswer()

    @model_validator(mode="before")
    @classmethod
    def _any_for_short(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("rejected") == "any":
            return {**value, "rejected": {"any": True}}
        return value
