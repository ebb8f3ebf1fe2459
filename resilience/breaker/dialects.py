"""How real breaker libraries behave, as specifications: one entry a dialect, read from the libraries' sources.

A dialect starts from the ideal breaker (one probe at a time, an outcome of an earlier epoch changes nothing, a
cancelled call changes no count) and names each field in which its library differs, together with the rule
under which that difference is reported as DECLARED. What is not named is held to the ideal.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from resilience.breaker.spec import BreakerSpec, SpecError

_UNBOUNDED: Final = "half-open admits any number of calls at once"
_STALE: Final = "an outcome of a call begun in an earlier epoch counts in the present one"


def _dialect(
    name: str,
    *,
    deviations: Mapping[str, str] | None = None,
    quirks: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> BreakerSpec:
    """`quirks` are the fields that leave the ideal; their ideal values are kept for `strict`."""
    ideal = BreakerSpec()
    quirks = quirks or {}
    return replace(
        ideal,
        dialect=name,
        **parameters,
        **quirks,
        deviations=dict(deviations or {}),
        ideal={key: getattr(ideal, key) for key in quirks},
    )


_ALL: Final = (
    _dialect("strict"),
    # purgatory 3.0: the half-open message lies in the context's queue until some call leaves the breaker; OPEN
    # ignores every outcome, HALF-OPEN takes any; BaseException (cancellation too) is a failure.
    _dialect(
        "purgatory",
        deviations={"R8": _UNBOUNDED, "R13": _STALE, "R14": "a cancelled call counts as a failure"},
        quirks={"permitted": None, "stale": "counted", "cancelled_as": "failure", "excluded_as": "success"},
        half_open_event="probe_end",
    ),
    # aiobreaker 1.2: counts failures in every state, so a late failure while open opens again (OPEN to OPEN).
    _dialect(
        "aiobreaker",
        deviations={
            "R1": "a late failure is reported as a transition from open to open",
            "R7": "a late failure while open starts the wait anew",
            "R8": _UNBOUNDED,
            "R13": _STALE,
            "R14": "an excluded exception counts as a success",
        },
        quirks={
            "permitted": None,
            "stale": "counted",
            "late_failure_restarts_wait": True,
            "self_loops": True,
            "excluded_as": "success",
        },
    ),
    # circuitbreaker 2.1: half-open is computed on reading; no events; any success closes, even while open.
    _dialect(
        "circuitbreaker",
        deviations={
            "R7": "a late failure while open starts the wait anew",
            "R8": _UNBOUNDED,
            "R13": "a late success closes even an open breaker",
            "R14": "a cancelled call counts as a success",
        },
        quirks={
            "permitted": None,
            "stale": "counted",
            "late_failure_restarts_wait": True,
            "cancelled_as": "success",
            "excluded_as": "success",
        },
        entry="on_read",
        events=False,
        half_open_event="none",
        # open_remaining is rounded towards the next whole second on reading, and compared with 0: exact there.
    ),
    # hyx 0.0.2: a fresh half-open state per admitted call while failing; successes of any epoch are credited.
    _dialect(
        "hyx",
        deviations={"R8": _UNBOUNDED, "R13": _STALE},
        quirks={"permitted": None, "stale": "counted"},
        events=False,
        half_open_event="none",
    ),
    # pybreaker 1.4: one lock around the whole call, so probes (and all calls) are serialised.
    _dialect(
        "pybreaker",
        deviations={
            "R14": "an excluded exception, and none else, counts as a success; cancellation as a failure"
        },
        quirks={"cancelled_as": "failure", "excluded_as": "success"},
        probes="serialised",
    ),
    # Resilience4j: permits of half-open are counted in total; no epoch, so old results count in half-open.
    _dialect(
        "resilience4j",
        deviations={"R13": _STALE},
        quirks={"stale": "counted"},
        trip="count",
        window=100,
        minimum_calls=100,
        ratio=0.5,
        wait_ns=60_000_000_000,
        permitted=10,
        probes="total",
        close_ratio=0.5,
    ),
    # sony/gobreaker v2: a generation on every permit; closes after MaxRequests successes in a row.
    _dialect("gobreaker", failures=6, wait_ns=60_000_000_000),
    _dialect("cockatiel", entry="lazy"),
    _dialect("opossum", deviations={"R13": _STALE}, quirks={"stale": "counted"}, entry="timer"),
    # No breaker at all: nothing may be rejected.
    _dialect("none", trip="never", events=False),
)

DIALECTS: Final[Mapping[str, BreakerSpec]] = {spec.dialect: spec for spec in _ALL}


def find_dialect(name: Any, *, path: str = "spec.dialect") -> BreakerSpec:
    """The preset of that name. Raises SpecError with the nearest known name."""
    if isinstance(name, str) and name in DIALECTS:
        return DIALECTS[name]
    near = difflib.get_close_matches(str(name), DIALECTS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(DIALECTS)}"
    raise SpecError(path, f"unknown dialect {name!r}; {hint}")
