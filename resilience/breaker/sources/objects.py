"""The specification of a breaker object, read from the object itself: one reader a library, in the written form.

What comes out says what the object is configured to do; how its library is known to deviate is its dialect's matter. Nothing
is imported and nothing changed: attributes are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from resilience.breaker.sources.libraries import library_of
from resilience.breaker.spec import SpecError


def _pybreaker(breaker: Any, _name: str) -> dict[str, Any]:
    return {
        "failures": breaker.fail_max,
        "wait_ms": breaker.reset_timeout * 1000,
        "successes": getattr(breaker, "success_threshold", 1),  # since 1.3
    }


def _aiobreaker(breaker: Any, _name: str) -> dict[str, Any]:
    return {"failures": breaker.fail_max, "wait_ms": breaker.timeout_duration.total_seconds() * 1000}


def _purgatory(subject: Any, name: str) -> dict[str, Any]:
    context = getattr(subject, "context", None)
    if context is None:
        repository = getattr(getattr(subject, "uow", None), "contexts", None)
        context = getattr(repository, "breakers", {}).get(name)
    if context is None:  # not asked for yet: it will be made with the factory's own values
        return {"failures": subject.default_threshold, "wait_ms": subject.default_ttl * 1000}
    return {"failures": context.threshold, "wait_ms": context.ttl * 1000}


def _circuitbreaker(breaker: Any, _name: str) -> dict[str, Any]:
    private = vars(breaker)  # the library shows neither
    return {
        "failures": private["_failure_threshold"],
        "wait_ms": private["_recovery_timeout"] * 1000,
    }


def _hyx(breaker: Any, _name: str) -> dict[str, Any]:
    manager = getattr(breaker, "_manager", breaker)
    config = manager._config  # noqa: SLF001 - the library shows it nowhere
    return {
        "failures": config.failure_threshold,
        "wait_ms": config.recovery_time_secs * 1000,
        "successes": config.recovery_threshold,
    }


_READERS: Final[Mapping[str, Callable[[Any, str], dict[str, Any]]]] = {
    "pybreaker": _pybreaker,
    "aiobreaker": _aiobreaker,
    "purgatory": _purgatory,
    "circuitbreaker": _circuitbreaker,
    "hyx": _hyx,
}


def spec_of_object(breaker: Any, name: str = "") -> dict[str, Any]:
    """The written specification of a breaker object, with its library's dialect.

    `name` picks the circuit where the object is a factory. Raises SpecError for an object of no known library.
    """
    library = library_of(breaker)
    if library is None:
        raise SpecError(
            "spec",
            f"cannot be read from a {type(breaker).__qualname__}; give it: spec={{'failures': 5, 'wait_ms': 30000}}",
        )
    read = _READERS[library](breaker, name)
    return {"dialect": library, **{key: _plain(value) for key, value in read.items()}, "permitted": 1}


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value
