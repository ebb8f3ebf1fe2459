"""Filling `{i}`, `{user}` and `{field}` into a text, for drivers that are in no hurry. Pure.

The HTTP driver compiles its templates (template.py); here a text is filled when it is needed. A placeholder that is neither
`{i}` nor a field of the row is left as it is: braces are ordinary characters in SQL, JSON and chat messages. (A plan refuses it,
where it can be known beforehand.) What a value must not do, such as break out of a URL or a JSON string, its encoder prevents.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote, quote_plus

PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
Encode = Callable[[str], str]


def row_of(data: Sequence[Mapping[str, str]], i: int) -> Mapping[str, str]:
    """The data row of arrival i; empty when there is no data."""
    return data[i % len(data)] if data else {}


def fill(text: str, i: int, row: Mapping[str, str], encode: Encode = str) -> str:
    """The text with the number of the arrival and the fields of its row in place."""
    if "{" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "i" and name not in row:
            return str(i)
        return encode(row[name]) if name in row else match[0]

    return PLACEHOLDER.sub(value, text)


def fill_url(url: str, i: int, row: Mapping[str, str]) -> str:
    """A URL with its values percent-encoded; one that the URL begins with is an address and stands as it is."""
    leading = PLACEHOLDER.match(url)
    start = 0 if leading is None else leading.end()
    return fill(url[:start], i, row) + fill(url[start:], i, row, percent_encode)


def fill_body(body: bytes, content_type: str, i: int, row: Mapping[str, str]) -> bytes:
    """A body with its values escaped as its type asks for. Bytes that are no text pass unchanged."""
    encode = body_encoder(content_type)
    # Latin-1 stands for bytes one to one; a value is made bytes first.
    return fill(
        body.decode("latin-1"), i, row, lambda value: encode(value).encode().decode("latin-1")
    ).encode("latin-1")


def body_encoder(content_type: str) -> Encode:
    """How values are written into a body of this type."""
    kind = content_type.lower()
    if "json" in kind:
        return json_escape
    return quote_plus if "x-www-form-urlencoded" in kind else str


def message_encoder(template: str) -> Encode:
    """How values are written into a message: escaped where it looks like JSON."""
    return json_escape if template.lstrip().startswith(("{", "[")) else str


def percent_encode(value: str) -> str:
    """A value as part of a path or a query."""
    return quote(value, safe="")


def json_escape(value: str) -> str:
    """A value as part of a JSON string."""
    return json.dumps(value)[1:-1]
