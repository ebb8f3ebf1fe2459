"""A breaker's specification from a Resilience4j `application.yml`, as Spring Boot and Resilience4j read it.

    resilience4j.circuitbreaker.instances.<name>     properties, and `baseConfig`
    resilience4j.circuitbreaker.configs.<name>       what instances inherit

Inheritance is the library's: an instance's `baseConfig`, or else the config of its own name, or else `default`; a config
may have a `baseConfig` itself; what is written nearer wins. Names are bound as Spring does (`waitDurationInOpenState`,
`wait-duration-in-open-state`, `wait_duration_in_open_state`), keys may be nested or dotted, durations are `10s`,
`PT10S`, or a number of milliseconds. Values that are not in the file (`${...}`) and properties that are not known are
refused, with file and line: half a specification would judge a breaker by somebody else's numbers.

Of several YAML documents those without a profile, and those of the named profiles, are laid over each other in order.
Which exceptions count is not taken over: whoever observes a call says what became of it. Pure: text in, mapping out.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

_ROOT: Final = ("resilience4j", "circuitbreaker")
PREFIX: Final = "resilience4j.circuitbreaker.instances."


class SourceError(ValueError):
    """A file that no specification can be read from; `where` is `file:line` (or just the file)."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message


@dataclass(frozen=True, slots=True)
class _Property:
    """One written value, and the line that it stands in."""

    name: str
    value: Any
    line: int


def read_resilience4j(
    text: str, instance: str, *, source: str = "application.yml", profiles: Iterable[str] = ()
) -> dict[str, Any]:
    """The written specification of one instance: `{"dialect": "resilience4j", "wait_ms": ..., ...}`.

    `instance` is a name, or the whole path `resilience4j.circuitbreaker.instances.NAME`. `source` names the text in
    messages. Raises SourceError.
    """
    name = instance.removeprefix(PREFIX).removeprefix("resilience4j.circuitbreaker.backends.")
    file = _File(text, source, frozenset(profiles))
    return _Reader(source, file.inherited(name)).spec()


class _File:
    """The flattened keys of a text's documents."""

    def __init__(self, text: str, source: str, profiles: frozenset[str]) -> None:
        self._source = source
        try:
            documents = list(YAML(typ="rt").load_all(text))
        except YAMLError as error:
            mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
            where = f"{source}:{mark.line + 1}" if mark else source
            raise SourceError(where, f"not YAML: {getattr(error, 'problem', None) or error}") from None
        self._properties: dict[tuple[str, str, str], _Property] = {}
        self._names: dict[str, dict[str, int]] = {"instances": {}, "configs": {}}
        for document in documents:
            flat = list(_flatten(document, ()))
            if _applies(flat, profiles):
                for path, value, line in flat:
                    self._take(path, value, line)

    def _take(self, path: tuple[str, ...], value: Any, line: int) -> None:
        if tuple(_relaxed(part) for part in path[:2]) != _ROOT or len(path) < 3:
            return
        group = {"backends": "instances"}.get(_relaxed(path[2]), _relaxed(path[2]))
        if group not in self._names:
            return  # aspect orders and metrics: nothing about a breaker
        if len(path) == 4 and value is None:
            self._names[group].setdefault(path[3], line)
        if len(path) < 5:
            return
        self._names[group].setdefault(path[3], line)
        key = _relaxed(path[4])
        self._properties[group, path[3], key] = _Property(".".join(path[4:]), value, line)

    def inherited(self, name: str) -> dict[str, _Property]:
        """The properties of an instance, nearest first."""
        if name not in self._names["instances"]:
            known = self._names["instances"]
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known) or 'none'}"
            raise SourceError(self._source, f"no instance {name!r} under {PREFIX.rstrip('.')}; {hint}")
        found = self._own("instances", name)
        seen = {name} if "baseconfig" in found else set()
        base = self._base(found, name)
        while base is not None:
            if base in seen:
                raise SourceError(self._source, f"the baseConfig of {name!r} comes back to {base!r}")
            seen.add(base)
            own = self._own("configs", base)
            found = {**own, **found}
            base = self._base(own, None)
        return found

    def _base(self, own: Mapping[str, _Property], instance: str | None) -> str | None:
        """What to inherit from: the named config, or for an instance that names none the one of its name, or `default`."""
        configs = self._names["configs"]
        written = own.get("baseconfig")
        if written is not None:
            if written.value not in configs:
                known = ", ".join(configs) or "none"
                where = f"{self._source}:{written.line}"
                raise SourceError(where, f"baseConfig: no config {written.value!r}; there is {known}")
            return str(written.value)
        if instance is None:
            return None
        return instance if instance in configs else "default" if "default" in configs else None

    def _own(self, group: str, name: str) -> dict[str, _Property]:
        return {key: p for (of, whose, key), p in self._properties.items() if (of, whose) == (group, name)}


