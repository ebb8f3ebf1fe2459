"""Writes docs/reference.md from the code: commands, exit codes, the keys of a plan, rules, toxics, files of a run.

    python tests/repo/reference_page.py --write

Nothing in that page is written by hand, so that nothing in it can be out of date: a test compares it with what this makes.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import ArgumentInfo, OptionInfo

from faults.toxics import OWN_TOXICS, TOXICS, attribute_types, only_stream
from resilience.breaker.dialects import DIALECTS
from resilience.breaker.rules import ALL
from resilience.cli.main import app
from resilience.plan.schema import EXPECTATION_KEYS, Plan
from resilience.run.ending import EXIT_CODES

DURATION = "10s"
"""The example by which the schema's durations are known."""
PAGE = Path(__file__).parents[2] / "docs" / "reference.md"
HEAD = """# Reference

Written by `make reference` from the code of this version; a test fails when it is out of date. What things mean and how they
are used stands in the pages that are named; this one only lists them.

[Commands](#commands) · [Exit codes](#exit-codes) · [Plan](#plan) · [Expectations](#expectations) · [Breaker rules](#breaker-rules) ·
[Dialects](#dialects) · [Toxics](#toxics)
"""


def page() -> str:
    """Give the whole page."""
    parts = [
        HEAD,
        *_commands(),
        *_exit_codes(),
        *_plan(),
        *_expectations(),
        *_rules(),
        *_dialects(),
        *_toxics(),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _cell(text: object) -> str:
    """Give a text that stays in its cell of a table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").strip()


def _table(*rows: tuple[object, ...]) -> str:
    head, *rest = rows
    lines = [head, tuple("---" for _ in head), *rest]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n\nBefore any command:\n"
    callback = app.registered_callback
    assert callback is not None
    assert callback.callback is not None
    yield _parameters(_parameters_of(callback.callback))
    yield from _command_tree(app, "chaos-spike")


def _command_tree(group: typer.Typer, path: str) -> Iterator[str]:
    for each in group.registered_commands:
        assert each.callback is not None
        name = each.name or each.callback.__name__.replace("_", "-")
        parameters = _parameters_of(each.callback)
        arguments = [one.shown for one in parameters if isinstance(one.info, ArgumentInfo)]
        usage = [f"{path} {name}", *arguments, *(["[OPTIONS]"] if len(parameters) > len(arguments) else [])]
        yield f"### {path} {name}\n\n`{' '.join(usage)}`\n"
        yield inspect.cleandoc(each.help or each.callback.__doc__ or "") + "\n"
        if parameters:
            yield _parameters(parameters)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _command_tree(inner.typer_instance, f"{path} {inner.name}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument or option as its command declares it."""

    name: str
    kind: Any
    info: ArgumentInfo | OptionInfo
    default: Any

    @property
    def shown(self) -> str:
        """The argument in a usage line, or the option's spellings."""
        if isinstance(self.info, ArgumentInfo):
            many = "..." if get_origin(_plain(self.kind)) is list else ""
            word = f"{self.info.metavar or self.name.upper()}{many}"
            return word if self.default is inspect.Parameter.empty else f"[{word}]"
        # In an annotation, typer takes the first spelling for the default until the command is built.
        first = (self.info.default,) if isinstance(self.info.default, str) else ()
        return ", ".join((*first, *(self.info.param_decls or ())) or (f"--{self.name.replace('_', '-')}",))


def _parameters_of(callback: Any) -> list[Parameter]:
    hints = get_type_hints(callback, include_extras=True)
    found = []
    for name, each in inspect.signature(callback).parameters.items():
        infos = [
            one
            for one in getattr(hints[name], "__metadata__", ())
            if isinstance(one, ArgumentInfo | OptionInfo)
        ]
        if infos and not infos[0].hidden:
            found.append(Parameter(name, get_args(hints[name])[0], infos[0], each.default))
    return found


def _plain(kind: Any) -> Any:
    """Give a type without its None."""
    inner = [one for one in get_args(kind) if one is not type(None)]
    return inner[0] if isinstance(kind, UnionType) and inner else kind


def _words(kind: Any) -> str:
    """Give what an option takes, in a word or as the words that it knows."""
    plain = _plain(kind)
    if get_origin(plain) is list:
        return f"{_words(get_args(plain)[0])}, repeatable"
    if get_origin(plain) is Literal:
        return ", ".join(map(str, get_args(plain)))
    if isinstance(plain, type) and issubclass(plain, Enum):
        return ", ".join(str(each.value) for each in plain)
    return {bool: "", str: "text", int: "number", float: "number", Path: "path"}.get(plain, "text")


def _parameters(parameters: list[Parameter]) -> str:
    rows = []
    for each in parameters:
        empty = each.default in (None, False, inspect.Parameter.empty)
        default = "" if empty else getattr(each.default, "value", each.default)
        rows.append((f"`{each.shown}`", _words(each.kind), default, each.info.help or ""))
    return _table(("", "takes", "default", ""), *rows)


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes\n"
    words = {0: [], 2: ["usage, or an invalid plan; nothing was started"]}  # type: dict[int, list[str]]
    for verdict, code in EXIT_CODES.items():
        words.setdefault(code, []).append(verdict.value)
    words |= {130: ["SIGINT, after healing"], 143: ["SIGTERM, after healing"]}
    yield _table(("code", "verdict"), *((code, ", ".join(words[code])) for code in sorted(words)))


def _plan() -> Iterator[str]:
    yield "## Plan\n\n[plan.md](plan.md) explains; `chaos-spike plan schema` prints this as JSON Schema. A key without a default must be given.\n"
    schema = Plan.model_json_schema()
    models = {"Plan": schema, **schema["$defs"]}
    for name, model in models.items():
        required = set(model.get("required", ()))
        said = inspect.cleandoc(model.get("description", "")).split("\n\n")[0]
        yield f"### {name}\n\n{said}\n"
        if "properties" not in model:
            yield f"Takes {_kind(model)}.\n"
            continue
        rows = [
            (f"`{key}`", _kind(each), "" if key in required else _default(each), each.get("description", ""))
            for key, each in model["properties"].items()
        ]
        yield _table(("key", "takes", "default", ""), *rows)


def _default(each: dict[str, Any]) -> str:
    default = each.get("default")
    if default in (None, "", [], {}):
        return "none"
    if isinstance(default, dict):
        return f"`{default['text']}`" if "text" in default else "as if empty"
    if isinstance(default, int) and DURATION in _examples(each):
        return f"`{default / 1e9:g}s`" if default >= 10**9 else f"`{default / 1e6:g}ms`"
    if isinstance(default, list) and default and isinstance(default[0], list):
        return ", ".join(f"`{low}`" if low == high else f"`{low}-{high}`" for low, high in default)
    return (
        ", ".join(f"`{one}`" for one in default)
        if isinstance(default, list)
        else f"`{json.dumps(default)}`".replace('"', "")
    )


def _examples(each: dict[str, Any]) -> list[Any]:
    """Give the examples of a key, or of what it is besides absent."""
    return [
        *each.get("examples", ()),
        *(word for one in each.get("anyOf", ()) for word in one.get("examples", ())),
    ]


def _kind(each: dict[str, Any]) -> str:
    """Give what a key takes, in words: other models by name, alternatives side by side."""
    if "$ref" in each:
        name = each["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in each or "const" in each:
        return ", ".join(f"`{word}`" for word in each.get("enum", [each.get("const")]))
    for word in ("anyOf", "oneOf", "allOf"):
        if word in each:
            return " or ".join(dict.fromkeys(_kind(one) for one in each[word] if one.get("type") != "null"))
    return _plain_kind(each)


def _plain_kind(each: dict[str, Any]) -> str:
    if each.get("type") == "array":
        return f"list of {_kind(each.get('items', {})) or 'anything'}"
    if each.get("type") == "object":
        values = each.get("additionalProperties") or next(
            iter(each.get("patternProperties", {}).values()), None
        )
        return f"mapping to {_kind(values)}" if isinstance(values, dict) and values else "mapping"
    if each.get("examples"):
        return "text like " + ", ".join(f"`{word}`" for word in each["examples"])
    kinds = each.get("type") or "anything"
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


def _expectations() -> Iterator[str]:
    yield "## Expectations\n\nAn expectation is told by the keys that it has ([plan.md](plan.md), [scenarios.md](scenarios.md)).\n"
    yield _table(("kind", "its keys"), *(
        (name, ", ".join(f"`{key}`" for key in (keys if isinstance(keys, (tuple, list, set, frozenset)) else [keys])))
        for name, keys in _expectation_keys()
    ))  # fmt: skip


def _expectation_keys() -> Iterator[tuple[str, Any]]:
    found = EXPECTATION_KEYS
    yield from found.items() if isinstance(found, dict) else ((str(each), each) for each in found)


def _rules() -> Iterator[str]:
    yield "## Breaker rules\n\n[breakers.md](breakers.md) says what each means and where it comes from.\n"
    yield _table(("rule", "title", "settled by"), *((each.id, each.title, each.stimulus) for each in ALL))


def _dialects() -> Iterator[str]:
    yield "## Dialects\n\nWhat `spec: {dialect: ...}` takes; what each changes of the textbook's breaker stands in [breakers.md](breakers.md).\n"
    yield ", ".join(f"`{name}`" for name in DIALECTS) + "\n"


def _toxics() -> Iterator[str]:
    yield "## Toxics\n\n[proxy.md](proxy.md) says what each does. Shopify's Toxiproxy has the first kind, the embedded server both.\n"
    for title, found in (("Toxiproxy's", TOXICS), ("the embedded server's own", OWN_TOXICS)):
        yield f"### {title}\n"
        yield _table(("type", "attributes", "stream", ""), *(
            (
                f"`{toxic.kind}`",
                ", ".join(f"`{name}`" for name in attribute_types(toxic)),
                (one.value if (one := only_stream(toxic)) else "either"),
                inspect.cleandoc(toxic.__doc__ or "").split("\n")[0],
            )
            for toxic in found
        ))  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
