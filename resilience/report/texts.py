"""Reading loosely typed JSON into clean texts and numbers.

A run record may come from an older version, from a run that was killed half way, or from a target that means harm. So
nothing here raises on a wrong type: a field that is not what it should be reads as absent. Numbers that are not finite
read as absent, too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_TEXT = 400
"""Characters kept of any one text of the target: an error body must not become the report."""

# C0 and C1 control characters, lone surrogates, non-characters, and the marks that reorder text on a screen.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def clean(text: str, *, longest: int = LONGEST_TEXT) -> str:
    """Give `text` on one line, without control or direction marks, cut to `longest` characters."""
    flat = _UNPRINTABLE.sub("", re.sub(r"[\t\r\n\f\v]+", " ", text))
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"


def clean_block(text: str, *, longest: int) -> str:
    """Give a text of several lines with each line clean."""
    lines = (clean(line.expandtabs(4), longest=2000) for line in text[:longest].splitlines())
    return "\n".join(lines) + ("\n…" if len(text) > longest else "")


def mapping(value: Any) -> Mapping[str, Any]:
    """Give `value` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """Give `value` if it is an array, else an empty one."""
    return value if isinstance(value, list | tuple) else ()


def number(value: Any) -> float | None:
    """Give a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        plain = float(value)
    except OverflowError:
        return None
    return plain if math.isfinite(plain) else None


def text(value: Any, default: str = "") -> str:
    """Give a value as people would write it: numbers short, objects as `key value` pairs."""
    match value:
        case None:
            shown = default
        case bool():
            shown = "yes" if value else "no"
        case int() | float():
            plain = number(value)
            shown = str(value)[:40] if plain is None else short(plain)
        case str():
            shown = value
        case Mapping():
            shown = ", ".join(f"{key} {text(each)}" for key, each in value.items())
        case list() | tuple():
            shown = ", ".join(text(each) for each in value)
        case _:
            shown = json.dumps(value, default=repr)
    return clean(shown)


def lines(value: Any, *, most: int = 20) -> tuple[str, ...]:
    """Give a value as a few lines of text: an array one line an item, an object one line a key."""
    if value in (None, "", [], {}, ()):
        return ()
    if isinstance(value, Mapping):
        whole = [f"{clean(str(key))}: {text(each)}" for key, each in value.items()]
    elif isinstance(value, list | tuple):
        whole = [text(each) for each in value]
    else:
        whole = [clean(line) for line in str(value).splitlines()]
    kept = [line for line in whole if line][:most]
    return (*kept, f"… and {len(whole) - most} more") if len(whole) > most else tuple(kept)


def short(value: float, digits: int = 4) -> str:
    """Give a number with about `digits` significant digits, whole numbers in full, never in powers of ten."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(places, 6)}f}".rstrip("0").rstrip(".")


def percent(share: float | None) -> str:
    """Give a share of one as a percentage."""
    return "" if share is None else f"{short(100 * share, 3)} %"


def at(seconds: float | None) -> str:
    """Give a moment as people read it from the plot's axis."""
    return "" if seconds is None else f"{seconds:.1f} s"


def seconds_since(value: Any, epoch_ns: int) -> tuple[float, float] | None:
    """Read a moment of a run record as an interval of seconds since `epoch_ns`.

    Takes nanoseconds on the monotonic clock (an integer, or `[lo, hi]`), or an object that has them under `at` or `t`,
    or seconds since the epoch under `at_s`.
    """
    if isinstance(value, Mapping):
        plain = number(value.get("at_s"))
        if plain is not None:
            return plain, plain
        return next(
            (found for key in ("at", "at_ns", "t") if (found := seconds_since(value.get(key), epoch_ns))),
            None,
        )
    ends = [number(each) for each in value] if isinstance(value, list | tuple) else [number(value)]
    known = [each for each in ends if each is not None]
    if not known or len(known) != len(ends):
        return None
    return (min(known) - epoch_ns) / 1e9, (max(known) - epoch_ns) / 1e9


def named_rows(columns: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Give (name, text) pairs, those without a value left out."""
    return tuple((clean(name), shown) for name, value in columns if (shown := text(value)))
