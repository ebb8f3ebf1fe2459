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

_ALL: Final = (
    _dialect("strict"),
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
            "R1": Quirk("a late failure is reported as a transition from open to open", {"self_loops": True}),
            "R7": _LATE,
            "R8": _UNBOUNDED,
            "R13": Quirk(
                "an outcome counts as its call began, and a late probe's success closes even an open breaker",
                {"stale": "counted", "success_while_open_closes": True},
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
            "R14": Quirk(
                "a cancelled call and an excluded exception count as successes",
                {"cancelled_as": "success", "excluded_as": "success"},
            ),
        },
        entry="on_read",
        half_open_event="none",
    ),
    # hyx 0.0.2: a fresh half-open state per admitted call while failing; successes of any epoch are credited.
    _dialect("hyx", {"R8": _UNBOUNDED, "R13": _STALE}, half_open_event="none"),
    # pybreaker 1.4: one lock around the whole call, so probes (and all calls) are serialised.
    _dialect(
        "pybreaker",
        {
            "R14": Quirk(
                "a cancelled call counts as a failure, an excluded exception as a success",
                {"cancelled_as": "failure", "excluded_as": "success"},
            )
        },
        probes="serialised",
    ),
    # Resilience4j: permits of half-open are counted in total; no epoch, so old results count in half-open.
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
    # sony/gobreaker v2: a generation on every permit; closes after MaxRequests successes in a row.
    _dialect("gobreaker", failures=6, wait_ns=60_000_000_000),
    _dialect("cockatiel", entry="lazy"),
    _dialect("opossum", {"R13": _STALE}, entry="timer"),
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
