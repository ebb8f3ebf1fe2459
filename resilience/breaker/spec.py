"""What a breaker promises: a frozen, parameterised specification that the automaton and the rules are read from.

A specification is written as a flat mapping, e.g. `{"dialect": "purgatory", "failures": 5, "wait_ms": 1000}`. A dialect
(`dialects`) fills in what is not written, and knows where its library leaves the ideal; those fields come in
two values, the *declared* one, which the run is held to, and the *ideal* one, which `strict` holds it to.

Unknown keys are refused with the nearest known one: a misspelt threshold must not silently become a default.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

NS_PER_MS: Final = 1_000_000


class SpecError(ValueError):
    """A specification that cannot be used; `path` is the key at fault, e.g. `spec.failures`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


@dataclass(frozen=True, slots=True)
class BreakerSpec:
    """Every promise that a rule may hold a breaker to. Durations are nanoseconds; None means "not promised"."""

    dialect: str = "strict"

    # trip: what opens a closed breaker
    trip: str = "consecutive"  # consecutive | count (last `window` calls) | time (last `window_ns`) | never
    failures: int = 5  # consecutive, or absolute within the window where `ratio` is None
    window: int = 0
    window_ns: int = 0
    tumbling: bool = False
    minimum_calls: int = 0
    ratio: float | None = None
    strictly_above: bool = False
    slow_ns: int | None = None
    slow_ratio: float | None = None
    rejections_count: bool = False
    evaluation_ns: int = 0  # the trip condition is looked at this often; 0: at every outcome

    # classify: each of these is taken as failure, success or neutral
    timeout_as: str = "failure"
    cancelled_as: str = "neutral"
    excluded_as: str = "neutral"
    timeout_ns: int | None = None  # per-call time-out inside the breaker

    # open
    wait_ns: int = 1_000_000_000
    wait_max_ns: int | None = None  # None: the same as the minimum
    backoff: float = 1.0
    wait_cap_ns: int | None = None
    entry: str = "lazy"  # lazy (at the next request) | timer | on_read
    late_failure_restarts_wait: bool = False
    success_while_open_closes: bool = False

    # half-open
    permitted: int | None = 1  # None: unbounded
    probes: str = "concurrent"  # concurrent | total | serialised | probabilistic
    dwell_ns: int | None = None
    dwell_leads_to: str = "open"

    # close, reopen, stale
    successes: int = 1
    close_ratio: float | None = None  # failure ratio below which `permitted` results close
    reopen_on_failure: bool = True
    stale: str = "ignored"  # ignored | counted: outcomes of calls begun in an earlier epoch

    # what is promised around it
    scope: str = "instance"
    reject_ns: int | None = None  # None: half the call time-out, at least 100 ms
    half_open_event: str = "entry"  # entry | probe_end | none: when the event about half-open is emitted
    events: bool = True  # the breaker reports its transitions
    event_delay_ns: int = 250_000_000
    self_loops: bool = False
    openings_max: int | None = None
    horizon_ns: int = 60_000_000_000

    # tolerances
    eps_ns: int = 30_000_000  # timers: sleep overshoot and scheduling on a busy machine
    delta_ns: int = 4_000_000  # two observations closer than this may have happened in either order

    deviations: Mapping[str, str] = field(default_factory=dict)  # rule -> how this dialect is known to differ
    ideal: Mapping[str, Any] = field(
        default_factory=dict
    )  # field -> value, where the dialect leaves the ideal

    @staticmethod
    def from_mapping(mapping: Mapping[str, Any], *, path: str = "spec") -> BreakerSpec:
        """Build from the flat written form. Raises SpecError with the path of the key at fault."""
        from resilience.breaker.dialects import find_dialect  # noqa: PLC0415 - dialects are values of this class

        if not isinstance(mapping, Mapping):
            raise SpecError(path, "must be a mapping of parameters")
        written = dict(mapping)
        name = written.pop("dialect", "strict")
        base = find_dialect(name, path=f"{path}.dialect")
        changes: dict[str, Any] = {}
        for key, value in written.items():
            if key not in KEYS:
                near = difflib.get_close_matches(str(key), KEYS, n=1)
                raise SpecError(
                    f"{path}.{key}", f"unknown key{f'; did you mean {near[0]!r}?' if near else ''}"
                )
            attribute, read = KEYS[key]
            try:
                changes[attribute] = read(value)
            except ValueError as error:
                raise SpecError(f"{path}.{key}", str(error)) from None
        if (
            ("ratio" in changes or "window" in changes)
            and "trip" not in changes
            and base.trip == "consecutive"
        ):
            changes["trip"] = "time" if "window_ns" in changes else "count"
        # What is written says what is meant. Where the dialect is known to do otherwise, that stays declared,
        # and what is written is the ideal that `strict` holds it to.
        ideal = {
            rule: {key: changes.pop(key, value) for key, value in values.items()}
            for rule, values in base.ideal.items()
        }
        spec = replace(base, **changes, ideal=ideal)
        _validate(spec, path)
        return spec

    def idealised(self, rule: str | None = None) -> BreakerSpec:
        """The same parameters without the dialect's deviations (or without that of one rule): `strict`."""
        if rule is not None:
            return replace(self, **self.ideal.get(rule, {}))
        fields_ = {key: value for values in self.ideal.values() for key, value in values.items()}
        return replace(self, **fields_, deviations={}, ideal={})

    def wait_of(self, consecutive: int) -> tuple[int, int]:
        """(least, greatest) wait in ns of the n-th opening in a row, counted from 1."""
        # Exponents are bounded so that a breaker that flaps for hours does not overflow a float.
        factor = self.backoff ** min(consecutive - 1, 64) if self.backoff != 1.0 else 1.0
        least = int(self.wait_ns * factor)
        most = int((self.wait_max_ns if self.wait_max_ns is not None else self.wait_ns) * factor)
        if self.wait_cap_ns is not None:
            least, most = min(least, self.wait_cap_ns), min(most, self.wait_cap_ns)
        return least, most

    @property
    def rejection_bound_ns(self) -> int:
        """A rejection that takes longer than this is no fast failure."""
        if self.reject_ns is not None:
            return self.reject_ns
        return max(100 * NS_PER_MS, (self.timeout_ns or 0) // 2)

    def classify(self, outcome: str) -> str:
        """failure, success, neutral or unknown, for an outcome of the history format that is not a rejection."""
        if outcome == "ok":
            return "success"
        if outcome in {"failure", "unknown"}:
            return outcome
        return {"timeout": self.timeout_as, "cancelled": self.cancelled_as, "excluded": self.excluded_as}[
            outcome
        ]

    def to_json(self) -> dict[str, Any]:
        """All fields by name, as they decide."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "ideal"}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _validate(spec: BreakerSpec, path: str) -> None:
    """Combinations that no key alone can refuse."""
    if spec.trip == "count" and spec.window < 1:
        raise SpecError(f"{path}.window", "a count window needs at least 1 call")
    if spec.trip == "time" and spec.window_ns < 1:
        raise SpecError(f"{path}.window_ms", "a time window needs a length")
    if spec.slow_ratio is not None and spec.slow_ns is None:
        raise SpecError(f"{path}.slow_ms", "a slow-call ratio needs the duration that makes a call slow")
    if spec.wait_max_ns is not None and spec.wait_max_ns < spec.wait_ns:
        raise SpecError(f"{path}.wait_max_ms", "must not be below wait_ms")
    if spec.close_ratio is not None and spec.permitted is None:
        raise SpecError(f"{path}.permitted", "closing by ratio needs a number of permitted calls")


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number, at least {least}, not {value!r}")
        return value

    return read


def _ms(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e12:
        raise ValueError(f"must be milliseconds, not {value!r}")
    return round(value * NS_PER_MS)


def _number(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}, not {value!r}")
        return float(value)

    return read


def _one_of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {value!r}")
        return str(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")  # noqa: TRY004 - the caller turns ValueError into SpecError
    return value


def _permits(value: Any) -> int | None:
    return None if value == "unbounded" or value is None else _whole(1)(value)


_CLASS: Final = _one_of("failure", "success", "neutral")

KEYS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "trip": ("trip", _one_of("consecutive", "count", "time", "never")),
    "failures": ("failures", _whole(1)),
    "window": ("window", _whole(1)),
    "window_ms": ("window_ns", _ms),
    "tumbling": ("tumbling", _flag),
    "minimum_calls": ("minimum_calls", _whole(0)),
    "ratio": ("ratio", _number(0, 1)),
    "strictly_above": ("strictly_above", _flag),
    "slow_ms": ("slow_ns", _ms),
    "slow_ratio": ("slow_ratio", _number(0, 1)),
    "rejections_count": ("rejections_count", _flag),
    "evaluation_ms": ("evaluation_ns", _ms),
    "timeout_as": ("timeout_as", _CLASS),
    "cancelled_as": ("cancelled_as", _CLASS),
    "excluded_as": ("excluded_as", _CLASS),
    "timeout_ms": ("timeout_ns", _ms),
    "wait_ms": ("wait_ns", _ms),
    "wait_max_ms": ("wait_max_ns", _ms),
    "backoff": ("backoff", _number(1, 1000)),
    "wait_cap_ms": ("wait_cap_ns", _ms),
    "entry": ("entry", _one_of("lazy", "timer", "on_read")),
    "late_failure_restarts_wait": ("late_failure_restarts_wait", _flag),
    "success_while_open_closes": ("success_while_open_closes", _flag),
    "permitted": ("permitted", _permits),
    "probes": ("probes", _one_of("concurrent", "total", "serialised", "probabilistic")),
    "dwell_ms": ("dwell_ns", _ms),
    "dwell_leads_to": ("dwell_leads_to", _one_of("open", "closed")),
    "successes": ("successes", _whole(1)),
    "close_ratio": ("close_ratio", _number(0, 1)),
    "reopen_on_failure": ("reopen_on_failure", _flag),
    "stale": ("stale", _one_of("ignored", "counted")),
    "scope": ("scope", _one_of("instance", "shared")),
    "reject_ms": ("reject_ns", _ms),
    "half_open_event": ("half_open_event", _one_of("entry", "probe_end", "none")),
    "events": ("events", _flag),
    "event_delay_ms": ("event_delay_ns", _ms),
    "self_loops": ("self_loops", _flag),
    "openings_max": ("openings_max", _whole(0)),
    "horizon_ms": ("horizon_ns", _ms),
    "eps_ms": ("eps_ns", _ms),
    "delta_ms": ("delta_ns", _ms),
}