class _Reader:
    """Written properties to the fields of a specification."""

    def __init__(self, source: str, properties: Mapping[str, _Property]) -> None:
        self._source = source
        self._properties = properties
        for key, found in properties.items():
            if key not in _KNOWN:
                near = difflib.get_close_matches(key, _KNOWN, n=1)
                hint = f"; did you mean {_KNOWN[near[0]]!r}?" if near else ""
                raise self._refused(found, f"unknown property {found.name!r}{hint}")

    def spec(self) -> dict[str, Any]:
        """The flat mapping."""
        self._check_start()
        size = self._get("slidingwindowsize", _count, 100)
        minimum = self._get("minimumnumberofcalls", _count, 100)
        ratio = self._get("failureratethreshold", _percent, 0.5)
        spec: dict[str, Any] = {"dialect": "resilience4j", "ratio": ratio, "close_ratio": ratio}
        if self._get("slidingwindowtype", _window, "count") == "time":
            spec |= {"trip": "time", "window_ms": size * 1000, "minimum_calls": minimum}
        else:
            # A window of calls that can never hold the minimum is full before.
            spec |= {"trip": "count", "window": size, "minimum_calls": min(minimum, size)}
        if "slowcallratethreshold" in self._properties or "slowcalldurationthreshold" in self._properties:
            spec["slow_ms"] = self._get("slowcalldurationthreshold", _duration_ms, 60_000)
            spec["slow_ratio"] = self._get("slowcallratethreshold", _percent, 1.0)
        spec |= self._wait()
        spec["permitted"] = self._get("permittednumberofcallsinhalfopenstate", _count, 10)
        if self._get("automatictransitionfromopentohalfopenenabled", _flag, False):
            spec["entry"] = "timer"
        if dwell_ms := self._get("maxwaitdurationinhalfopenstate", _duration_ms, 0):
            spec["dwell_ms"] = dwell_ms
            spec["dwell_leads_to"] = self._get("transitiontostateafterwaitduration", _after_wait, "open")
        return spec

    def _wait(self) -> dict[str, Any]:
        wait_ms = self._get("waitdurationinopenstate", _duration_ms, 60_000)
        backs_off = self._get("enableexponentialbackoff", _flag, False)
        randomised = self._get("enablerandomizedwait", _flag, False)
        if backs_off and randomised:
            found = self._properties["enablerandomizedwait"]
            raise self._refused(
                found, "Resilience4j refuses a randomised wait together with exponential back-off"
            )
        if backs_off:
            spec = {"wait_ms": wait_ms, "backoff": self._get("exponentialbackoffmultiplier", _factor, 1.5)}
            cap_ms = self._get("exponentialmaxwaitdurationinopenstate", _duration_ms, None)
            return spec if cap_ms is None else {**spec, "wait_cap_ms": cap_ms}
        if randomised:
            share = self._get("randomizedwaitfactor", _share, 0.5)
            return {"wait_ms": wait_ms * (1 - share), "wait_max_ms": wait_ms * (1 + share)}
        return {"wait_ms": wait_ms}

    def _check_start(self) -> None:
        start = self._properties.get("initialstate")
        if start is not None and str(start.value).upper() != "CLOSED":
            raise self._refused(start, "a breaker that does not start closed cannot be judged from its start")

    def _get(self, key: str, read: Callable[[Any], Any], default: Any) -> Any:
        found = self._properties.get(key)
        if found is None or found.value is None:
            return default
        if isinstance(found.value, str) and "${" in found.value:
            raise self._refused(
                found, f"{found.value!r} is not in this file; write the value, or give the spec itself"
            )
        try:
            return read(found.value)
        except ValueError as error:
            raise self._refused(found, str(error)) from None

    def _refused(self, found: _Property, message: str) -> SourceError:
        return SourceError(f"{self._source}:{found.line}", f"{found.name}: {message}")


def _flatten(node: Any, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any, int]]:
    """Every leaf with its path (dotted keys taken apart) and its line, from 1."""
    if not isinstance(node, CommentedMap):
        return
    for key, value in node.items():
        here = (*path, *_parts(str(key)))
        line = node.lc.key(key)[0] + 1
        if isinstance(value, CommentedMap) and value:
            yield from _flatten(value, here)
        else:
            yield here, None if isinstance(value, CommentedMap) else value, line


