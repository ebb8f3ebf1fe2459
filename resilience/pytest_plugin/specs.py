"""Where a test takes a breaker's specification from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from resilience.breaker.dialects import find_dialect
from resilience.breaker.sources.objects import spec_of_object
from resilience.breaker.sources.resilience4j import SourceError, read_resilience4j
from resilience.breaker.spec import KEYS, NS_PER_MS, BreakerSpec, SpecError
from resilience.pytest_plugin.errors import ChaosSetupError

Written: TypeAlias = Mapping[str, Any] | BreakerSpec
"""A specification as a test gives it."""


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


def read_spec(written: Written) -> BreakerSpec:
    """A specification from its written form; ChaosSetupError names the key at fault."""
    if isinstance(written, BreakerSpec):
        return written
    try:
        return BreakerSpec.from_mapping(written)
    except SpecError as error:
        raise ChaosSetupError(str(error)) from error


def written_of(spec: Written) -> Mapping[str, Any]:
    """The written form, from which `read_spec` gives the same specification again.

    One that was put together by hand, with a dialect's name and without what the dialect declares, is written as `strict` and all that
    differs from that. ChaosSetupError for one that cannot be written: deviations of its own, or values that no file may say.
    """
    if not isinstance(spec, BreakerSpec):
        return spec
    problem = "its deviations are no dialect's"
    for dialect in (spec.dialect, "strict"):
        try:
            written = _differing(spec, find_dialect(dialect))
            if BreakerSpec.from_mapping(written) == replace(spec, dialect=dialect):
                return written
        except SpecError as error:
            problem = str(error)
    raise ChaosSetupError(
        f"this BreakerSpec has no written form ({problem}): make it with BreakerSpec.from_mapping"
    )


def _differing(spec: BreakerSpec, base: BreakerSpec) -> dict[str, Any]:
    meant, usual = _meant(spec), _meant(base)
    written: dict[str, Any] = {"dialect": base.dialect}
    for key, (attribute, _) in KEYS.items():
        # The trip is always written: it would be guessed from the other keys.
        if meant[attribute] != usual[attribute] or key == "trip":
            written[key] = _form(key, meant[attribute])
    return written


def _meant(spec: BreakerSpec) -> dict[str, Any]:
    """Field -> value; where the dialect is known to do otherwise, what is written is the ideal."""
    ideal = {attribute: value for values in spec.ideal.values() for attribute, value in values.items()}
    return {attribute: ideal.get(attribute, getattr(spec, attribute)) for attribute, _ in KEYS.values()}


def _form(key: str, value: Any) -> Any:
    if value is None:
        return "unbounded" if key == "permitted" else None
    if not key.endswith("_ms"):
        return value
    whole, rest = divmod(value, NS_PER_MS)
    return value / NS_PER_MS if rest else whole
