"""Read a plan from YAML, with file:line:column in every error and the nearest known key in the message.

Order: parse, overlays, `--set`, variables, schema, compile. `${VAR}`, `${VAR:-default}` and `${VAR:?message}` are
filled from the environment handed in. What a variable gave is taken for a secret: the text stored in the run record
(`LoadedPlan.recorded`) keeps the `${...}` of requests, and masks literal values of headers that carry credentials.
Reading files happens in `load_plan` only; everything else is a function of texts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from resilience.plan.compile import compile_plan
from resilience.plan.positions import placed, problem_of
from resilience.plan.problems import Path, PlanInvalid, Problem
from resilience.plan.schema import Plan
from resilience.plan.timeline import Timeline

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-?])([^}]*))?\}")
_CREDENTIAL_HEADERS = ("authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token")
MASK = "(redacted)"
MAX_PLAN_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """A plan that is ready to run, and what of it may be written down."""

    plan: Plan
    timeline: Timeline
    source: str
    recorded: str


def load_plan(
    path: FilePath,
    *,
    environment: Mapping[str, str],
    overlays: Sequence[FilePath] = (),
    settings: Sequence[str] = (),
) -> LoadedPlan:
    """Load a plan file; raises `PlanInvalid` (also for a file that cannot be read)."""
    text = _read(path)
    return load_text(
        text,
        source=str(path),
        environment=environment,
        overlays=[(str(overlay), _read(overlay)) for overlay in overlays],
        settings=settings,
        folder=path.parent,
    )


def load_text(
    text: str,
    *,
    source: str,
    environment: Mapping[str, str] | None,
    overlays: Sequence[tuple[str, str]] = (),
    settings: Sequence[str] = (),
    folder: FilePath | None = None,
) -> LoadedPlan:
    """Load a plan from text. `environment=None` leaves variables as they stand (re-judging a record)."""
    tree = _parse(text, source)
    for overlay_source, overlay_text in overlays:
        _merge(tree, _parse(overlay_text, overlay_source))
    for setting in settings:
        _set(tree, setting)
    if environment is not None and folder is not None:
        _inline_data(tree, folder, source)
    written = _plain(tree)
    values = written
    if environment is not None:
        problems: list[Problem] = []
        values = _substitute(written, environment, (), problems)
        if problems:
            raise PlanInvalid([placed(p, tree) for p in problems], source)
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise PlanInvalid([placed(problem_of(e), tree) for e in error.errors()], source) from error
    try:
        timeline = compile_plan(plan)
    except PlanInvalid as error:
        raise PlanInvalid([placed(p, tree) for p in error.problems], source) from error
    return LoadedPlan(plan, timeline, source, _dump(_recordable(written, values)))


def _read(path: FilePath) -> str:
    try:
        if path.stat().st_size > MAX_PLAN_BYTES:
            raise PlanInvalid(
                [Problem((), f"larger than {MAX_PLAN_BYTES} bytes; a plan is a page or two")], str(path)
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanInvalid([Problem((), f"cannot be read: {error.strerror or error}")], str(path)) from error
    except UnicodeDecodeError as error:
        raise PlanInvalid([Problem((), "is not UTF-8 text")], str(path)) from error


def _parse(text: str, source: str) -> CommentedMap:
    yaml = YAML(typ="rt")
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = (error.problem or error.context or "not YAML").split("\n")[0].split(" with value ")[0]
        place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise PlanInvalid([Problem((), message, line=place[0], column=place[1])], source) from error
    except (YAMLError, ValueError, RecursionError) as error:
        reason = str(error).split("\n")[0] or "nested too deeply"
        raise PlanInvalid([Problem((), f"not YAML: {reason}", line=1, column=1)], source) from error
    if not isinstance(tree, CommentedMap):
        message = "a plan is a mapping; start with `version: 1` and `name: ...`"
        raise PlanInvalid([Problem((), message, line=1, column=1)], source)
    return tree


def _plain(node: Any) -> Any:
    """The same values without ruamel's types (anchors have been resolved by then)."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (str, int, float):
        if isinstance(node, kind):
            return kind(node)
    return str(node)


