"""Variables and addresses in the texts of a load, put in place before anything is sent. Pure.

A variable stands for its text, which may hold placeholders of its own: `{user}` for `"u{i}"`. What is literal in it is escaped as the
place asks for, what is a placeholder stays one and is filled in by the driver, escaped likewise. An address (`{base}`, `{ws}`,
`{db}`, ...) stands at the beginning of a URL and nowhere else, so that no field of a data row can be taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from resilience.load.fields import PLACEHOLDER

Encode = Callable[[str], str]
_LEADING = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.]*)\}")


def with_variables(text: str, variables: Mapping[str, str], encode: Encode = str) -> str:
    """The text with its variables replaced by theirs."""
    if not variables or "{" not in text:
        return text

    def put(match: re.Match[str]) -> str:
        name = match[1]
        return around_placeholders(variables[name], encode) if name in variables else match[0]

    return PLACEHOLDER.sub(put, text)


def around_placeholders(text: str, encode: Encode) -> str:
    """A text whose literal parts are encoded."""
    parts: list[str] = []
    end = 0
    for match in PLACEHOLDER.finditer(text):
        parts += [encode(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join((*parts, encode(text[end:])))


def placeholders(texts: Iterable[str]) -> set[str]:
    """Every name that stands in braces."""
    return {name for text in texts for name in PLACEHOLDER.findall(text)}


def leading_name(url: str) -> str | None:
    """The name in braces that a URL begins with."""
    match = _LEADING.match(url)
    return None if match is None else match[1]


def located(url: str, addresses: Mapping[str, str]) -> str:
    """The URL with the address that it begins with, if it begins with one that is known."""
    match = _LEADING.match(url)
    if match is None or match[1] not in addresses:
        return url
    rest = url[match.end() :]
    address = addresses[match[1]]
    return address.removesuffix("/") + rest if rest.startswith("/") else address + rest
