"""What a plan refers to beside it, put into the plan before it is checked: rows, offsets, scripts, certificates. Pure.

The record holds all that was sent, so rows of data and recorded offsets become part of the plan. A script and a certificate stay where
they are; their paths become absolute ones, and the script is looked at: that it is Python, and has the function.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from resilience.plan.problems import Path, Problem, nearest

Rows = list[dict[str, str]]
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WITH_UNIT = re.compile(r"\d+(?:\.\d+)?\s*(?:ns|us|ms|s|m|h)")


class DataUnreadable(ValueError):  # noqa: N818 - the message says what is wrong
    """Something beside the plan that cannot be had; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside a plan, by the name in the plan. Each raises DataUnreadable."""

    rows: Callable[[str], Rows] | None = None
    text: Callable[[str], str] | None = None
    path: Callable[[str], str] | None = None


def inline_load(values: dict[str, Any], beside: Beside, problems: list[Problem]) -> None:
    """Put in what the loads of a plan refer to; `values` is changed in place, before any schema has seen it."""
    loads = values.get("load")
    for name, stream in loads.items() if isinstance(loads, dict) else ():
        if not isinstance(stream, dict):
            continue
        for path, work in _works(stream, beside):
            try:
                work()
            except DataUnreadable as error:
                problems.append(Problem(("load", name, *path), str(error)))


def _works(stream: dict[str, Any], beside: Beside) -> Iterator[tuple[Path, Callable[[], None]]]:
    for driver in ("http", "session", "websocket", "postgres", "redis", "script"):
        call = stream.get(driver)
        if driver == "script" and isinstance(call, str):
            call = stream[driver] = {"function": call}
        if not isinstance(call, dict):
            continue
        for key, read in (("data", beside.rows), ("verify", beside.path)):
            if isinstance(call.get(key), str) and read is not None:
                yield (driver, key), partial(_put, call, key, read)
        if driver == "script" and isinstance(call.get("function"), str):
            yield (driver,), partial(_script, call, beside)
    replay = stream.get("replay")
    if isinstance(replay, str | list):
        replay = stream["replay"] = {"offsets": replay}
    if isinstance(replay, dict) and isinstance(replay.get("offsets"), str) and beside.text is not None:
        yield ("replay",), partial(_put, replay, "offsets", partial(_offsets, beside.text))


def _put(call: dict[str, Any], key: str, read: Callable[[str], Any]) -> None:
    call[key] = read(call[key])


def _script(call: dict[str, Any], beside: Beside) -> None:
    file, _, function = call["function"].rpartition(":")
    if not file.endswith(".py") or beside.path is None or beside.text is None:
        return  # the schema says what is wrong with it
    path = beside.path(file)
    try:
        tree = ast.parse(beside.text(file), filename=path)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise DataUnreadable(f"{file}{f':{line}' if line else ''} is not Python: {error}") from None
    found = [node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)]
    if function not in found and not _imported(tree, function):
        raise DataUnreadable(f"{file} has no `async def {function}(ctx)`{nearest(function, found)}")
    call["function"] = f"{path}:{function}"


def _imported(tree: ast.Module, name: str) -> bool:
    """Whether a module gets a name in another way than by defining it: then only the worker can tell what it is."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom | ast.Import):
            if any((alias.asname or alias.name) in {name, "*"} for alias in node.names):
                return True
        elif isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return True
    return False


def _offsets(read: Callable[[str], str], name: str) -> list[str]:
    """The offsets of a file: the first column, plain seconds or durations with their unit; a header is left out."""
    found = []
    for number, row in enumerate(csv.reader(read(name).lstrip("\ufeff").splitlines()), start=1):
        first = row[0].strip() if row else ""
        if not first or first.startswith("#") or (number == 1 and not first[0].isdigit()):
            continue
        plain = _NUMBER.fullmatch(first)
        if plain is None and _WITH_UNIT.fullmatch(first) is None:
            raise DataUnreadable(f"{name}:{number}: {first!r} is no offset; write seconds (1.25), or 250ms")
        found.append(f"{first}s" if plain else first)
    if not found:
        raise DataUnreadable(f"{name} has no offsets")
    return found
