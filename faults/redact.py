"""Removes secrets from what is written down: journals, events, reports. Pure.

Keys that name a secret lose their value; texts lose the user information of a URL, secret query parameters, and bearer
tokens. It is a net, not a proof: a secret under an innocent name in free text is not found.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["REDACTED", "redact"]

REDACTED: Final = "[redacted]"

_SECRET_NAME: Final = re.compile(
    r"authorization|cookie|credential|passw(or)?d|passphrase|secret|(^|[-_.])token$|api[-_]?key|"
    r"access[-_]?key|private[-_]?key|(^|[-_])dsn$",
    re.IGNORECASE,
)
_USER_INFO: Final = re.compile(r"(?<=://)[^/?#\s@]+@")
_QUERY: Final = re.compile(
    r"(?i)([?&;](?:[\w.-]*(?:token|secret|password|passwd|api[-_]?key|signature)[\w.-]*|key|sig|auth)=)[^&#;\s]+"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")


def redact(value: Any) -> Any:
    """Return a copy of JSON-able `value` without secrets; mappings become dicts, sequences lists."""
    if isinstance(value, Mapping):
        return {
            key: REDACTED if item is not None and _SECRET_NAME.search(str(key)) else redact(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if isinstance(value, str):
        text = _USER_INFO.sub(f"{REDACTED}@", value)
        text = _QUERY.sub(rf"\g<1>{REDACTED}", text)
        return _BEARER.sub(rf"\g<1> {REDACTED}", text)
    return value
