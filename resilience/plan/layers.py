"""A plan with overlays and settings laid over it, and which of them each value came from. Pure.

Mappings merge key by key; anything else is replaced. `Layers.place` walks a problem's path back to the text that the value came
from: `plan.yaml:14:16`, `staging.yaml:3:9`, or `--set load.quotes.rate`. A key that is missing, or a union's tag that
stands in no text, leaves the nearest place found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from resilience.plan.problems import Path, PlanInvalid, Problem
from resilience.plan.texts import parse_tree, parse_value, plain


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of values; a setting has no text with lines."""

    source: str
    tree: CommentedMap | None


class Layers:
    """The merged values of a plan; built up layer by layer, then only read."""

    def __init__(self, text: str, source: str, *, tags: frozenset[str]) -> None:
        """Start with the plan itself. `tags` are the parts of a problem's path that stand in no text."""
        self.source = source
        self._tags = tags
        self._base = Layer(source, parse_tree(text, source))
        self._origins: dict[Path, Layer] = {}
        self.values: dict[str, Any] = plain(self._base.tree)

    def overlay(self, text: str, source: str) -> None:
        """Lay another text over what there is."""
        layer = Layer(source, parse_tree(text, source))
        self._merge(self.values, plain(layer.tree), layer, ())

    def set(self, setting: str) -> None:
        """Change one value: `path.to.key=value`, the value in YAML."""
        key, separator, text = setting.partition("=")
        parts = key.split(".")
        if not separator or not all(parts):
            raise PlanInvalid([Problem((), f"{setting!r}: write --set path.to.key=value")], "--set")
        layer = Layer(f"--set {key}", None)
        value = parse_value(text, layer.source) if text else ""
        node: Any = self.values
        path: Path = ()
        for index, part in enumerate(parts):
            here = self._step(node, part, parts[:index], layer)
            path = (*path, here)
            if index == len(parts) - 1:
                node[here] = value
                self._own(path, layer)
                return
            if isinstance(node, dict) and here not in node:
                node[here] = {}
                self._own(path, layer)
            node = node[here]

    @staticmethod
    def _step(node: Any, part: str, before: list[str], layer: Layer) -> str | int:
        if isinstance(node, dict):
            return part
        if not isinstance(node, list):
            raise PlanInvalid([Problem((), f"{'.'.join(before)} is a single value")], layer.source)
        if not (part.isascii() and part.isdigit()) or int(part) >= len(node):
            entries = f"entries 0 to {len(node) - 1}" if node else "no entries"
            raise PlanInvalid([Problem((), f"{'.'.join(before)} has {entries}, not {part!r}")], layer.source)
        return int(part)

    def _merge(self, base: dict[str, Any], over: Mapping[str, Any], layer: Layer, path: Path) -> None:
        for key, value in over.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                self._merge(base[key], value, layer, (*path, key))
            else:
                base[key] = value
                self._own((*path, key), layer)

    def _own(self, path: Path, layer: Layer) -> None:
        """From here on `path`, and everything below it, comes from that layer."""
        self._origins = {p: at for p, at in self._origins.items() if p[: len(path)] != path}
        self._origins[path] = layer

    def invalid(self, problems: Iterable[Problem]) -> PlanInvalid:
        """The error to raise for problems whose places are still unknown."""
        return PlanInvalid([self.place(problem) for problem in problems], self.source)

    def place(self, problem: Problem) -> Problem:
        """Add source, line and column: of the value, or of the key where the key is what is wrong."""
        path = self._clean(problem.path)
        owners = (self._origins.get(path[:length]) for length in range(len(path), 0, -1))
        owner = next((layer for layer in owners if layer is not None), self._base)
        if owner.tree is None:
            return replace(problem, path=path, source=owner.source)
        line, column = _position(owner.tree, path, at_key=problem.at_key)
        return Problem(path, problem.message, problem.at_key, line, column, owner.source)

    def _clean(self, path: Path) -> Path:
        """The path without the tags of unions."""
        node: Any = self.values
        clean: list[str | int] = []
        for part in path:
            inside = (isinstance(node, dict) and part in node) or (
                isinstance(node, list) and isinstance(part, int) and part < len(node)
            )
            if inside:
                node = node[part]
            if inside or part not in self._tags:
                clean.append(part)
        return tuple(clean)


def _position(tree: CommentedMap, path: Path, *, at_key: bool) -> tuple[int, int]:
    """Line and column, counted from 1, of the last part of a path that the tree has."""
    node: Any = tree
    line, column = 0, 0
    for index, part in enumerate(path):
        if not (
            (isinstance(node, CommentedMap) and part in node)
            or (isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node))
        ):
            continue  # a missing key: the last place found is the nearest one
        place = node.lc.data.get(part) if node.lc.data else None
        if place is not None:
            key_only = len(place) < 4 or (at_key and index == len(path) - 1)
            line, column = (place[0], place[1]) if key_only else (place[2], place[3])
        node = node[part]
    return line + 1, column + 1
