"""Quantities as people write them: durations, rates, sizes, shares, comparisons and moments.

Pure text to value, no clocks. Every function raises `UnitError`, whose message says what was expected and shows an
example, so that the loader only has to add file, line and column.

Canonical units: durations are integers of nanoseconds, sizes integers of bytes, rates operations per second (float),
shares ratios between 0 and 1 (float).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

NS_PER_S = 1_000_000_000
_DURATION_NS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
_SIZE_BYTES = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_RATE_PER_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)")
_NUMBER = r"-?\d+(?:\.\d+)?"


class UnitError(ValueError):
    """A quantity that cannot be read; the message says what to write instead."""


def parse_duration_ns(text: object) -> int:
    """`500ms`, `10s`, `1m30s` to integer nanoseconds."""
    if not isinstance(text, str):
        raise UnitError(f"a duration needs a unit, for example 10s or 500ms, not {text!r}")
    compact = text.replace(" ", "")
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise UnitError(f"{text!r} is not a duration; write for example 500ms, 10s or 1m30s")
    return sum(int(Decimal(number) * _DURATION_NS[unit]) for number, unit in parts)


def parse_rate_per_s(text: object) -> float:
    """`50/s`, `600/m` to operations per second."""
    match = re.fullmatch(rf"({_NUMBER})\s*/\s*(s|m|h)", text.strip()) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f"{text!r} is not a rate; write for example 50/s")
    rate = float(match[1]) / _RATE_PER_S[match[2]]
    if rate < 0:
        raise UnitError(f"a rate cannot be negative: {text!r}")
    return rate


def parse_share(text: object) -> float:
    """`95%` or `0.95` to 0.95."""
    match = re.fullmatch(rf"({_NUMBER})\s*(%?)", str(text).strip())
    if match is None or isinstance(text, bool):
        raise UnitError(f"{text!r} is not a share; write for example 95%")
    share = float(match[1]) / (100.0 if match[2] else 1.0)
    if not 0.0 <= share <= 1.0:
        raise UnitError(f"a share lies between 0% and 100%, not {text!r}")
    return share


def parse_size_bytes(text: object) -> int:
    """`200MB` (1 MB = 1,000,000 B) or `64MiB` to bytes."""
    match = (
        re.fullmatch(rf"({_NUMBER})\s*(B|KB|MB|GB|KiB|MiB|GiB)", text.strip())
        if isinstance(text, str)
        else None
    )
    if match is None:
        raise UnitError(f"{text!r} is not a size; write for example 200MB")
    return int(Decimal(match[1]) * _SIZE_BYTES[match[2]])


def parse_number(text: object) -> float:
    """`3` or `1.3` to a float."""
    match = re.fullmatch(_NUMBER, str(text).strip())
    if match is None or isinstance(text, bool):
        raise UnitError(f"{text!r} is not a number")
    return float(match[0])


def format_duration(ns: float) -> str:
    """Nanoseconds for people: `350 ms`, `2.1 s`."""
    if abs(ns) < 1_000:
        return f"{ns:.0f} ns"
    if abs(ns) < 1_000_000:
        return f"{ns / 1_000:.3g} us"
    if abs(ns) < NS_PER_S:
        return f"{ns / 1_000_000:.3g} ms"
    return f"{ns / NS_PER_S:.4g} s"


def format_share(share: float) -> str:
    """Ratio for people: `99.8 %`."""
    percent = share * 100
    return f"{percent:.2f} %" if 0 < percent < 1 or 99 < percent < 100 else f"{percent:.1f} %"


def format_size(size_bytes: float) -> str:
    """Bytes for people: `12.4 MB`."""
    return f"{size_bytes / 1e6:.1f} MB"


def format_rate(per_s: float) -> str:
    """Operations per second for people: `52.1/s`."""
    return f"{per_s:.4g}/s"


def format_number(number: float) -> str:
    """A plain number for people: `1.02`."""
    return f"{number:.4g}"


@dataclass(frozen=True, slots=True)
class Quantity:
    """How one kind of quantity is read and shown, and between which two ends (included) all of its values lie."""

    parse: Callable[[object], float]
    show: Callable[[float], str]
    example: str
    least: float = -math.inf
    most: float = math.inf


DURATION = Quantity(parse_duration_ns, format_duration, "< 150ms", least=0)
SHARE = Quantity(parse_share, format_share, "< 1%", least=0, most=1)
RATE = Quantity(parse_rate_per_s, format_rate, ">= 50/s", least=0)
SIZE = Quantity(parse_size_bytes, format_size, "< 200MB")
NUMBER = Quantity(parse_number, format_number, "< 1.3")
COUNT = Quantity(parse_number, format_number, "<= 2", least=0)
LIMIT_SHARE = Quantity(parse_share, format_share, "> 20%", least=0, most=1)
LIMIT_SIZE = Quantity(parse_size_bytes, format_size, "> 500MB", least=0)
"""Limits say what is too much: their examples look the other way."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`operator bound`, in the canonical unit of its quantity; all of its values lie between `least` and `most`."""

    operator: str
    bound: float
    text: str
    least: float = -math.inf
    most: float = math.inf

    @property
    def settled(self) -> bool | None:
        """What the comparison comes to whatever is observed: always true, never true, or None where that depends."""
        bound, least, most = self.bound, self.least, self.most
        match self.operator:
            case "<":
                always, never = bound > most, bound <= least
            case "<=":
                always, never = bound >= most, bound < least
            case ">":
                always, never = bound < least, bound >= most
            case ">=":
                always, never = bound <= least, bound > most
            case _:
                always, never = least == most == bound, not least <= bound <= most
        return True if always else False if never else None

    def holds(self, observed: float) -> bool:
        """Tell whether the observed value, in the same unit, satisfies the comparison."""
        return _OPERATORS[self.operator](observed, self.bound)

    def margin(self, observed: float) -> float:
        """Distance to the bound as a share of the bound; positive is on the good side."""
        if self.operator == "==":
            return 0.0 if observed == self.bound else -1.0
        distance = self.bound - observed if self.operator.startswith("<") else observed - self.bound
        return distance / abs(self.bound) if self.bound else distance


def parse_comparison(text: object, quantity: Quantity) -> Comparison:
    """`"< 150ms"` with `DURATION` to `Comparison("<", 150_000_000)`."""
    match = re.fullmatch(r"\s*(<=|>=|==|<|>)\s*(.+?)\s*", text) if isinstance(text, str) else None
    if match is None:
        raise UnitError(f'{text!r} is not a comparison; write it quoted, for example "{quantity.example}"')
    return Comparison(match[1], quantity.parse(match[2]), str(text).strip(), quantity.least, quantity.most)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point on the plan's time axis: the start of a phase (or of the run, or its end) plus an offset."""

    anchor: str | None
    offset_ns: int
    text: str


def parse_moment(text: object) -> Moment:
    """`spike+10s`, `recovery`, `end-2s` or `12s` (from the start of the run)."""
    if isinstance(text, str):
        match = re.fullmatch(r"\s*([A-Za-z_][\w.]*(?:-[A-Za-z_][\w.]*)*)\s*(?:([+-])\s*(\S+))?\s*", text)
        if match is not None:
            offset_ns = parse_duration_ns(match[3]) if match[3] else 0
            return Moment(match[1], -offset_ns if match[2] == "-" else offset_ns, text.strip())
        return Moment(None, parse_duration_ns(text), text.strip())
    raise UnitError(f"{text!r} is not a moment; write for example spike+10s")