def _merge(base: CommentedMap, overlay: CommentedMap) -> None:
    """Mappings merge key by key; anything else is replaced."""
    for key, value in overlay.items():
        if isinstance(value, CommentedMap) and isinstance(base.get(key), CommentedMap):
            _merge(base[key], value)
        else:
            base[key] = value


def _set(tree: CommentedMap, setting: str) -> None:
    key, separator, value = setting.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise PlanInvalid([Problem((), f"{setting!r}: write --set path.to.key=value")], "--set")
    node: Any = tree
    for index, part in enumerate(parts):
        here: Any = part
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                message = f"{'.'.join(parts[:index])} has entries 0 to {len(node) - 1}, not {part!r}"
                raise PlanInvalid([Problem((), message)], f"--set {key}")
            here = int(part)
        elif not isinstance(node, dict):
            raise PlanInvalid([Problem((), f"{'.'.join(parts[:index])} is a single value")], f"--set {key}")
        if index == len(parts) - 1:
            node[here] = YAML(typ="safe").load(value) if value else ""
        elif isinstance(node, dict):
            node = node.setdefault(here, CommentedMap())
        else:
            node = node[here]


def _inline_data(tree: CommentedMap, folder: FilePath, source: str) -> None:
    """`data: skus.csv` becomes its rows, so that the record holds all that was sent."""
    import csv  # noqa: PLC0415 - only plans with data files need it

    loads = tree.get("load")
    if not isinstance(loads, dict):
        return
    for name, stream in loads.items():
        http = stream.get("http") if isinstance(stream, dict) else None
        if not isinstance(http, dict) or not isinstance(http.get("data"), str):
            continue
        path = folder / http["data"]
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            problem = Problem(("load", str(name), "http", "data"), f"{path} cannot be read: {error}")
            raise PlanInvalid([placed(problem, tree)], source) from error
        if not rows:
            problem = Problem(("load", str(name), "http", "data"), f"{path} has no rows under its header")
            raise PlanInvalid([placed(problem, tree)], source)
        http["data"] = rows


def _substitute(node: Any, environment: Mapping[str, str], path: Path, problems: list[Problem]) -> Any:
    if isinstance(node, dict):
        return {k: _substitute(v, environment, (*path, k), problems) for k, v in node.items()}
    if isinstance(node, list):
        return [_substitute(v, environment, (*path, i), problems) for i, v in enumerate(node)]
    if not isinstance(node, str) or "${" not in node:
        return node

    def fill(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3]
        value = environment.get(name, "")
        if value:
            return value
        if kind == "-":
            return str(rest)
        if name in environment and kind is None:
            return ""
        problems.append(Problem(path, f"the variable {name} is not set{': ' + rest if rest else ''}"))
        return ""

    return _VARIABLE.sub(fill, node)


def _recordable(written: dict[str, Any], filled: dict[str, Any]) -> dict[str, Any]:
    """What may be written down of a valid plan: variables stay unfilled where secrets live, credentials are masked."""
    recorded = {key: written[key] if key == "external" else value for key, value in filled.items()}
    recorded["load"] = {
        name: {**stream, "http": _masked(written["load"][name]["http"])}
        for name, stream in filled["load"].items()
    }
    return recorded


def _masked(http: dict[str, Any]) -> dict[str, Any]:
    headers = {
        name: MASK if name.lower() in _CREDENTIAL_HEADERS and "${" not in str(value) else value
        for name, value in http.get("headers", {}).items()
    }
    return {**http, "headers": headers} if headers else http


def _dump(tree: Any) -> str:
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 110
    yaml.default_flow_style = False
    yaml.dump(tree, stream)
    return stream.getvalue()
