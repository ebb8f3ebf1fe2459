"""The values of a plan's keys, as pydantic reads them: names, durations, moments, rates and comparisons. Pure.

The reading itself is in `units`; here are the annotations, each with what it looks like in the JSON Schema.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from resilience.plan.units import (
    COUNT,
    DURATION,
    LIMIT_SHARE,
    LIMIT_SIZE,
    NUMBER,
    RATE,
    SHARE,
    SIZE,
    Comparison,
    Moment,
    Quantity,
    parse_comparison,
    parse_duration_ns,
    parse_moment,
    parse_rate_per_s,
)

NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]*$"
MAX_RATE_PER_S = 1_000_000


def _compared(quantity: Quantity) -> BeforeValidator:
    return BeforeValidator(lambda v: v if isinstance(v, Comparison) else parse_comparison(v, quantity))


def _compared_schema(quantity: Quantity, operators: str = "<=|>=|==|<|>") -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", "examples": [quantity.example], "pattern": rf"^\s*({operators})"}
    )


def _moment(value: object) -> Moment:
    return value if isinstance(value, Moment) else parse_moment(value)


def _positive(duration_ns: int) -> int:
    if duration_ns <= 0:
        raise ValueError("longer than zero, please: write for example 500ms or 10s")
    return duration_ns


def _offerable(per_s: float) -> float:
    if per_s > MAX_RATE_PER_S:
        raise ValueError(f"nothing offers more than {MAX_RATE_PER_S:,}/s")
    return per_s


DurationNs = Annotated[
    int, BeforeValidator(parse_duration_ns), WithJsonSchema({"type": "string", "examples": ["10s", "500ms"]})
]
PositiveNs = Annotated[DurationNs, AfterValidator(_positive)]
MomentOf = Annotated[
    Moment, BeforeValidator(_moment), WithJsonSchema({"type": "string", "examples": ["spike+10s"]})
]
RatePerS = Annotated[
    float,
    BeforeValidator(parse_rate_per_s),
    WithJsonSchema({"type": "string", "examples": ["50/s"]}),
    AfterValidator(_offerable),
]
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
DurationBound = Annotated[Comparison, _compared(DURATION), _compared_schema(DURATION)]
ShareBound = Annotated[Comparison, _compared(SHARE), _compared_schema(SHARE)]
RateBound = Annotated[Comparison, _compared(RATE), _compared_schema(RATE)]
SizeBound = Annotated[Comparison, _compared(SIZE), _compared_schema(SIZE)]
NumberBound = Annotated[Comparison, _compared(NUMBER), _compared_schema(NUMBER)]
CountBound = Annotated[Comparison, _compared(COUNT), _compared_schema(COUNT)]
ShareLimit = Annotated[Comparison, _compared(LIMIT_SHARE), _compared_schema(LIMIT_SHARE, ">=|==|>")]
SizeLimit = Annotated[Comparison, _compared(LIMIT_SIZE), _compared_schema(LIMIT_SIZE, ">=|>")]
