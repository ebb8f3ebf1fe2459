"""The texts of Toxiproxy's HTTP API: which route a request means, and every answer, byte for byte. Pure.

Answers are built by hand in the order Go's structs have their fields, escaped as Go escapes. Reading requests is
in `requests.py`. The quirks that look like mistakes are the contract: success of POST .../toxics is 200, /version
has a space and a newline, errors are text/plain except those of /populate.
"""

from __future__ import annotations

import json
import posixpath
import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields
from urllib.parse import unquote, urlsplit

from faults.proxy.store import ApiError, StoredProxy, StoredToxic
from faults.toxics import Toxic

__all__ = [
    "BROWSER_REFUSED",
    "Answer",
    "Route",
    "error_answer",
    "float32",
    "json_answer",
    "match_route",
    "populate_answer",
    "proxies_json",
    "proxy_json",
    "toxic_json",
    "toxics_json",
    "version_answer",
]

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_NOSNIFF = (("X-Content-Type-Options", "nosniff"),)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: `content_type` None means that there is no such header."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What a request asks for: an operation and the names in its path."""

    operation: str
    proxy: str = ""
    toxic: str = ""
    query: str = ""


NOT_FOUND = Answer(404, b"404 page not found\n", _TEXT, _NOSNIFF)
BROWSER_REFUSED = Answer(403, b"User agent not allowed\n", _TEXT, _NOSNIFF)

_ROUTES: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
    (("reset",), {"POST": "reset"}),
    (("proxies",), {"GET": "proxy_index", "POST": "proxy_create"}),
    (("populate",), {"POST": "populate"}),
    (
        ("proxies", "{proxy}"),
        {"GET": "proxy_show", "POST": "proxy_update", "PATCH": "proxy_update", "DELETE": "proxy_delete"},
    ),
    (("proxies", "{proxy}", "toxics"), {"GET": "toxic_index", "POST": "toxic_create"}),
    (
        ("proxies", "{proxy}", "toxics", "{toxic}"),
        {"GET": "toxic_show", "POST": "toxic_update", "PATCH": "toxic_update", "DELETE": "toxic_delete"},
    ),
    (("version",), {"GET": "version"}),
)
_OWN_ROUTES: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
    (("capabilities",), {"GET": "capabilities"}),
    (("connections",), {"GET": "connections"}),
    (("events",), {"GET": "events"}),
)


def match_route(method: str, target: str, *, own: bool, metrics: bool) -> Route | Answer:
    """Find what `method target` means; an Answer where it is a redirect, unknown, or a wrong method.

    `own` adds the routes that only this server has; `metrics` says whether /metrics exists.
    """
    split = urlsplit(target if not target.startswith("//") else "/" + target.lstrip("/"))
    path = unquote(split.path)
    clean = _clean(unquote(target.partition("?")[0]))
    if clean != unquote(target.partition("?")[0]):
        query = f"?{split.query}" if split.query else ""
        return Answer(301, headers=(("Location", clean + query),))
    parts = tuple(path[1:].split("/"))
    if metrics and parts == ("metrics",):
        return Route("metrics")
    for pattern, methods in _ROUTES + (_OWN_ROUTES if own else ()):
        names = _match(pattern, parts)
        if names is None:
            continue
        if method not in methods:
            return Answer(405)
        operation = methods[method]
        return Route(operation, query=split.query) if operation == "events" else Route(operation, *names)
    return NOT_FOUND


def _match(pattern: tuple[str, ...], parts: tuple[str, ...]) -> list[str] | None:
    if len(pattern) != len(parts):
        return None
    names = []
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            if not part:
                return None
            names.append(part)
        elif wanted != part:
            return None
    return names


