"""Pydantic's errors in our words. Pure.

`problems_of` translates them one by one; for an unknown key it walks the schema's annotations to the model in question, so
that the suggestion is a key that is valid just there.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag

from resilience.plan.problems import Path, Problem, nearest
from resilience.plan.schema import EXPECTATION_KEYS, Plan
from resilience.plan.schema.load import RATE_TAGS

_WANTED = {
    "tuple_type": "needs a list, such as [a, b] or lines that begin with '- '",
    "list_type": "needs a list, such as [a, b] or lines that begin with '- '",
    "dict_type": "needs keys with values, such as `key: value`",
    "model_type": "needs keys with values, such as `key: value`",
    "model_attributes_type": "needs keys with values, such as `key: value`",
    "string_type": "needs text, in quotes where YAML would read a number or a date",
    "int_type": "needs a whole number",
    "int_parsing": "needs a whole number",
    "int_from_float": "needs a whole number",
    "float_type": "needs a number",
    "float_parsing": "needs a number",
    "bool_type": "is either true or false",
    "bool_parsing": "is either true or false",
}
"""What a value must be, in the words of YAML and not of Python, by pydantic's kind of error."""

TAGS = RATE_TAGS | EXPECTATION_KEYS.keys()
"""What a union adds to the path of an error: it stands in no text."""


def problems_of(errors: Sequence[Any]) -> Iterator[Problem]:
    """Pydantic's errors in our words, without those that only follow from others."""
    places = [tuple(error["loc"]) for error in errors]
    for error, path in zip(errors, places, strict=True):
        # A sequence whose entries are wrong is also said to have too few of them.
        follows = error["type"] == "too_short" and any(p[: len(path)] == path and p != path for p in places)
        if not follows:
            yield problem_of(error)


def problem_of(error: Any) -> Problem:
    """One of pydantic's errors in our words."""
    path: Path = tuple(error["loc"])
    kind, message = error["type"], str(error["msg"])
    if kind == "extra_forbidden":
        return Problem(
            path, f"unknown key {path[-1]!r}{nearest(str(path[-1]), _keys_at(path[:-1]))}", at_key=True
        )
    if kind == "missing":
        return Problem(path[:-1], f"the key {path[-1]!r} is missing", at_key=True)
    if kind in ("value_error", "too_short"):
        empty = kind == "too_short"
        return Problem(
            path, "is empty; it needs at least one entry" if empty else message.removeprefix("Value error, ")
        )
    if kind == "string_pattern_mismatch":
        return Problem(path, f"{error['input']!r} is not a name; use letters, digits, '_', '-' and '.'")
    if path and path[-1] == "[key]":
        return Problem(path[:-1], message, at_key=True)
    given = error["input"]
    wanted = _WANTED.get(kind, f"{message[0].lower()}{message[1:]}")
    return Problem(path, f"{wanted}, not {_shown(given)}{_one_entry(path, kind, given)}")


def _shown(given: Any) -> str:
    if given is None or isinstance(given, bool):
        return {None: "nothing", True: "true", False: "false"}[given]
    shown = repr(given)
    return shown if len(shown) < 60 else shown[:57] + "..."


def _one_entry(path: Path, kind: str, given: Any) -> str:
    """A mapping in the place of a list is most often an overlay that means to change one entry of it."""
    if kind not in ("tuple_type", "list_type") or not isinstance(given, dict):
        return ""
    where = ".".join(map(str, path))
    return f"; an overlay replaces a list as a whole, --set {where}.0.KEY=VALUE changes one entry"


def _keys_at(path: Path) -> list[str]:
    """Keys that the schema knows at a path of an error (which holds the tags of unions, too)."""
    kind: Any = Plan
    for part in path:
        kind = _step(kind, part)
    models = [k for k in _alternatives(kind) if isinstance(k, type) and issubclass(k, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _step(kind: Any, part: str | int) -> Any:
    for option in _alternatives(kind):
        if isinstance(option, type) and issubclass(option, BaseModel):
            for name, field in option.model_fields.items():
                if part in (name, field.alias):
                    return (
                        Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
                    )
        elif get_origin(option) is dict:
            return get_args(option)[1]
        elif get_origin(option) is tuple and isinstance(part, int):
            return get_args(option)[0]
    for option in _tagged(kind):
        if option[0] == part:
            return option[1]
    return None


def _alternatives(kind: Any) -> list[Any]:
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (typing.Union, types.UnionType):
        return [a for arg in get_args(kind) if not _tag(arg) for a in _alternatives(arg)]
    return [kind]


def _tagged(kind: Any) -> list[tuple[str, Any]]:
    if get_origin(kind) is Annotated:
        return _tagged(get_args(kind)[0])
    if get_origin(kind) in (typing.Union, types.UnionType):
        return [(tag, get_args(arg)[0]) for arg in get_args(kind) if (tag := _tag(arg))]
    return []


def _tag(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        for extra in get_args(kind)[1:]:
            if isinstance(extra, Tag):
                return extra.tag
    return ""
