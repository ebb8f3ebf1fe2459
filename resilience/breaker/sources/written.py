"""`spec: {file: app/application.yml, path: resilience4j.circuitbreaker.instances.pricing}`: what a plan writes, resolved.

Other keys beside `file`, `path` and `profiles` are fields of the specification, and win over the file's: what the file does
not say, such as `timeout_ms`. Pure: the text is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from resilience.breaker.sources.resilience4j import PREFIX, SourceError, read_resilience4j

_OURS: Final = frozenset({"file", "path", "profiles"})


def is_file_spec(written: object) -> bool:
    """Whether a specification is to be read from a file."""
    return isinstance(written, Mapping) and "file" in written


def resolve_file_spec(written: Mapping[str, Any], read: Callable[[str], str]) -> dict[str, Any]:
    """The flat specification; `read` gives a file's text by the name in the plan. Raises SourceError."""
    file, path, profiles = written["file"], written.get("path"), written.get("profiles", [])
    if not isinstance(file, str) or not isinstance(path, str) or not path:
        raise SourceError(
            "spec", f"a specification from a file needs `file` and `path`, such as {PREFIX}pricing"
        )
    if not isinstance(profiles, list):
        raise SourceError("spec", f"`profiles` is a list of names, not {profiles!r}")
    text = read(file)
    found = read_resilience4j(text, path, source=file, profiles=[str(name) for name in profiles])
    return {**found, **{key: value for key, value in written.items() if key not in _OURS}}
