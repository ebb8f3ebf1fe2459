"""Which observer fits an object. A library is found by the names of the object's classes, so none is imported for it.

Adding one is a module of the library's name with `attach(breaker, name, *, clock, ring)`, and the library's line in
`sources.libraries`.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

from resilience.breaker.observers.in_process.custom import CustomObserver
from resilience.breaker.observers.in_process.recorder import RING
from resilience.breaker.observers.in_process.watching import InProcessObserver
from resilience.breaker.sources.libraries import LIBRARIES, library_of

__all__ = ["LIBRARIES", "NotABreaker", "attach", "library_of"]


class NotABreaker(TypeError):  # noqa: N818 - what the object is, said to whoever handed it over
    """An object that no observer fits; the message says which fit, and how to follow any other."""


def attach(
    breaker: Any,
    name: str,
    *,
    clock: Callable[[], int] = time.monotonic_ns,
    ring: int = RING,
    **custom: Any,
) -> InProcessObserver:
    """Observe a breaker object under a name from now on. `clock` gives nanoseconds: the breaker's own, where it has one.

    `custom` (method, refuses, excludes, state) follows an object of no known library. Raises NotABreaker.
    """
    library = library_of(breaker)
    if custom:
        return CustomObserver(breaker, name, clock=clock, ring=ring, **custom)
    if library is None:
        known = ", ".join(each.name for each in LIBRARIES)
        raise NotABreaker(
            f"{type(breaker).__module__}.{type(breaker).__qualname__} is no breaker of {known}; follow your own "
            "by saying which method calls through it and which errors are its refusals: "
            'method="call", refuses=(MyOpenError,)'
        )
    module = importlib.import_module(f"resilience.breaker.observers.in_process.{library}")
    observer: InProcessObserver = module.attach(breaker, name, clock=clock, ring=ring)
    return observer
