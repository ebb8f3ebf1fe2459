"""The public form of a history: JSON Lines, times in seconds (a number, or `[lo, hi]`).

`parse_jsonl` refuses what it does not understand, with the line number: a history that was half understood
must not be judged. It deliberately does not sort, match calls to arrivals or draw conclusions: that is the
business of `evidence`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from resilience.breaker.observation import (
    COUNTERS,
    NS_PER_S,
    OUTCOMES,
    STATES,
    Arrival,
    Boot,
    Call,
    Counter,
    Fault,
    Gap,
    Interval,
    Observation,
    State,
    Transition,
)

__all__ = [
    "Arrival",
    "Boot",
    "Call",
    "Counter",
    "Fault",
    "Gap",
    "HistoryError",
    "Interval",
    "Observation",
    "State",
    "Transition",
    "dump_jsonl",
    "parse_entry",
    "parse_jsonl",
    "parse_lines",
    "seconds",
    "to_json",
]


class HistoryError(ValueError):
    """A history line that cannot be understood; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line
        self.message = message


# kind -> (required keys, optional keys); `kind` itself is implied.
_KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "call": (
        ("breaker", "instance", "id", "start", "end", "outcome"),
        ("fallback", "boot", "decision", "finish", "note"),
    ),
    "arrival": (("breaker", "instance", "id", "at"), ("done", "boot", "failed")),
    "transition": (("breaker", "instance", "from", "to", "at"), ("boot", "seq", "manual", "source")),
    "state": (("breaker", "instance", "state", "at"), ("boot", "failures", "source")),
    "counter": (("breaker", "instance", "name", "value", "at"), ("boot", "source", "others")),
    "fault": (("name", "on"), ("off",)),
    "boot": (("instance", "at"), ("boot",)),
    "gap": (("source",), ("at", "lost", "breaker", "instance")),
}


def parse_jsonl(text: str) -> list[Observation]:
    """Read a history; blank lines are skipped. Raises HistoryError naming the line and what is wrong with it."""
    return list(parse_lines(text.splitlines()))


