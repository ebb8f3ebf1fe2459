"""A plan's faults as the fault layer knows them: what a toxic is called, whether it is one, and whether it does anything. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from faults.toxics import OWN_TOXICS, TOXICS, Toxic, attribute_types, only_stream, toxic_class
from resilience.plan.problems import Path, Problem, nearest
from resilience.plan.schema import Fault, Plan

_LIFE = ("freeze", "pause", "kill", "stop", "restart")
_TYPES = {int: "a whole number", float: "a number", str: "a text"}

_IDLE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "noop": ("noop does nothing", lambda _: True),
    "latency": ("latency and jitter are both 0", lambda t: t.latency == t.jitter == 0),
    "latency_normal": ("mean and deviation are both 0", lambda t: t.mean == t.deviation == 0),
    "latency_sine": ("low and high are both 0", lambda t: t.low == t.high == 0),
    "latency_step": ("low and high are both 0", lambda t: t.low == t.high == 0),
    "slow_close": ("delay is 0", lambda t: t.delay == 0),
    "corrupt": ("per_million is 0", lambda t: t.per_million == 0),
    "fail_first": ("connections is 0", lambda t: t.connections == 0),
    "http": (
        "probability is 0, or status and delay are both 0",
        lambda t: t.probability == 0 or t.status == t.delay == 0,
    ),
}
"""Toxics that can be set to do nothing: when they are, in words and as a test of the toxic with its attributes."""


def toxic_name(fault: Fault) -> str:
    """Name of a fault's toxic on its proxy: the plan's, or else the fault's id, so that two of one type can stand together."""
    return (fault.toxic.name if fault.toxic is not None else None) or fault.id


def slot(fault: Fault) -> tuple[str, ...]:
    """What a fault takes up on its target: two faults with the same slot cannot be in place together."""
    if fault.toxic is not None:
        return ("toxic", toxic_name(fault))
    if fault.disconnect is not None:
        return ("network", fault.network or "")
    # Whatever is done to the life of a process, another such thing would meet it halfway.
    return ("life",) if fault.action in _LIFE else (fault.action,)


def clash(one: Fault, other: Fault) -> bool:
    """Whether two faults on one target cannot be in place together."""
    if one.disconnect is None or other.disconnect is None:
        return slot(one) == slot(other)
    if one.network is None or other.network is None:
        return True  # the network that the container is in: it may be any
    # `front` in a compose file is `shop_front` to the engine, and a plan may say either.
    short, long = sorted((one.network, other.network), key=len)
    return short == long or long.endswith(f"_{short}")


def toxic_problems(plan: Plan) -> Iterator[Problem]:
    """Unknown types and attributes, attributes out of range, and toxics that do nothing."""
    for index, fault in enumerate(plan.faults):
        if fault.toxic is None:
            continue
        path: Path = ("faults", index, "toxic")
        if fault.toxic.toxicity == 0:
            yield Problem((*path, "toxicity"), "toxicity 0 touches no connection: the fault would do nothing")
        kind = toxic_class(fault.toxic.type)
        if kind is None:
            hint = nearest(fault.toxic.type, [toxic.kind for toxic in TOXICS + OWN_TOXICS])
            yield Problem((*path, "type"), f"no toxic {fault.toxic.type!r}{hint}")
            continue
        stream = only_stream(kind)
        if stream is not None and fault.toxic.stream != stream.value:
            yield Problem((*path, "stream"), f"{kind.kind} acts {stream.value} only: stream: {stream.value}")
        problems = tuple(_attributes(kind, fault.toxic.attributes, (*path, "attributes")))
        yield from problems
        if not problems:
            yield from _values(kind(**fault.toxic.attributes), path)


def _values(toxic: Toxic, path: Path) -> Iterator[Problem]:
    messages = toxic.problems()
    for message in messages:
        yield Problem((*path, "attributes"), message)
    if not messages and (why := idle_because(toxic)):
        yield Problem((*path, "attributes"), f"this {toxic.kind} would do nothing: {why}")


def idle_because(toxic: Toxic) -> str:
    """Why a toxic with these attributes does nothing; empty when it does something."""
    why, is_idle = _IDLE.get(toxic.kind, ("", lambda _: False))
    return why if is_idle(toxic) else ""


def _attributes(kind: type[Toxic], attributes: Mapping[str, object], path: Path) -> Iterator[Problem]:
    known = attribute_types(kind)
    for name, value in attributes.items():
        if name not in known:
            yield Problem(
                (*path, name), f"no attribute {name!r} of {kind.kind}{nearest(name, known)}", at_key=True
            )
            continue
        fits = (int, float) if known[name] is float else known[name]
        if not isinstance(value, fits) or isinstance(value, bool):
            yield Problem((*path, name), f"{name} of {kind.kind} is {_TYPES[known[name]]}, not {value!r}")
