"""How real breaker libraries behave, as specifications: one entry a dialect, read from the libraries' sources.

A dialect starts from the ideal breaker (one probe at a time, an outcome of an earlier epoch changes nothing, a
cancelled call changes no count) and names each field in which its library differs, together with the rule
under which that difference is reported as DECLARED. What is not named is held to the ideal.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from resilience.breaker.spec import BreakerSpec, SpecError


@dataclass(frozen=True, slots=True)
class Quirk:
    """One deviation: in words, and the fields in which it shows."""

    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


def _dialect(name: str, quirks: Mapping[str, Quirk] | None = None, **parameters: Any) -> BreakerSpec:
    """`quirks` go by the rule under which they are declared; the ideal values of their fields are kept for `strict`."""
    ideal = BreakerSpec()
    quirks = quirks or {}
    differing = {key: value for quirk in quirks.values() for key, value in quirk.fields.items()}
    return replace(
        ideal,
        dialect=name,
        **{**parameters, **differing},
        deviations={rule: quirk.text for rule, quirk in quirks.items()},
        ideal={rule: {key: getattr(ideal, key) for key in quirk.fields} for rule, quirk in quirks.items()},
    )


_UNBOUNDED: Final = Quirk("half-open admits any number of calls at once", {"permitted": None})
_STALE: Final = Quirk(
    "an outcome of a call begun in an earlier epoch counts in the present one", {"stale": "counted"}
)
_LATE: Final = Quirk("a late failure while open starts the wait anew", {"late_failure_restarts_wait": True})

_EITHER: Final = Quirk(
    "an outcome of a call begun in an earlier epoch may count in the present one", {"stale": "either"}
)
_SUCCEEDS: Final = Quirk(
    "a cancelled call and an excluded exception count as successes",
    {"cancelled_as": "success", "excluded_as": "success"},
)
_SURVIVES: Final = Quirk(
    "the window goes on counting in every state, and closing does not empty it", {"window_survives": True}
)

_PYTHON: Final = (
    # purgatory 3.0: the half-open message lies in the context's queue until some call leaves the breaker; OPEN
    # ignores every outcome, HALF-OPEN takes any; BaseException (cancellation too) is a failure.
    _dialect(
        "purgatory",
        {
            "R8": _UNBOUNDED,
            "R13": _STALE,
            "R14": Quirk(
                "a cancelled call counts as a failure, an excluded exception as a success",
                {"cancelled_as": "failure", "excluded_as": "success"},
            ),
        },
        half_open_event="probe_end",
    ),
    # aiobreaker 1.2: counts failures in every state, so a late failure while open opens again (OPEN to OPEN). An outcome is
    # handled by the state in which its call began: a probe that succeeds after another has failed closes an open breaker.
    _dialect(
        "aiobreaker",
        {
            "R1": Quirk(
                "staying where it is is reported, too: open to open after a late failure, closed to closed after one more probe",
                {"self_loops": True},
            ),
            "R7": _LATE,
            "R8": _UNBOUNDED,
            "R13": Quirk(
                "an outcome counts as its call began: a late probe's success closes even an open breaker, its failure opens "
                "even a closed one",
                {"stale": "either", "success_while_open_closes": True, "late_failure_opens": True},
            ),
            "R14": Quirk("an excluded exception counts as a success", {"excluded_as": "success"}),
        },
    ),
    # circuitbreaker 2.1: half-open is computed on reading; no events; any success closes, even while open.
    _dialect(
        "circuitbreaker",
        {
            "R7": _LATE,
            "R8": _UNBOUNDED,
            "R13": Quirk(
                "an outcome of an earlier epoch counts, and a late success closes even an open breaker",
                {"stale": "counted", "success_while_open_closes": True},
            ),
            "R14": _SUCCEEDS,
        },
        entry="on_read",
        half_open_event="none",
    ),
    # hyx 0.0.2: a fresh half-open state per admitted call while failing; successes of any epoch are credited. Its context manager takes
    # whatever is none of its exceptions for a success, a cancellation too; its decorator leaves it uncounted.
    _dialect(
        "hyx",
        {
            "R8": _UNBOUNDED,
            "R13": _STALE,
            "R14": Quirk(
                "a cancelled call and an excluded exception may count as successes",
                {"cancelled_as": "any", "excluded_as": "any"},
            ),
        },
        half_open_event="none",
    ),
    # pybreaker 1.4: one lock around the whole call, so probes (and all calls) are serialised, and callers wait for it.
    _dialect(
        "pybreaker",
        {
            "R14": Quirk(
                "a cancelled call counts as a failure, an excluded exception as a success",
                {"cancelled_as": "failure", "excluded_as": "success"},
            )
        },
        probes="serialised",
        excess="queues",
    ),
    # fluxgate 0.9, the asyncio one: a semaphore admits `max_half_open_calls`, a permit may turn calls away at random; an outcome is
    # handled by the state in which its call began, if that is the state again. The synchronous one has no cap: `permitted: unbounded`.
    _dialect(
        "fluxgate",
        {"R13": _EITHER},
        wait_ns=60_000_000_000,
        permitted=10,
        probes="probabilistic",
        excess="queues",
    ),
    # pyresilience 0.4: half-open lets everything pass, and begins with whoever asks for the state; outcomes go to the present
    # state; a late failure while open sets the wait back, unless a late success has emptied the count before it.
    _dialect(
        "pyresilience",
        {
            "R7": Quirk(
                "a late failure while open may start the wait anew",
                {"late_failure_restarts_wait": True, "late_failure_may_restart": True},
            ),
            "R8": _UNBOUNDED,
            "R13": _STALE,
        },
        wait_ns=30_000_000_000,
        successes=2,
        entry="on_read",
    ),
    # resilient-circuit 0.8: a full window of the last calls, looked at when one fails; half-open lets everything pass and looks at
    # its first so many results; outcomes go to the present state; what is not to be handled is a success. Its clock is the wall's.
    _dialect(
        "resilient-circuit",
        {
            "R8": _UNBOUNDED,
            "R13": _STALE,
            "R14": Quirk("an excluded exception counts as a success", {"excluded_as": "success"}),
        },
        trip="count",
        window=1,
        minimum_calls=1,
        ratio=1.0,
        trips_on="failure",
        results=1,
        close_ratio=1.0,
    ),
)

_OTHERS: Final = (
    # Resilience4j 2: permits of half-open are counted in total, an ignored exception gives one back; no epoch, so old results
    # count in half-open. `automaticTransitionFromOpenToHalfOpenEnabled` is `entry: timer`.
    _dialect(
        "resilience4j",
        {"R13": _STALE},
        trip="count",
        window=100,
        minimum_calls=100,
        ratio=0.5,
        wait_ns=60_000_000_000,
        permitted=10,
        probes="total",
        close_ratio=0.5,
    ),
    # sony/gobreaker v2: a generation on every permit; permits are counted in total and an excluded call gives its own back; closes
    # after MaxRequests successes, so `successes` is `permitted`; State() moves it on. An Interval is `tumbling` from `activity`.
    _dialect(
        "gobreaker",
        failures=6,
        wait_ns=60_000_000_000,
        probes="total",
        entry="on_read",
        tumbling_from="activity",
    ),
    # failsafe-go 0.9 and Failsafe 3: no epoch; every result gives a permit back, also one that never took it; `permitted` is the
    # capacity of the success threshold (or of the failure threshold, where there is none).
    *(
        _dialect(
            name,
            {
                "R13": Quirk(
                    "an outcome of a call begun in an earlier epoch counts in the present one, and frees a permit",
                    {"stale": "counted", "stale_frees_permit": True},
                )
            },
            wait_ns=60_000_000_000,
        )
        for name in ("failsafe", "failsafe-go")
    ),
    # cockatiel 3: other callers wait for the probe. An outcome is handled by the state in which its call began, so a late failure may
    # open a half-open breaker, and nothing late closes one. An error that is not to be handled closes a half-open breaker.
    _dialect(
        "cockatiel",
        {
            "R13": Quirk("a late failure may open a half-open breaker", {"stale": "either"}),
            "R14": Quirk(
                "an error that the policy does not handle closes a half-open breaker", {"excluded_as": "any"}
            ),
        },
        excess="queues",
    ),
    # opossum 9: a rolling window of started calls (rejected ones too) that nothing empties; any success closes a half-open
    # breaker, any failure opens it; the one probe is counted, not tracked.
    _dialect(
        "opossum",
        {"R12": _SURVIVES, "R13": _STALE},
        trip="time",
        window_ns=10_000_000_000,
        bucket_ns=1_000_000_000,
        ratio=0.5,
        strictly_above=True,
        trips_on="failure",
        counted_at="start",
        rejections_count=True,
        wait_ns=30_000_000_000,
        entry="timer",
        probes="total",
    ),
    # Polly 8: a rolling window looked at when a call fails; an outcome that is not to be handled (cancellation is none) closes a
    # half-open breaker; no epoch.
    _dialect(
        "polly",
        {"R13": _STALE, "R14": _SUCCEEDS},
        trip="time",
        window_ns=30_000_000_000,
        bucket_ns=3_000_000_000,
        minimum_calls=100,
        ratio=0.1,
        trips_on="failure",
        wait_ns=5_000_000_000,
        probes="total",
    ),
    # Envoy's outlier detection is another automaton: a host is ejected for the base time as often as it was ejected before, comes back
    # at a sweep, and nothing is half-open. The greatest wait is max_ejection_time and one sweep.
    _dialect(
        "envoy",
        {
            "R8": Quirk("no half-open: all calls pass after an ejection", {"permitted": None}),
            "R13": _STALE,
        },
        wait_ns=30_000_000_000,
        wait_max_ns=310_000_000_000,
        entry="timer",
        half_open_event="none",
        dwell_ns=0,
        dwell_leads_to="closed",
    ),
)

# `strict` is the ideal; `none` is no breaker at all: nothing may be rejected.
_ALL: Final = (_dialect("strict"), *_PYTHON, *_OTHERS, _dialect("none", trip="never", events=False))

DIALECTS: Final[Mapping[str, BreakerSpec]] = {spec.dialect: spec for spec in _ALL}


def find_dialect(name: Any, *, path: str = "spec.dialect") -> BreakerSpec:
    """The preset of that name. Raises SpecError with the nearest known name."""
    if isinstance(name, str) and name in DIALECTS:
        return DIALECTS[name]
    near = difflib.get_close_matches(str(name), DIALECTS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(DIALECTS)}"
    raise SpecError(path, f"unknown dialect {name!r}; {hint}")
