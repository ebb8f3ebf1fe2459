"""Which library a breaker object belongs to, by the names of its classes: nothing is imported to find out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Library:
    """One library: its name here and as an import, and the classes whose objects are breakers."""

    name: str
    classes: frozenset[str]


LIBRARIES: Final = (
    Library("pybreaker", frozenset({"CircuitBreaker"})),
    Library("aiobreaker", frozenset({"CircuitBreaker"})),
    Library(
        "purgatory",
        frozenset({
            "AsyncCircuitBreaker",
            "AsyncCircuitBreakerFactory",
            "SyncCircuitBreaker",
            "SyncCircuitBreakerFactory",
        }),
    ),
    Library("circuitbreaker", frozenset({"CircuitBreaker"})),
    Library("hyx", frozenset({"consecutive_breaker", "ConsecutiveCircuitBreaker"})),
)  # fmt: skip


def library_of(breaker: object) -> str | None:
    """The library's name, e.g. "pybreaker"; None for an object of none that is known."""
    # What hyx decorates carries its manager.
    for subject in (breaker, getattr(breaker, "_manager", None)):
        for cls in type(subject).__mro__:
            for library in LIBRARIES:
                if cls.__name__ in library.classes and cls.__module__.split(".")[0] == library.name:
                    return library.name
    return None
