"""Breakers of every kind that a specification can describe, by chance: a mapping for the verifier and the reference alike."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

Mapping = dict[str, Any]
Maker = Callable[[random.Random], Mapping]

UNLIMITED: Final[Mapping] = {"permitted": None, "stale": "counted"}
"""Half-open lets everybody in, and every outcome counts, whenever its call began."""
OPOSSUM: Final[Mapping] = {
    "counted_at": "start",
    "rejections_count": True,
    "window_survives": True,
    "stale": "counted",
    "strictly_above": True,
    "trips_on": "failure",
    "entry": "timer",
    "probes": "total",
}
"""What sets opossum apart, beside its window."""


def _row(rng: random.Random) -> Mapping:
    return {"failures": rng.randint(1, 2)}


def _count(rng: random.Random) -> Mapping:
    return {
        "window": rng.randint(1, 3),
        "ratio": rng.choice([0.5, 0.6, 1.0]),
        "minimum_calls": rng.randint(1, 2),
    }


def _batch(rng: random.Random) -> Mapping:
    return _count(rng) | {"window": rng.randint(2, 3), "tumbling": True}


def _time(rng: random.Random) -> Mapping:
    return {
        "window_ms": rng.choice([200, 300, 500]),
        "ratio": rng.choice([0.3, 0.5, 1.0]),
        "minimum_calls": rng.randint(1, 2),
    }


def _absolute(rng: random.Random) -> Mapping:
    return {
        "trip": "time",
        "window_ms": rng.choice([200, 300, 500]),
        "failures": rng.randint(1, 3),
        "minimum_calls": 0,
    }


def _from(rng: random.Random) -> Mapping:
    return {"tumbling": True, "tumbling_from": rng.choice(["closing", "activity"])}


def _period(rng: random.Random) -> Mapping:
    return _time(rng) | {"window_ms": rng.choice([200, 300, 400, 500])} | _from(rng)


def _row_per_period(rng: random.Random) -> Mapping:
    return _row(rng) | {"window_ms": rng.choice([200, 300, 500])} | _from(rng)


_WINDOWS: Final = (_count, _batch, _time, _period)
_TRIPS: Final = (_row, _row, _count, _batch, _time, _time, _absolute, _period, _period, _row_per_period)


def _any(rng: random.Random) -> Mapping:
    return rng.choice(_TRIPS)(rng)


def _probes(rng: random.Random) -> Mapping:
    return rng.choice(
        [
            {},
            UNLIMITED,
            {"stale": "counted"},
            {"permitted": None},
            {"permitted": 2},
            {"stale": "either"},
            {"permitted": 2, "stale": "counted"},
        ]
    )


def _with(tripping: Maker = _any, /, *, probing: bool = True, **choices: list[Any]) -> Maker:
    """A trip condition, a half-open state (unless the choices say all of it), and one value of each choice."""

    def make(rng: random.Random) -> Mapping:
        picked = {name: rng.choice(values) for name, values in choices.items()}
        return tripping(rng) | (_probes(rng) if probing else {}) | picked

    return make


def _successes_of(rng: random.Random) -> Mapping:
    of = rng.randint(1, 3)
    stale = rng.choice(["ignored", "counted", "either"])
    how = {"probes": rng.choice(["total", "concurrent"]), "permitted": rng.choice([of, None]), "stale": stale}
    return _any(rng) | how | {"successes_of": of, "successes": rng.randint(1, of)}


def _slow(rng: random.Random) -> Mapping:
    slow = {"slow_ms": rng.choice([100, 200]), "slow_ratio": rng.choice([0.5, 1.0])}
    ratio = (
        {"permitted": rng.choice([1, 2]), "close_ratio": 0.5, "probes": "total"} if rng.random() < 0.3 else {}
    )
    return rng.choice(_WINDOWS)(rng) | _probes(rng) | slow | ratio


def _bucket(rng: random.Random) -> Mapping:
    bucket = rng.choice([100, 200, 300])
    return _time(rng) | _probes(rng) | {"bucket_ms": bucket, "window_ms": bucket * rng.choice([1, 2])}


def _like_opossum(rng: random.Random) -> Mapping:
    return _time(rng) | OPOSSUM | {"excluded_as": "neutral"}


def _like_gobreaker(rng: random.Random) -> Mapping:
    permitted = rng.randint(1, 2)
    made = _row_per_period(rng) | {"tumbling_from": "activity", "entry": rng.choice(["lazy", "on_read"])}
    return made | {"probes": "total", "permitted": permitted, "successes": permitted}


_BOTH: Final = [True, False]
KINDS: Final[dict[str, Maker]] = {
    "plain": _with(),
    "successes": _with(successes=[2], reopen_on_failure=_BOTH),
    "permitted": _with(
        probing=False,
        permitted=[2],
        probes=["concurrent", "total"],
        successes=[1, 2],
        stale=["ignored", "counted", "either"],
    ),
    "close_ratio": _with(
        probing=False,
        permitted=[1, 2, 3],
        probes=["total", "concurrent"],
        close_ratio=[0.3, 0.5, 1.0],
        stale=["ignored", "counted"],
    ),
    "successes_of": _successes_of,
    "classes": _with(
        cancelled_as=["neutral", "neutral", "failure", "success", "any"],
        excluded_as=["neutral", "success"],
        probes=["concurrent", "total"],
    ),
    "strictly_above": _with(
        lambda rng: rng.choice(_WINDOWS)(rng), strictly_above=[True], minimum_calls=[0, 1, 3]
    ),
    "slow": _slow,
    "entry": _with(entry=["timer", "on_read"], probes=["concurrent", "total"], successes=[1, 2]),
    "dwell": _with(
        probing=False,
        dwell_ms=[200, 400],
        dwell_leads_to=["open", "closed"],
        entry=["lazy", "timer"],
        permitted=[1, 2, None],
    ),
    "late failures restart": _with(
        late_failure_restarts_wait=[True], late_failure_may_restart=_BOTH, entry=["lazy", "timer", "on_read"]
    ),
    "late outcomes change": _with(
        probing=False,
        permitted=[1, 2, None],
        stale=["counted", "either"],
        success_while_open_closes=_BOTH,
        late_failure_restarts_wait=_BOTH,
        late_failure_opens=_BOTH,
    ),
    "evaluation": _with(evaluation_ms=[100, 200, 300], entry=["lazy", "timer"]),
    "backoff": _with(backoff=[2.0]),
    "counted at start": _with(
        _time,
        counted_at=["start"],
        trip=["time"],
        strictly_above=_BOTH,
        trips_on=["any", "failure"],
        cancelled_as=["neutral"],
    ),
    "window survives": _with(
        lambda rng: rng.choice([_time, _absolute])(rng),
        probing=False,
        window_survives=[True],
        stale=["counted"],
        permitted=[1, 2, None],
        trips_on=["any", "failure"],
        rejections_count=_BOTH,
    ),
    "trips on failures": _with(trips_on=["failure"], minimum_calls=[1, 2, 3]),
    "bucket": _bucket,
    "frees permits": _with(
        probing=False,
        permitted=[1, 2],
        stale=["counted", "ignored", "either"],
        stale_frees_permit=[True],
        successes=[1, 2],
    ),
    "half-open not reported": _with(half_open_event=["none"], entry=["lazy", "on_read"]),
    "half-open reported late": _with(half_open_event=["probe_end"]),
    "opossum": _like_opossum,
    "gobreaker": _like_gobreaker,
}