def parse_lines(lines: Iterable[str]) -> Iterator[Observation]:
    """The same for lines that come one by one."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            # Decimal keeps 1234567.123456789 exact: a float would be off by a hundred nanoseconds.
            entry = json.loads(line, parse_float=_decimal, parse_constant=_no_constant)
        except (json.JSONDecodeError, RecursionError) as error:
            raise HistoryError(number, f"not a JSON object: {error}") from None
        except ValueError as error:
            raise HistoryError(number, str(error)) from None
        try:
            parsed = parse_entry(entry)
        except ValueError as error:
            raise HistoryError(number, str(error)) from None
        yield parsed


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of more digits than a Decimal can have
        raise ValueError(f"{text[:40]!r} is no number that can be read") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a time or a number")


def parse_entry(entry: object) -> Observation:
    """One decoded JSON object to its observation. Raises ValueError with a sentence about the first problem."""
    if not isinstance(entry, dict):
        raise ValueError("a history line is a JSON object")  # noqa: TRY004 - one error type for every refusal
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise ValueError(f"unknown kind {kind!r}{_near(kind, _KEYS)}")
    required, optional = _KEYS[kind]
    for key in required:
        if key not in entry:
            others = [k for k in entry if k != "kind" and k not in required and k not in optional]
            near = difflib.get_close_matches(key, [str(k) for k in others], n=1)
            raise ValueError(f"{kind}: key {key!r} is missing{f'; {near[0]!r} is unknown' if near else ''}")
    for key in entry:
        if key != "kind" and key not in required and key not in optional:
            raise ValueError(f"{kind}: unknown key {key!r}{_near(key, (*required, *optional))}")
    return _BUILD[kind](_Fields(kind, entry))


def _near(word: object, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(str(word), names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"


class _Fields:
    """Typed access to one entry; every message names the kind and the key."""

    __slots__ = ("entry", "kind")

    def __init__(self, kind: str, entry: Mapping[str, Any]) -> None:
        self.kind = kind
        self.entry = entry

    def text(self, key: str) -> str:
        value = self.entry.get(key)
        if isinstance(value, str) and value:
            return value
        raise ValueError(f"{self.kind}: {key!r} must be a non-empty string, not {value!r}")

    def text_or_none(self, key: str) -> str | None:
        return None if self.entry.get(key) is None else self.text(key)

    def identity(self, key: str) -> str | None:
        """An id may be a string or a number on paper; in memory it is a string."""
        value = self.entry.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise ValueError(f"{self.kind}: {key!r} must be a string or an integer, not {value!r}")  # noqa: TRY004 - as above
        return str(value)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key).replace("-", "_").lower() if key in {"from", "to", "state"} else self.text(key)
        if value not in allowed:
            raise ValueError(f"{self.kind}: {key!r} is {value!r}{_near(value, allowed)}")
        return value

    def flag(self, key: str) -> bool | None:
        value = self.entry.get(key)
        if value is None or isinstance(value, bool):
            return value
        raise ValueError(f"{self.kind}: {key!r} must be true or false, not {value!r}")

    def count(self, key: str) -> int | None:
        value = self.entry.get(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise ValueError(f"{self.kind}: {key!r} must be a whole number, not {value!r}")

    def time(self, key: str) -> Interval:
        value = self.entry.get(key)
        ends = value if isinstance(value, list) else [value, value]
        if len(ends) != 2:
            raise ValueError(f"{self.kind}: {key!r} must be a number or [lo, hi], not {value!r}")
        try:
            return Interval(_ns(ends[0]), _ns(ends[1]))
        except (ValueError, TypeError, InvalidOperation, OverflowError) as error:
            raise ValueError(f"{self.kind}: {key!r} must be seconds or [lo, hi]: {error}") from None

    def time_or_none(self, key: str) -> Interval | None:
        return None if self.entry.get(key) is None else self.time(key)


def _ns(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError(f"{value!r} is not a number")
    exact = Decimal(value)
    # An adversarial exponent (1e999999) must not become an integer of a million digits.
    if not exact.is_finite() or abs(exact) > 10**13:
        raise ValueError(f"{value!r} is out of range")
    return int((exact * NS_PER_S).to_integral_value())


def _call(f: _Fields) -> Call:
    identity = f.identity("id")
    if identity is None:
        raise ValueError("call: 'id' must not be null")
    start, end = f.time("start"), f.time_or_none("end")
    decision, finish = f.time_or_none("decision"), f.time_or_none("finish")
    for earlier, later, wrong in (
        (start, end, "ends before it starts"),
        (start, decision, "was decided before it starts"),
        (start, finish, "finishes before it starts"),
        (decision, finish or end, "ends before it was decided"),
    ):
        if earlier is not None and later is not None and later.hi_ns < earlier.lo_ns:
            raise ValueError(f"call: {wrong}")
    return Call(
        f.text("breaker"),
        f.text_or_none("instance"),
        identity,
        start,
        end,
        f.choice("outcome", OUTCOMES),
        f.flag("fallback"),
        f.identity("boot"),
        decision,
        finish,
        f.text_or_none("note"),
    )


def _arrival(f: _Fields) -> Arrival:
    return Arrival(
        f.text("breaker"),
        f.text_or_none("instance"),
        f.identity("id"),
        f.time("at"),
        f.time_or_none("done"),
        f.identity("boot"),
        f.flag("failed"),
    )


def _transition(f: _Fields) -> Transition:
    return Transition(
        f.text("breaker"),
        f.text_or_none("instance"),
        f.choice("from", STATES),
        f.choice("to", STATES),
        f.time("at"),
        f.identity("boot"),
        f.count("seq"),
        f.flag("manual") or False,
        f.text_or_none("source") or "events",
    )


def _state(f: _Fields) -> State:
    return State(
        f.text("breaker"),
        f.text_or_none("instance"),
        f.choice("state", STATES),
        f.time("at"),
        f.identity("boot"),
        f.count("failures"),
        f.text_or_none("source") or "poll",
    )


def _counter(f: _Fields) -> Counter:
    value = f.count("value")
    if value is None:
        raise ValueError("counter: 'value' must be a whole number, not None")
    return Counter(
        f.text("breaker"),
        f.text_or_none("instance"),
        f.choice("name", COUNTERS),
        value,
        f.time("at"),
        f.identity("boot"),
        f.text_or_none("source") or "metrics",
        f.flag("others") or False,
    )


_BUILD: Final[Mapping[str, Callable[[_Fields], Observation]]] = {
    "call": _call,
    "arrival": _arrival,
    "transition": _transition,
    "state": _state,
    "counter": _counter,
    "fault": lambda f: Fault(f.text("name"), f.time("on"), f.time_or_none("off")),
    "boot": lambda f: Boot(f.text("instance"), f.time("at"), f.identity("boot")),
    "gap": lambda f: Gap(
        f.text("source"),
        f.time_or_none("at"),
        f.count("lost"),
        f.text_or_none("breaker"),
        f.text_or_none("instance"),
    ),
}


def to_json(observation: Observation) -> dict[str, Any]:
    """The public form of one observation; `parse_entry(to_json(x)) == x` to the nanosecond below 2**53 ns."""
    entry: dict[str, Any] = {"kind": type(observation).__name__.lower()}
    for name in observation.__dataclass_fields__:
        value = getattr(observation, name)
        key = {"from_state": "from", "to_state": "to"}.get(name, name)
        if isinstance(value, Interval):
            entry[key] = seconds(value)
        elif value is not None or key in _KEYS[entry["kind"]][0]:
            entry[key] = value
    return entry


def seconds(interval: Interval) -> float | list[float]:
    """Seconds on paper: one number for an exact instant, else [lo, hi]."""
    if interval.lo_ns == interval.hi_ns:
        return interval.lo_ns / NS_PER_S
    return [interval.lo_ns / NS_PER_S, interval.hi_ns / NS_PER_S]


def dump_jsonl(history: Iterable[Observation]) -> str:
    """The whole history as JSON Lines, in the given order."""
    return "".join(json.dumps(to_json(entry), separators=(",", ":")) + "\n" for entry in history)
