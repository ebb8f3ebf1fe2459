"""What a line of a run record must look like, so that its readers need not doubt it. Pure.

A record is a folder of text that people copy, cut and edit. Each check gives None, or words that say what is wrong with
one decoded line; `resilience.run.record` puts the file and the line's number before them. Only what is read of a line is
checked: kinds and keys that nobody knows yet pass, so that an older tool can read a newer record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from resilience.metrics.outcomes import HISTOGRAMS

Check = Callable[[Any], bool]
Shape = Mapping[str, Check]
_BUCKET_DIGITS: Final = 5
_MOST: Final = 10**30
"""No number of a record is larger. JSON knows no bound, and four hundred digits divided by anything are too many for a float."""


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value <= _MOST


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_MOST <= value <= _MOST


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _interval(value: Any) -> bool:
    """`[lo, hi]` in ns."""
    return isinstance(value, list) and len(value) == 2 and all(map(_whole, value)) and value[0] <= value[1]


def _time(value: Any) -> bool:
    return _whole(value) or _interval(value)


def _counts(value: Any) -> bool:
    if not isinstance(value, dict) or not set(map(type, value.values())) <= {int}:
        return False
    return not value or (min(value.values()) >= -_MOST and max(value.values()) <= _MOST)


def _buckets(value: Any) -> bool:
    # Of a run's length and rate there are millions of these: looked at all at once. Values of 64 bits have buckets of five digits.
    if not _counts(value):
        return False
    digits = "".join(value)
    return not value or (
        digits.isascii() and digits.isdigit() and "" not in value and max(map(len, value)) <= _BUCKET_DIGITS
    )


def _histograms(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_buckets, value.values()))


def _flights(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_number, value.values()))


def _waves(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(wave, list) and len(wave) == 3 and all(map(_whole, wave)) for wave in value
    )


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


_RUN: Final[Mapping[str, tuple[Shape, Shape]]] = {
    "started": ({}, {"run_id": _text, "seed": _whole}),
    "epoch": ({"epoch_ns": _whole}, {}),
    "ended": ({"reason": _text}, {"detail": _text, "signal": _whole}),
}
_CACHE_FIGURES: Final[Shape] = dict.fromkeys(
    ("evicted", "expired", "hits", "misses", "keys", "used_bytes", "limit_bytes"), _or_none(_whole)
)
_EVENTS: Final[Mapping[str, tuple[Shape, Shape]]] = {
    "run": ({"state": _text}, {}),
    "phase": ({"name": _text, "state": _text}, {}),
    "fault": ({"id": _text, "step": _text}, {"at": _interval, "detail": _object}),
    "breaker.transition": (
        {"breaker": _text, "instance": _or_none(_text), "from": _text, "to": _text, "at": _time},
        {"boot": _or_none(_text), "seq": _or_none(_whole), "source": _text},
    ),
    "breaker.state": (
        {"breaker": _text, "instance": _or_none(_text), "state": _text},
        {"at": _time, "boot": _or_none(_text), "source": _text},
    ),
    "breaker.total": (
        {
            "breaker": _text,
            "instance": _or_none(_text),
            "name": _text,
            "value": _whole,
            "at": _time,
        },
        {"boot": _or_none(_text), "source": _text, "others": _flag},
    ),
    "resource": (
        {"service": _text, "pid": _whole, "at": _interval},
        {"rss_bytes": _number, "cpu_s": _number},
    ),
    "stimulus": (
        {"state": _text},
        {"load": _text, "instance": _or_none(_text), "part": _text, "why": _text},
    ),
    "machine": (
        {"at": _interval, "cores": _whole, "idle_s": _number, "foreign_s": _number},
        {"ours_s": _number, "waited_s": _number},
    ),
    "health": (
        {"stage": _text, "instance": _text, "at": _interval},
        {"service": _text, "dependencies": _object, "breakers": _object},
    ),
    "cache": ({"cache": _text, "boot": _text, "at": _interval}, _CACHE_FIGURES),
    "scale": ({"step": _text, "at": _interval}, {"instance": _text}),
    "gap": (
        {"source": _text},
        {
            "at": _or_none(_time),
            "lost": _or_none(_whole),
            "breaker": _or_none(_text),
            "instance": _or_none(_text),
        },
    ),
}
_BINS: Final[tuple[Shape, Shape]] = (
    {"load": _text, "phase": _text, "s": _whole, "n": _counts, "first": _whole},
    dict.fromkeys(HISTOGRAMS, _buckets),
)
_FIGURES: Final[tuple[Shape, Shape]] = (
    {"load": _text, "phase": _text, "s": _whole, "n": _counts, "h": _histograms},
    {"worker": _whole},
)
_NOTE: Final[tuple[Shape, Shape]] = (
    {"what": _text},
    {"i": _whole, "at": _interval, "outcome": _text, "status": _or_none(_whole)},
)
_WORKERS: Final[Mapping[str, tuple[Shape, Shape]]] = {
    "worker": (
        {"worker": _whole, "t": _whole, "cpu": _number, "fds": _whole, "in_flight": _flights},
        {"fd_limit": _whole, "stall_ns": _number},
    ),
    "end": (
        {"worker": _whole, "load": _text, "t": _whole, "epoch_ns": _whole, "scheduled": _whole},
        {"stall_ns": _number, "herd_writes": _or_none(_waves)},
    ),
    "lost": ({"worker": _whole, "exit": _or_none(_whole)}, {"name": _text}),
    "late": ({"worker": _whole, "late_ns": _whole, "why": _text}, {"name": _text}),
    "clock": ({"worker": _whole, "shift_ns": _whole, "error": _interval, "jumps": _whole}, {"name": _text}),
}
_WIRE: Final[Mapping[str, tuple[Shape, Shape]]] = {
    "arrival": ({"n": _whole, "at": _time}, {"id": _or_none(_text)}),
    "done": ({"n": _whole, "at": _time}, {"status": _or_none(_whole), "end": _or_none(_text)}),
}
_STAMP: Final = _or_none(_whole)
_CALL: Final = (_whole, _whole, _whole, _STAMP, _STAMP, _STAMP, _or_none(_whole), _text, _or_none(_text))


def event_problem(line: Any) -> str | None:
    """A line of `events.jsonl`."""
    wrong = _wrong(line, ({"t": _time, "kind": _text}, {}))
    if wrong is not None:
        return wrong
    wrong = _wrong(line, _EVENTS.get(line["kind"], ({}, {})))
    if wrong is None and line["kind"] == "run":
        wrong = _wrong(line, _RUN.get(line["state"], ({}, {})))
    return wrong


def bins_problem(line: Any) -> str | None:
    """A line of `samples/bins.jsonl`."""
    return _wrong(line, _BINS)


def figures_problem(line: Any) -> str | None:
    """A line of `samples/figures.jsonl`."""
    return _wrong(line, _FIGURES)


def note_problem(line: Any) -> str | None:
    """A line of `samples/notes-LOAD.jsonl`."""
    return _wrong(line, _NOTE)


def worker_problem(line: Any) -> str | None:
    """A line of `samples/workers.jsonl`."""
    return _wrong(line, ({"kind": _text}, {})) or _wrong(line, _WORKERS.get(line["kind"], ({}, {})))


def wire_problem(line: Any) -> str | None:
    """A line of `samples/wire-PROXY.jsonl`."""
    return _wrong(line, ({"what": _text}, {})) or _wrong(line, _WIRE.get(line["what"], ({}, {})))


def call_problem(line: Any) -> str | None:
    """A line of `samples/calls-LOAD.jsonl`: the row of one call."""
    if not isinstance(line, list) or len(line) < len(_CALL):
        return f"not a list of at least {len(_CALL)} values"
    for place, (check, value) in enumerate(zip(_CALL, line, strict=False)):
        if not check(value):
            return f"value {place} cannot be {value!r:.60}"
    return None


def journal_problem(line: Any) -> str | None:
    """A line of `faults.jsonl`, as far as the record needs it."""
    return _wrong(line, ({}, {"healed_at": _or_none(_interval), "verified_at": _or_none(_interval)}))


def environment_problem(value: Any) -> str | None:
    """The whole of `environment.json`."""
    wrong = _wrong(value, ({}, {"system": _object}))
    if wrong is not None:
        return wrong
    system = value.get("system", {})
    wrong = _wrong(system, ({}, {"base_url": _text, "proxies": _object, "facts": _object}))
    if wrong is None and not all(map(_object, system.get("proxies", {}).values())):
        wrong = "a proxy is not an object"
    if wrong is None and not all(map(_text, system.get("facts", {}).values())):
        wrong = "a fact is not a string"
    return wrong


def _wrong(line: Any, shape: tuple[Shape, Shape]) -> str | None:
    """What is wrong with a line of which some keys are required and some may be there."""
    if not isinstance(line, dict):
        return "not a JSON object"
    required, optional = shape
    for key, check in required.items():
        if key not in line:
            return f"{key!r} is missing"
        if not check(line[key]):
            return f"{key!r} cannot be {line[key]!r:.60}"
    for key, check in optional.items():
        if key in line and not check(line[key]):
            return f"{key!r} cannot be {line[key]!r:.60}"
    return None
