"""Phases and load: how long, how many calls a second, and what one call is.

A load names one driver (`http`, `session`, `websocket`, `postgres`, `redis`, `script`: `calls` has their keys) and one shape: a rate by
phase, a herd, users who think, or a recorded trace.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, GetJsonSchemaHandler, Tag, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from resilience.plan.fields import DurationNs, MomentOf, Name, PositiveNs, RatePerS
from resilience.plan.schema.base import Model
from resilience.plan.schema.calls import (
    DRIVERS,
    AnyCall,
    DriverName,
    HttpLoad,
    PostgresLoad,
    RedisLoad,
    ScriptLoad,
    SessionLoad,
    WebSocketLoad,
)
from resilience.plan.units import Moment


class Phase(Model):
    """A named stretch of the run. `judge: false` keeps it out of validity and expectations (a warm-up)."""

    name: Name
    duration: DurationNs
    judge: bool = True


class Ramp(Model):
    """A change of rate inside a phase: up to `ramp` within `rise`, back to the phase before within `fall`."""

    ramp: RatePerS
    rise: DurationNs = 0
    fall: DurationNs = 0


class Steps(Model):
    """One rate after the other, each as long as the others, or for `each`; the last one to the end of the phase."""

    step: Annotated[tuple[RatePerS, ...], Field(min_length=1, max_length=1_000)]
    each: PositiveNs | None = None


class Line(Model):
    """From one rate to another in a straight line over the whole phase."""

    start: Annotated[RatePerS, Field(alias="from")]
    end: Annotated[RatePerS, Field(alias="to")]


class Spike(Model):
    """From the default rate up to `spike` and back inside the phase: quiet for `after`, then `rise`, `hold`, `fall`."""

    spike: RatePerS
    after: DurationNs = 0
    rise: DurationNs = 0
    hold: DurationNs = 0
    fall: DurationNs = 0


_KINDS = {"ramp": "Ramp", "step": "Steps", "from": "Line", "to": "Line", "spike": "Spike"}
RATE_TAGS = frozenset({"Constant", *_KINDS.values()})


def _rate_kind(value: object) -> str:
    if isinstance(value, Model):
        return type(value).__name__
    if not isinstance(value, dict):
        return "Constant"
    return next((kind for key, kind in _KINDS.items() if key in value), "Ramp")


PhaseRate = Annotated[
    Annotated[Ramp, Tag("Ramp")]
    | Annotated[Steps, Tag("Steps")]
    | Annotated[Line, Tag("Line")]
    | Annotated[Spike, Tag("Spike")]
    | Annotated[RatePerS, Tag("Constant")],
    Discriminator(_rate_kind),
]


class Herd(Model):
    """`users` arrivals at one instant; `waves` of so many, `every` so often."""

    users: Annotated[int, Field(ge=1, le=1_000_000)]
    start: MomentOf = Moment(None, 0, "0s")
    waves: Annotated[int, Field(ge=1, le=10_000)] = 1
    every: PositiveNs | None = None

    @model_validator(mode="after")
    def _a_gap_between_waves(self) -> Herd:
        if (self.waves > 1) != (self.every is not None):
            raise ValueError(
                "several waves need the time between them, and one wave has none: waves: 3, every: 5s"
            )
        return self


class Replay(Model):
    """Arrivals at recorded offsets from `start`: durations, or the name of a file with one offset a line."""

    offsets: Annotated[tuple[DurationNs, ...], Field(min_length=1)]
    start: MomentOf = Moment(None, 0, "0s")

    @model_validator(mode="before")
    @classmethod
    def _just_the_offsets(cls, value: Any) -> Any:
        whole = {"offsets": value} if isinstance(value, str | list | tuple) else value
        if isinstance(whole, dict) and isinstance(whole.get("offsets"), str):
            why = f"the file {whole['offsets']} was not read: only a plan in a file has files beside it"
            raise ValueError(why)  # noqa: TRY004 - pydantic takes no TypeError for a wrong value
        return whole

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The file, or the list of offsets, is enough."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        file = {"type": "string", "examples": ["offsets.csv"]}
        offsets = schema["properties"]["offsets"]
        schema["properties"]["offsets"] = {"anyOf": [file, offsets]}
        return {"anyOf": [file, offsets, schema]}


Shape = Literal["rate", "herd", "users", "replay"]
SHAPES: tuple[Shape, ...] = ("rate", "herd", "users", "replay")


class LoadStream(Model):
    """One stream of arrivals on the run's clock: one driver, one shape. All but `users` are independent of completions."""

    http: HttpLoad | None = None
    session: SessionLoad | None = None
    websocket: WebSocketLoad | None = None
    postgres: PostgresLoad | None = None
    redis: RedisLoad | None = None
    script: ScriptLoad | None = None
    rate: dict[Name, PhaseRate] | None = None
    herd: Herd | None = None
    replay: Replay | None = None
    users: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    think: DurationNs | None = None
    start: MomentOf | None = None
    end: MomentOf | None = None
    arrival: Literal["uniform", "poisson"] = "uniform"
    connections: Annotated[int, Field(ge=0, le=65_000)] = 64
    in_flight: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000

    @model_validator(mode="before")
    @classmethod
    def _spread_default(cls, value: Any) -> Any:
        # `rate: 50/s` is what most people write first.
        if isinstance(value, dict) and isinstance(value.get("rate"), str | float | int):
            return {**value, "rate": {"default": value["rate"]}}
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> LoadStream:
        _exactly_one(self, DRIVERS, "what one call is", "http: {url: ...}")
        _exactly_one(self, SHAPES, "when calls are due", "rate: 50/s")
        if self.users is None and (self.think, self.start, self.end) != (None, None, None):
            raise ValueError("`think`, `start` and `end` are about users: users: 20, think: 1s")
        if self.rate is None and self.arrival == "poisson":
            raise ValueError(
                "`arrival: poisson` is about a rate; herds, users and replays come as they are written"
            )
        return self

    @property
    def driver(self) -> DriverName:
        """The driver's name."""
        return next(name for name in DRIVERS if getattr(self, name) is not None)

    @property
    def call(self) -> AnyCall:
        """What one call is."""
        found: AnyCall = getattr(self, self.driver)
        return found

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """`rate: 50/s` is enough."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        rate = schema["properties"]["rate"]
        rate["anyOf"] = [{"type": "string", "examples": ["50/s"]}, *rate["anyOf"]]
        return schema


def _exactly_one(stream: LoadStream, keys: tuple[str, ...], what: str, example: str) -> None:
    given = [key for key in keys if getattr(stream, key) is not None]
    if not given:
        raise ValueError(f"says nothing of {what}: add one of {', '.join(keys)}, for example {example}")
    if len(given) > 1:
        raise ValueError(f"says twice {what}: {' and '.join(given)}; a load has one of them")
