"""A request template, compiled to a function that renders request number i as the bytes on the wire.

Theory of operation. Everything that does not depend on i is rendered once, one byte format per data row; what is left for
the hot path is `format % i`. Rows are chosen by i mod rows, i being the number in the whole stream, so that the same request
is sent whatever the number of workers. Values are percent-encoded in the URL, JSON-escaped in a JSON body, and refused in a
header if they could break out of it.

What it deliberately does not do: cookies, redirects or anything that depends on an earlier answer (the session driver does).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from resilience.load.fields import PLACEHOLDER, body_encoder, percent_encode
from resilience.load.model import id_parts
from resilience.load.requests import HttpRequest

Render = Callable[[int], bytes]
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_NUL = "\0"
_I = f"{_NUL}d{_NUL}"
_I_HEX = f"{_NUL}016x{_NUL}"
"""These stand for the number of the request until the format is made: NUL may occur nowhere else in a template."""


class TemplateError(ValueError):
    """A request that cannot be rendered; the message says which part and why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: a host (name or address), a port, TLS or not, and what the Host header says."""

    host: str
    port: int
    tls: bool
    authority: str


def target_of(url: str) -> Target:
    """The target of an http or https URL. Raises TemplateError for any other."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise TemplateError(f"{url!r} is not a URL: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise TemplateError(f"{url!r} is not an http:// or https:// URL with a host")
    if parts.username is not None:
        raise TemplateError("credentials belong into an Authorization header, not into the URL")
    if PLACEHOLDER.search(parts.netloc):
        raise TemplateError(f"{url!r}: a template may fill the path and query of a URL, not its host")
    tls = parts.scheme == "https"
    return Target(parts.hostname, port or (443 if tls else 80), tls, parts.netloc)


def compile_request(request: HttpRequest, *, correlate: str, run_id: str, stream: str) -> Render:
    """The function from a request's number to its bytes. Raises TemplateError where a part cannot be rendered."""
    target = target_of(request.url)
    if not _TOKEN.fullmatch(request.method):
        raise TemplateError(f"{request.method!r} is not an HTTP method")
    rows: tuple[Mapping[str, str], ...] = request.data or ({},)
    before, form, after = id_parts(run_id, stream, correlate)
    marker = f"{before}{_NUL}{form}{_NUL}{after}"
    heads = [_head(request, target, row, (correlate, marker)) for row in rows]
    bodies = [_body(request, row) for row in rows]
    if any(_I in body for body in bodies):
        return _with_numbered_body(heads, bodies)
    sized = request.body is not None or request.method in _METHODS_WITH_BODY
    closing = [f"Content-Length: {len(body)}\r\n\r\n" if sized else "\r\n" for body in bodies]
    formats = [_format(head + end + body) for head, end, body in zip(heads, closing, bodies, strict=True)]
    return _renderer([text for text, _ in formats], formats[0][1])


def _renderer(formats: list[bytes], holes: int) -> Render:
    """The hot path: the rows of one template hold the number equally often, once where only the id has it."""
    rows = len(formats)
    if rows == 1 and holes == 1:
        only = formats[0]
        return lambda i: only % i
    if holes == 1:
        return lambda i: formats[i % rows] % i
    return lambda i: formats[i % rows] % ((i,) * holes)


def _with_numbered_body(heads: list[str], bodies: list[str]) -> Render:
    """A body that holds {i} has a length that depends on i."""
    pairs = []
    for head, body in zip(heads, bodies, strict=True):
        body_format, body_holes = _format(body)
        head_format, head_holes = _format(head)
        pairs.append((head_format, head_holes, body_format, body_holes))

    def render(i: int) -> bytes:
        head_format, head_holes, body_format, body_holes = pairs[i % len(pairs)]
        rendered = body_format % ((i,) * body_holes)
        return b"%bContent-Length: %d\r\n\r\n%b" % (
            head_format % ((i,) * head_holes),
            len(rendered),
            rendered,
        )

    return render


def _format(text: str) -> tuple[bytes, int]:
    """A %-format with a %d for every number, and how many there are. Text stands for bytes as latin-1."""
    holes = text.count(_I) + text.count(_I_HEX)
    escaped = text.replace("%", "%%").replace(_I, "%d").replace(_I_HEX, "%016x")
    return escaped.encode("latin-1"), holes


def _head(request: HttpRequest, target: Target, row: Mapping[str, str], correlation: tuple[str, str]) -> str:
    parts = urlsplit(request.url)
    path = _fill(parts.path or "/", row, percent_encode, where="URL")
    path = quote(path, safe="/%:@!$&'()*+,;=~-._\0")
    if parts.query:
        query = _fill(parts.query, row, percent_encode, where="URL")
        path += "?" + quote(query, safe="/?%:@!$&'()*+,;=~-._[]\0")
    fields = {
        "host": ("Host", target.authority),
        "user-agent": ("User-Agent", "chaos-spike"),
        "accept": ("Accept", "*/*"),
    }
    for name, value in (*request.headers, correlation):
        fields[name.lower()] = (name, _fill(value, row, str, where=f"header {name}"))
    if "content-length" in fields or "transfer-encoding" in fields:
        raise TemplateError(
            "the length of a body is computed: leave Content-Length and Transfer-Encoding out"
        )
    lines = [f"{request.method} {path} HTTP/1.1"]
    for name, value in fields.values():
        plain = value.replace(_I, "").replace(_I_HEX, "")
        if not _TOKEN.fullmatch(name) or re.search(r"[\r\n\0]", plain):
            raise TemplateError(f"header {name!r} holds a character that a header may not hold")
        lines.append(f"{name}: {_latin(value, name)}")
    return "\r\n".join(lines) + "\r\n"


def _body(request: HttpRequest, row: Mapping[str, str]) -> str:
    if request.body is None:
        return ""
    types = [value for name, value in request.headers if name.lower() == "content-type"]
    encode = body_encoder(types[-1] if types else "")
    known = {**row, "i": _I}

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            return match[0]  # braces are ordinary characters of a body
        return _I if name == "i" else encode(known[name]).encode().decode("latin-1")

    return PLACEHOLDER.sub(fill, request.body.decode("latin-1"))


def _fill(text: str, row: Mapping[str, str], encode: Callable[[str], str], *, where: str) -> str:
    def fill(match: re.Match[str]) -> str:
        name = match[1]
        if name == "i":
            return _I
        if name not in row:
            raise TemplateError(
                f"{where}: {{{name}}} is neither {{i}} nor a field of the data ({', '.join(row) or 'none'})"
            )
        return encode(row[name])

    return PLACEHOLDER.sub(fill, text)


def _latin(value: str, name: str) -> str:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise TemplateError(f"header {name!r} holds a character outside latin-1") from None
    return value
