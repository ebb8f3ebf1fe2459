"""YAML texts: to ruamel's tree (for positions) and plain values (for everything else), and back to text. Pure.

Aliases are copied when values are made plain, so that laying one text over another changes a single place. A text that would
grow beyond all measure by that, or that contains itself, is refused like any other that is not YAML.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError

from resilience.plan.problems import PlanInvalid, Problem

MAX_NODES = 200_000
MAX_OPEN = 200
"""Brackets that may be open at once. For each one more a YAML scanner looks at all that are open: a few thousand take it many seconds."""
_MARKS = re.compile(
    r"""
    (?<!\S) \# [^\n]*                               # a comment
    | (?<! [^\s\[{,:] ) " (?: [^"\\] | \\. )* "      # a text in quotes
    | (?<! [^\s\[{,:] ) ' (?: [^'] | '' )* '
    | [\[{\]}]
    """,
    re.VERBOSE | re.DOTALL,
)
_LONGEST_TAG = 80
"""Characters of a line that are looked at before a bracket."""
_REFUSED = (YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError)
"""What ruamel raises for texts that are not YAML: most of it is its own, a wrong tag (`!!bool x`) is anything."""


def parse_tree(text: str, source: str) -> CommentedMap:
    """The mapping that a plan or an overlay is; PlanInvalid where it is none."""
    tree = _parse(text, source, YAML(typ="rt"))
    if not isinstance(tree, CommentedMap):
        message = "a plan is a mapping; start with `version: 1` and `name: ...`"
        raise PlanInvalid([Problem((), message, line=1, column=1)], source)
    return tree


def parse_value(text: str, source: str) -> Any:
    """A single value as plain types; PlanInvalid without a position, since what was typed is in view."""
    try:
        return plain(_parse(text, source, YAML(typ="safe")))
    except PlanInvalid as error:
        raise PlanInvalid([Problem((), p.message) for p in error.problems], source) from error


def _parse(text: str, source: str, yaml: YAML) -> Any:
    try:
        if _most_open(text) > MAX_OPEN:
            raise ValueError(f"nested too deeply: more than {MAX_OPEN} brackets are open")
        with warnings.catch_warnings():
            # An anchor that is set again means the new thing from there on: that is YAML, and no reason to stop or to talk.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            tree = yaml.load(text)
        if _size(tree, {}) > MAX_NODES:
            raise ValueError(f"more than {MAX_NODES} values once aliases are written out")
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = (error.problem or error.context or "not YAML").split("\n")[0].split(" with value ")[0]
        place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise PlanInvalid([Problem((), message, line=place[0], column=place[1])], source) from error
    except _REFUSED as error:
        reason = str(error).split("\n")[0] or "nested too deeply"
        raise PlanInvalid([Problem((), f"not YAML: {reason}", line=1, column=1)], source) from error
    return tree


def _most_open(text: str) -> int:
    """How many brackets are open at once, at most. Those in comments, in quotes and amid words are none; in doubt one counts."""
    is_open = most = 0
    for found in _MARKS.finditer(text):
        if found[0] in ("[", "{"):
            is_open += bool(is_open) or _begins_a_value(text, found.start())
            most = max(most, is_open)
        elif found[0] in ("]", "}"):
            is_open = max(0, is_open - 1)
    return most


def _begins_a_value(text: str, at: int) -> bool:
    """Whether a value may begin there, outside of all brackets; `range [0, 10)` is words, and its bracket one of them."""
    before = text[max(0, at - _LONGEST_TAG) : at].rpartition("\n")[2].split()
    return not before or before[-1][-1] in ":-?" or before[-1][0] in "!&"


def _size(node: Any, known: dict[int, int | None]) -> int:
    """Values in a tree once its aliases are written out; ValueError where a node contains itself."""
    if not isinstance(node, dict | list):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise ValueError("an alias stands inside of what it stands for")
        return size
    known[id(node)] = None
    size = 1 + sum(_size(child, known) for child in (node.values() if isinstance(node, dict) else node))
    known[id(node)] = size
    return size


def plain(node: Any) -> Any:
    """The same values without ruamel's types; aliases become copies."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def dump(values: Any) -> str:
    """Values as a YAML text that `parse_tree` reads back."""
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 110
    yaml.default_flow_style = False
    yaml.dump(values, stream)
    return stream.getvalue()