def _clean(path: str) -> str:
    """Clean a path as Go's mux does: no `//`, `.` or `..`; a slash at the end stays."""
    if not path.startswith("/"):
        path = "/" + path
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def _text(value: str) -> str:
    """Write a JSON string as Go does: UTF-8, with <, > and & escaped, and U+2028 and U+2029."""
    written = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029\x7f":
        if character != "\x7f":
            written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def float32(value: float) -> float:
    """Round to what a 32-bit float can hold; raise OverflowError beyond it."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def _float32_text(value: float) -> str:
    """Write a 32-bit float in the fewest digits that read back the same, as Go's encoder does."""
    if value == 0:
        return "-0" if str(value).startswith("-") else "0"
    for digits in range(9):
        scientific = f"{value:.{digits}e}"
        if float32(float(scientific)) == value:
            break
    mantissa, _, exponent_text = scientific.partition("e")
    exponent = int(exponent_text)
    if not 1e-6 <= abs(value) < 1e21:
        return f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent)}"
    sign = "-" if mantissa.startswith("-") else ""
    bare = mantissa.lstrip("-").replace(".", "")
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{bare}"
    whole = bare[: exponent + 1].ljust(exponent + 1, "0")
    fraction = bare[exponent + 1 :]
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def attributes_json(toxic: Toxic) -> str:
    """Write a toxic's attributes in their order."""
    parts = []
    for field in fields(toxic):  # type: ignore[arg-type]  # every toxic is a dataclass; a protocol cannot say so
        value = getattr(toxic, field.name)
        parts.append(f'"{field.name}":{json.dumps(value)}')
    return "{" + ",".join(parts) + "}"


def toxic_json(stored: StoredToxic) -> str:
    """Write a toxic; `ttl_ms`, which Toxiproxy does not have, is there only where it was asked for."""
    ttl = "" if stored.ttl_ms is None else f',"ttl_ms":{stored.ttl_ms}'
    return (
        f'{{"attributes":{attributes_json(stored.toxic)},"name":{_text(stored.name)},'
        f'"type":{_text(stored.toxic.kind)},"stream":{_text(stored.stream)},'
        f'"toxicity":{_float32_text(stored.toxicity)}{ttl}}}'
    )


def toxics_json(proxy: StoredProxy) -> str:
    """Write a proxy's toxics, upstream first."""
    return "[" + ",".join(toxic_json(toxic) for toxic in proxy.listed_toxics()) + "]"


def proxy_json(proxy: StoredProxy) -> str:
    """Write a proxy; `Logger` is a slip of Toxiproxy's that clients may have come to expect."""
    return (
        f'{{"name":{_text(proxy.name)},"listen":{_text(proxy.listen)},"upstream":{_text(proxy.upstream)},'
        f'"enabled":{"true" if proxy.enabled else "false"},"Logger":{{}},"toxics":{toxics_json(proxy)}}}'
    )


def proxies_json(proxies: Iterable[StoredProxy]) -> str:
    """Write the index: an object from name to proxy, names in order of their bytes."""
    ordered = sorted(proxies, key=lambda proxy: proxy.name.encode())
    return "{" + ",".join(f"{_text(proxy.name)}:{proxy_json(proxy)}" for proxy in ordered) + "}"


def json_answer(status: int, text: str) -> Answer:
    """Answer with JSON."""
    return Answer(status, text.encode(), _JSON)


def error_answer(error: ApiError) -> Answer:
    """Answer with an error, as every route but /populate does."""
    text = f'{{"error":{_text(error.message)},"status":{error.status}}}\n'
    return Answer(error.status, text.encode(), _TEXT, _NOSNIFF)


def populate_answer(proxies: Iterable[StoredProxy], error: ApiError | None) -> Answer:
    """Answer /populate: the proxies that stand, `null` for none, behind the error if there was one."""
    listed = ",".join(proxy_json(proxy) for proxy in proxies)
    shown = f"[{listed}]" if listed else "null"
    if error is None:
        return json_answer(201, f'{{"proxies":{shown}}}')
    head = f'"error":{_text(error.message)},"status":{error.status}'
    return json_answer(error.status, f'{{{head},"proxies":{shown}}}')


def version_answer(version: str) -> Answer:
    """Answer /version."""
    return Answer(200, f'{{"version": "{version}"}}\n'.encode(), "application/json;charset=utf-8")
