"""What a breaker promises: a frozen, parameterised specification that the automaton and the rules are read from.

A specification is written as a flat mapping, e.g. `{"dialect": "purgatory", "failures": 5, "wait_ms": 1000}`. A dialect
(`dialects`) fills in what is not written, and knows where its library leaves the ideal; those fields come in
two values, the *declared* one, which the run is held to, and the *ideal* one, which `strict` holds it to.

Unknown keys are refused with the nearest known one: a misspelt threshold must not silently become a default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from resilience.breaker.written import KEYS, NS_PER_MS

__all__ = ["KEYS", "NS_PER_MS", "BreakerSpec", "SpecError"]


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
    bucket_ns: int = 0  # a time window forgets in steps of this
    tumbling: bool = False  # the window (or the row) begins anew each `window` calls or `window_ns`
    tumbling_from: str = "closing"  # closing: periods count from entering closed | activity: the first event after one ends begins the next, an epoch of its own
    trips_on: str = "any"  # any | failure: the outcomes at which the condition is looked at
    counted_at: str = "outcome"  # outcome | start: when a call enters the denominator of a time window
    window_survives: bool = False  # the window counts in every state, and is not emptied by changes of state
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
    late_failure_opens: bool = False  # a probe that fails after another has closed it may open it at once
    late_failure_may_restart: bool = False  # ... or not, depending on what the library counted
    success_while_open_closes: bool = False

    # half-open
    permitted: int | None = 1  # None: unbounded
    probes: str = "concurrent"  # concurrent | total | serialised | probabilistic
    excess: str = "rejects"  # rejects | queues: what becomes of calls beyond the permits
    dwell_ns: int | None = None
    dwell_leads_to: str = "open"

    # close, reopen, stale
    successes: int = 1
    results: int | None = None  # by ratio: after so many results; None: after `permitted`
    successes_of: int | None = (
        None  # `successes` of this many probes; so many failures that they are out of reach reopen
    )
    close_ratio: float | None = None  # failure ratio below which `permitted` results close
    reopen_on_failure: bool = True
    stale: str = "ignored"  # ignored | counted | either: outcomes of calls begun in an earlier epoch
    stale_frees_permit: bool = False  # ... and such a call gives back a permit that it never took

    # what is promised around it
    manual: str = "reported"  # reported | possible: whether somebody may switch it by hand without a report
    instances: int = 1  # how many stand behind observations that name none
    scope: str = "instance"
    reject_ns: int | None = None  # None: half the call time-out, at least 100 ms
    half_open_event: str = "entry"  # entry | probe_end | none: when the event about half-open is emitted
    events: bool = True  # the breaker reports its transitions
    event_delay_ns: int = 0  # how late an event's stamp may be
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
        if "trip" not in changes and base.trip in {"consecutive", "count"}:
            by_time = "window_ns" in changes and "window" not in changes
            windowed = bool(changes.keys() & {"ratio", "window", "slow_ratio"})
            if by_time and base.trip == "consecutive" and not windowed:
                windowed = "failures" in changes and not changes.get("tumbling")
            if windowed or (by_time and base.trip == "count"):
                changes["trip"] = "time" if by_time else "count"
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
    def least_calls(self) -> int:
        """Calls that a window must hold before it can trip; a count window never asks for more than it can hold."""
        least = max(self.minimum_calls, 1)
        return min(least, self.window) if self.trip == "count" else least

    @property
    def resolving_results(self) -> int:
        """Results after which a half-open breaker that closes by ratio looks at them."""
        return self.results or self.permitted or 1

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
        taken = {"timeout": self.timeout_as, "cancelled": self.cancelled_as, "excluded": self.excluded_as}
        return "unknown" if taken[outcome] == "any" else taken[outcome]

    def to_json(self) -> dict[str, Any]:
        """All fields by name, as they decide."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name != "ideal"}


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _validate(spec: BreakerSpec, path: str) -> None:
    """Combinations that no key alone can refuse."""
    _validate_trip(spec, path)
    if spec.successes_of is not None and spec.successes_of < spec.successes:
        raise SpecError(f"{path}.successes_of", "must not be below successes")
    if spec.wait_max_ns is not None and spec.wait_max_ns < spec.wait_ns:
        raise SpecError(f"{path}.wait_max_ms", "must not be below wait_ms")
    if spec.close_ratio is not None and spec.permitted is None and spec.results is None:
        raise SpecError(
            f"{path}.permitted", "closing by ratio needs a number of permitted calls, or of results"
        )


def _validate_trip(spec: BreakerSpec, path: str) -> None:
    if spec.slow_ratio is not None and spec.slow_ns is None:
        raise SpecError(f"{path}.slow_ms", "a slow-call ratio needs the duration that makes a call slow")
    if spec.trip == "count" and spec.window < 1:
        raise SpecError(f"{path}.window", "a count window needs at least 1 call")
    if spec.trip == "time" and spec.window_ns < 1:
        raise SpecError(f"{path}.window_ms", "a time window needs a length")
    if spec.tumbling and spec.trip == "consecutive" and spec.window_ns < 1:
        raise SpecError(f"{path}.window_ms", "a count that begins anew each period needs the period's length")
    if spec.window_survives and spec.trip != "time":
        raise SpecError(f"{path}.window_survives", "only a time window can outlive changes of state")
    if spec.counted_at == "start" and spec.tumbling:
        raise SpecError(f"{path}.counted_at", "a window that begins anew counts calls at their outcome")
    if spec.bucket_ns and spec.bucket_ns > spec.window_ns:
        raise SpecError(f"{path}.bucket_ms", "must not be above window_ms")
