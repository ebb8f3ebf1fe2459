"""Where a test takes a breaker's specification from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resilience.breaker.sources.objects import spec_of_object
from resilience.breaker.sources.resilience4j import SourceError, read_resilience4j
from resilience.breaker.spec import BreakerSpec, SpecError
from resilience.pytest_plugin.errors import ChaosSetupError


class Spec:
    """Ways to a specification; each gives the written form, a plain mapping, which may also be written by hand."""

    @staticmethod
    def resilience4j(
        path: str | Path, instance: str, *, profiles: Iterable[str] = (), **more: Any
    ) -> dict[str, Any]:
        """From a Resilience4j application.yml; `more` are fields that the file does not say, such as `timeout_ms`."""
        try:
            text = Path(path).read_text(encoding="utf-8")
            return {**read_resilience4j(text, instance, source=str(path), profiles=profiles), **more}
        except (OSError, UnicodeDecodeError) as error:
            raise ChaosSetupError(f"{path} cannot be read: {error}") from error
        except SourceError as error:
            raise ChaosSetupError(str(error)) from error

    @staticmethod
    def of(breaker: Any, name: str = "", **more: Any) -> dict[str, Any]:
        """From a breaker object of pybreaker, aiobreaker, purgatory, circuitbreaker or hyx."""
        try:
            return {**spec_of_object(breaker, name), **more}
        except SpecError as error:
            raise ChaosSetupError(str(error)) from error


def read_spec(written: Mapping[str, Any] | BreakerSpec) -> BreakerSpec:
    """A specification from its written form; ChaosSetupError names the key at fault."""
    if isinstance(written, BreakerSpec):
        return written
    try:
        return BreakerSpec.from_mapping(written)
    except SpecError as error:
        raise ChaosSetupError(str(error)) from error


def written_of(spec: Mapping[str, Any] | BreakerSpec) -> Mapping[str, Any]:
    """The written form, for the record; of a BreakerSpec made by hand only its dialect can be said."""
    return {"dialect": spec.dialect} if isinstance(spec, BreakerSpec) else spec
