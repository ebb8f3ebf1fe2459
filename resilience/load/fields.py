"""Filling `{i}` and `{field}` into a text, for drivers that are in no hurry. Pure.

The HTTP driver compiles its templates (template.py); here a text is filled when it is needed. A placeholder that is neither
`{i}` nor a field of the row is left as it is: braces are ordinary characters in SQL, JSON and chat messages.
"""

import re
from collections.abc import Mapping, Sequence

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def row_of(data: Sequence[Mapping[str, str]], i: int) -> Mapping[str, str]:
    """The data row of arrival i; empty when there is no data."""
    return data[i % len(data)] if data else {}


def fill(text: str, i: int, row: Mapping[str, str]) -> str:
    """The text with the number of the arrival and the fields of its row in place."""
    if "{" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return str(i) if name == "i" else row.get(name, match[0])

    return _PLACEHOLDER.sub(value, text)