def _parts(key: str) -> list[str]:
    """`a.b` to a, b; `instances[price.list]` and `"[price.list]"` keep what is in brackets whole."""
    return [bracketed or plain for bracketed, plain in re.findall(r"\[([^\]]+)\]|([^.\[\]]+)", key)]


def _relaxed(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()


def _applies(flat: Iterable[tuple[tuple[str, ...], Any, int]], profiles: frozenset[str]) -> bool:
    """Whether a document holds without a profile, or for one of the named."""
    for path, value, _ in flat:
        if ".".join(path) in {"spring.config.activate.on-profile", "spring.profiles"}:
            wanted = value if isinstance(value, list) else str(value).split(",")
            return any(str(name).strip() in profiles for name in wanted)
    return True


_ISO: Final = re.compile(r"[+]?PT?(?:(\d+)D)?T?(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", re.IGNORECASE)
_SIMPLE: Final = re.compile(r"([+]?\d+)\s*([a-z]{0,2})", re.IGNORECASE)
_UNITS_MS: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    "ns": Decimal("0.000001"),
    "us": Decimal("0.001"),
    "ms": Decimal(1),
    "s": Decimal(1000),
    "m": Decimal(60_000),
    "h": Decimal(3_600_000),
    "d": Decimal(86_400_000),
}


def _duration_ms(value: Any) -> int | float:
    """Spring's durations: a number of milliseconds, `10s`, or ISO 8601."""
    text = str(value).strip()
    simple = _SIMPLE.fullmatch(text)
    if simple is not None and simple[2].lower() in _UNITS_MS and not isinstance(value, bool):
        return _number(int(simple[1]) * _UNITS_MS[simple[2].lower()])
    iso = _ISO.fullmatch(text)
    if iso is not None and any(iso.groups()):
        days, hours, minutes, seconds = (Decimal(part or 0) for part in iso.groups())
        return _number((((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000)
    raise ValueError(f"{value!r} is no duration; write 10s, 500ms, PT10S, or a number of milliseconds")


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not str(value).strip().isdecimal() or int(value) < 1:
        raise ValueError(f"{value!r} is no whole number of at least 1")
    return int(value)


def _decimal(value: Any, least: float, most: float, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not least <= number <= most:
        raise ValueError(f"{value!r} is no {what}")
    return number


def _percent(value: Any) -> float:
    return round(_decimal(value, 1e-9, 100, "percentage above 0 and up to 100") / 100, 12)


def _share(value: Any) -> float:
    return _decimal(value, 0, 0.999999, "factor from 0 to below 1")


def _factor(value: Any) -> float:
    return _decimal(value, 1, 1000, "multiplier of 1 or more")


def _flag(value: Any) -> bool:
    if str(value).lower() not in {"true", "false"}:
        raise ValueError(f"{value!r} is neither true nor false")
    return str(value).lower() == "true"


def _window(value: Any) -> str:
    kinds = {"countbased": "count", "timebased": "time"}
    if _relaxed(str(value)) not in kinds:
        raise ValueError(f"{value!r} is neither COUNT_BASED nor TIME_BASED")
    return kinds[_relaxed(str(value))]


def _after_wait(value: Any) -> str:
    if str(value).lower() not in {"open", "closed"}:
        raise ValueError(f"{value!r} is neither OPEN nor CLOSED")
    return str(value).lower()


_KNOWN: Final[Mapping[str, str]] = {
    _relaxed(name): name
    for name in (
        "allowHealthIndicatorToFail",
        "automaticTransitionFromOpenToHalfOpenEnabled",
        "baseConfig",
        "enableExponentialBackoff",
        "enableRandomizedWait",
        "eventConsumerBufferSize",
        "exponentialBackoffMultiplier",
        "exponentialMaxWaitDurationInOpenState",
        "failureRateThreshold",
        "ignoreClassBindingExceptions",
        "ignoreExceptionPredicate",
        "ignoreExceptions",
        "initialState",
        "maxWaitDurationInHalfOpenState",
        "minimumNumberOfCalls",
        "permittedNumberOfCallsInHalfOpenState",
        "randomizedWaitFactor",
        "recordExceptions",
        "recordFailurePredicate",
        "recordResultPredicate",
        "registerHealthIndicator",
        "slidingWindowSize",
        "slidingWindowSynchronizationStrategy",
        "slidingWindowType",
        "slowCallDurationThreshold",
        "slowCallRateThreshold",
        "transitionToStateAfterWaitDuration",
        "waitDurationInOpenState",
        "writableStackTraceEnabled",
    )
}
