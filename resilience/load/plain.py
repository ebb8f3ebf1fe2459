"""Frozen dataclasses to JSON-able values and back, by their type hints. Pure.

Knows what load descriptions are made of: scalars, bytes (as base64), tuples, dictionaries, optionals and nested dataclasses.
Anything else is an error when it is met, not a surprise in a worker.
"""

import base64
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """The value as JSON-able values."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form")


def from_plain(kind: type[T], value: Mapping[str, Any]) -> T:
    """The dataclass of type `kind` whose `to_plain` is `value`. Raises TypeError for fields that it does not have."""
    hints = get_type_hints(kind)
    unknown = set(value) - set(hints)
    if unknown:
        raise TypeError(f"{kind.__name__} has no field {', '.join(sorted(unknown))}")
    return kind(**{name: _restore(hints[name], item) for name, item in value.items()})


def _restore(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin, inner = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        (only,) = (option for option in inner if option is not type(None))
        return _restore(only, value)
    restored = value
    if origin is tuple:
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        restored = tuple(_restore(item_hint, item) for item_hint, item in zip(each, value, strict=True))
    elif origin is dict:
        restored = {key: _restore(inner[1], item) for key, item in value.items()}
    elif hint is bytes:
        restored = base64.b64decode(value)
    elif is_dataclass(hint) and isinstance(hint, type):
        restored = from_plain(hint, value)
    return restored
