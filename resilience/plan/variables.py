"""Variables in a plan's values, as docker-compose writes them. Pure: the environment is handed in.

`${VAR}`, `${VAR:-default}` (a default holds no `}`), `${VAR:?message}`; `$$` is a dollar sign. Anything else that begins with
`${` is a mistake and said to be one: sent as it stands, it would look like a request that works. What a variable gave
is not looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from resilience.plan.problems import Path, Problem

_TOKEN = re.compile(
    r"(?P<dollar>\$\$)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}|\$\{"
)


def fill(node: Any, environment: Mapping[str, str], path: Path, problems: list[Problem]) -> Any:
    """The same values with every variable filled in; what cannot be is added to `problems`."""
    if isinstance(node, dict):
        problems.extend(
            Problem((*path, key), "a variable stands in a value, not in a key", at_key=True)
            for key in node
            if "${" in key
        )
        return {key: fill(value, environment, (*path, key), problems) for key, value in node.items()}
    if isinstance(node, list):
        return [fill(value, environment, (*path, index), problems) for index, value in enumerate(node)]
    if not isinstance(node, str) or "$" not in node:
        return node

    def value_of(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["name"] is None:
            message = "`${` begins no variable: write ${VAR}, ${VAR:-default} or ${VAR:?message}, and $$ for a dollar"
            problems.append(Problem(path, message))
            return ""
        return _value(match["name"], match["kind"], match["rest"] or "", environment, path, problems)

    return _TOKEN.sub(value_of, node)


def _value(
    name: str,
    kind: str | None,
    rest: str,
    environment: Mapping[str, str],
    path: Path,
    problems: list[Problem],
) -> str:
    value = environment.get(name, "")
    if value:
        return value
    if kind == "-":
        return rest
    if kind == "?" or name not in environment:
        problems.append(Problem(path, f"the variable {name} is not set{': ' + rest if rest else ''}"))
    return ""


def named(message: str, texts: Iterable[str], environment: Mapping[str, str]) -> str:
    """The message with what the variables of `texts` gave replaced by their names: it may be a password in the wrong place.

    Values of fewer than four characters stay: they are no secrets, and are found in any sentence.
    """
    names = {match["name"] for text in texts for match in _TOKEN.finditer(text) if match["name"]}
    given = [(environment[name], name) for name in names if len(environment.get(name, "")) >= _SECRET_CHARS]
    for value, name in sorted(given, key=lambda pair: -len(pair[0])):
        for spelt in (value, repr(value)[1:-1], repr(value.strip())[1:-1]):
            message = message.replace(spelt, f"${{{name}}}") if spelt else message
    return message


_SECRET_CHARS = 4


def around_variables(text: str, literal: Callable[[str], str], default: Callable[[str], str]) -> str:
    """The text with its literal parts and its variables' defaults changed, and the variables as they stand."""
    parts: list[str] = []
    end = 0
    for match in _TOKEN.finditer(text):
        if match["name"] is None:
            continue
        if match.start() > end:
            parts.append(literal(text[end : match.start()]))
        if match["kind"] == "-" and match["rest"]:
            parts.append(f"${{{match['name']}:-{default(match['rest'])}}}")
        else:
            parts.append(match[0])
        end = match.end()
    if end < len(text):
        parts.append(literal(text[end:]))
    return "".join(parts)


def with_variables_aside(text: str, change: Callable[[str], str]) -> str:
    """`change` applied to a text in which each variable is one opaque character; those that survive are put back."""
    found: list[str] = []

    def aside(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        rest = change(match["rest"]) if match["kind"] == "-" and match["rest"] else match["rest"]
        found.append(match[0] if rest == match["rest"] else f"${{{match['name']}:-{rest}}}")
        return chr(_PRIVATE + len(found) - 1)

    changed = change(_TOKEN.sub(aside, text))
    for index, variable in enumerate(found):
        changed = changed.replace(chr(_PRIVATE + index), variable)
    return changed


_PRIVATE = 0xF0000
"""The first of 65,534 characters that no text holds: each stands for one variable."""
