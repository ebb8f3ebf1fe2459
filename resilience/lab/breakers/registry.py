"""The breaker libraries that the lab can run under, by the value of CHAOS_SPIKE_LAB_BREAKER.

Adding one is a module with `make(name, settings, emit)` and a line in `LIBRARIES`. A library is imported only when it
is chosen, so a missing one hurts nobody else. "none" is the negative control: no breaker at all.
"""

from __future__ import annotations

import importlib
from importlib import metadata
from typing import Any, cast

from resilience.lab.breakers.base import Breaker, Emit
from resilience.lab.settings import BREAKER_VARIABLE, BreakerSettings, SettingsError

NONE = "none"
LIBRARIES = ("purgatory", "aiobreaker", "circuitbreaker", "hyx")
# What several successes before closing needs; the others close at the first.
_COUNTS_SUCCESSES = frozenset({"hyx"})


def check_breaker(settings: BreakerSettings) -> None:
    """SettingsError if no library could do what `settings` ask for."""
    if settings.library not in (*LIBRARIES, NONE):
        known = ", ".join((*LIBRARIES, NONE))
        raise SettingsError(f"{BREAKER_VARIABLE}={settings.library!r} is not one of {known}")
    if settings.successes != 1 and settings.library not in _COUNTS_SUCCESSES:
        raise SettingsError(f"{settings.library} closes at the first success; BREAKER_SUCCESSES must be 1")


def breaker_spec(settings: BreakerSettings) -> dict[str, Any]:
    """What the breaker is meant to do, in the verifier's words; how its library deviates is its dialect's matter."""
    if settings.library == NONE:
        return {"dialect": NONE, "timeout_ms": settings.timeout_ms}
    return {
        "dialect": settings.library,
        "failures": settings.failures,
        "wait_ms": settings.wait_ms,
        "timeout_ms": settings.timeout_ms,
        "successes": settings.successes,
        "permitted": 1,
    }


def library_version(library: str) -> str:
    """Such as "purgatory 3.0.1"; just the name where there is nothing to ask."""
    try:
        return f"{library} {metadata.version(library)}"
    except metadata.PackageNotFoundError:
        return library


async def make_breaker(name: str, settings: BreakerSettings, emit: Emit) -> Breaker | None:
    """A breaker of the chosen library, `None` for "none"; SettingsError if it is unknown or not installed."""
    check_breaker(settings)
    if settings.library == NONE:
        return None
    try:
        module = importlib.import_module(f"resilience.lab.breakers.{settings.library}")
    except ModuleNotFoundError as missing:
        raise SettingsError(
            f"the breaker library {settings.library} is not installed ({missing.name}): "
            "pip install 'chaos-spike[lab]'"
        ) from missing
    return cast("Breaker", await module.make(name, settings, emit))
